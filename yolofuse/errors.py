"""What a user can fix. The command line prints the message and exits with code 2; there is no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

_MAX_LISTED = 20


class YolofuseError(Exception):
    """Base of every mistake that is the user's to mend: it says what, where, what was found, and what to do."""


class ConfigError(YolofuseError):
    """A value of the run's YAML or of the command line is wrong."""


class DataError(YolofuseError):
    """A data set, an image or a label is wrong."""


class WeightsError(YolofuseError):
    """A checkpoint is missing, damaged, unsafe or does not fit."""


class DamagedError(WeightsError):
    """A checkpoint is not what was once written."""


class RunError(YolofuseError):
    """A run cannot start, go on or end: a used folder, a changed config, a loss that is not finite."""


class RunStopped(Exception):  # noqa: N818 - no mistake: somebody asked for it
    """A run was asked to stop, and has saved where it is.

    Attributes:
        signal: Name of the signal that asked.
    """

    def __init__(self, signal: str, message: str) -> None:
        super().__init__(message)
        self.signal = signal


def listing(where: str, problems: Sequence[str], noun: str = "problem") -> str:
    """One message for all mistakes of one place: a head line with the count, then a line for each.

    At most 20 are listed; the rest is counted, so that a broken data set does not flood the terminal.
    """
    count = len(problems)
    lines = [f"{where}: {count} {noun}{'' if count == 1 else 's'}"]
    lines += [f"  {problem}" for problem in problems[:_MAX_LISTED]]
    if count > _MAX_LISTED:
        lines.append(f"  ... and {count - _MAX_LISTED} more")
    return "\n".join(lines)


def closest(word: str, known: Iterable[str], count: int = 1, cutoff: float = 0.6) -> list[str]:
    """Return the known words that are most like ``word``, best first.

    Args:
        word: What the user wrote.
        known: What would have been right.
        count: How many words to return at most.
        cutoff: Similarity from which on a word is returned, 0..1.
    """
    return difflib.get_close_matches(word, list(known), n=count, cutoff=cutoff)


def did_you_mean(word: str, known: Iterable[str], count: int = 1, cutoff: float = 0.6) -> str:
    """Format a hint such as ``; did you mean batch?``; empty if nothing known is close to the word.

    Args: as of :func:`closest`.
    """
    close = closest(word, known, count, cutoff)
    return f"; did you mean {' or '.join(close)}?" if close else ""
