"""Define the errors that a user can fix: the command line prints the message, without a traceback, and exits with 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

_MAX_LISTED = 20


class YolofuseError(Exception):
    """Base of the errors that a user can fix. Messages say what is wrong, where, what was found, and what to do."""


class ConfigError(YolofuseError):
    """A value of the run's YAML or of the command line is wrong."""


class DataError(YolofuseError):
    """A data set, an image or a label is wrong."""


class WeightsError(YolofuseError):
    """A checkpoint is missing, damaged, unsafe or does not fit."""


class DamagedError(WeightsError):
    """A checkpoint's content differs from what was written."""


class RunError(YolofuseError):
    """A run cannot start, resume or finish: a used folder, a changed config, a loss that is not finite."""


class RunStopped(Exception):  # noqa: N818 - not an error: requested
    """A run stopped on request, after saving a checkpoint if there was something to save.

    Attributes:
        signal: Name of the signal that requested it.
        run: Folder of the run; None if it was not begun.
    """

    def __init__(self, signal: str, message: str, run: Path | None) -> None:
        super().__init__(message)
        self.signal = signal
        self.run = run


def listing(where: str, problems: Sequence[str], noun: str = "problem") -> str:
    """Format all mistakes of one place as one message: a head line with the count, then a line for each.

    At most 20 are listed; the rest are counted, so that a broken data set does not flood the terminal.
    """
    count = len(problems)
    lines = [f"{where}: {count} {noun}{'' if count == 1 else 's'}"]
    lines += [f"  {problem}" for problem in problems[:_MAX_LISTED]]
    if count > _MAX_LISTED:
        lines.append(f"  ... and {count - _MAX_LISTED} more")
    return "\n".join(lines)


def closest(word: str, known: Iterable[str], count: int = 1, cutoff: float = 0.6) -> list[str]:
    """Return the known words that are most similar to ``word``, best first.

    Args:
        word: The word that the user wrote.
        known: The valid words.
        count: Maximum number of words.
        cutoff: Minimum similarity, 0..1.
    """
    return difflib.get_close_matches(word, list(known), n=count, cutoff=cutoff)


def did_you_mean(word: str, known: Iterable[str], count: int = 1, cutoff: float = 0.6) -> str:
    """Format a hint such as ``; did you mean batch?``; empty if nothing known is close to the word.

    Args: as of :func:`closest`.
    """
    close = closest(word, known, count, cutoff)
    return f"; did you mean {' or '.join(close)}?" if close else ""
