"""Define the errors that a user can fix: the command line prints the message, without a traceback, and exits with 2."""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

_MAX_LISTED = 20
_MAX_NAME = 200  # characters of a name in a message
_ADVICE = {
    errno.ENOSPC: "free some space, or name another disk",
    errno.EDQUOT: "your quota there is used up: delete files of yours, or name another disk",
    errno.EFBIG: "it is larger than the system allows: raise the limit (ulimit -f), or name another disk",
    errno.EISDIR: "a file must be there: move the folder away",
    **dict.fromkeys((errno.EACCES, errno.EPERM), "check its permissions"),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "raise the limit (ulimit -n), or use fewer data.workers"),
    errno.EROFS: "name a folder that can be written to",
    errno.EIO: "check the disk",
    errno.ENAMETOOLONG: "choose a shorter name",
}


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
    lines = [f"{where}: {plural(count, noun)}"]
    lines += [f"  {problem}" for problem in problems[:_MAX_LISTED]]
    if count > _MAX_LISTED:
        lines.append(f"  ... and {count - _MAX_LISTED} more")
    return "\n".join(lines)


def plural(count: int, noun: str, rest: str = "") -> str:
    """Format a count with its noun and what follows it, such as "1 pair", "3 boxes" or "2 images without a label"."""
    ending = "" if count == 1 else "es" if noun.endswith(("x", "s", "ch")) else "s"
    return f"{count} {noun}{ending}{' ' + rest if rest else ''}"


def printable(text: str) -> str:
    """Replace what would control a terminal: escapes, line breaks, marks that turn the direction."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def printable_lines(text: str) -> str:
    """Do the same for a message of several lines, with spaces for tabs."""
    return "\n".join(printable(line.expandtabs()) for line in text.split("\n"))


def describe_os_error(error: OSError, where: str = "the system") -> str:
    """Format an error of the system as one line: where, what, and what to do.

    Args:
        error: As it was raised.
        where: The place, if the error names no file.
    """
    if error.strerror is None:  # a loader's worker sends the text of its whole traceback
        lines = str(error).split("\n")
        return lines[-1] or lines[0] or type(error).__name__
    name = where if error.filename is None else str(error.filename)
    short = name if len(name) <= _MAX_NAME else f"{name[:_MAX_NAME]}..."
    return f"{short}: {error.strerror}; {advise(error, name)}"


def advise(error: OSError, where: str) -> str:
    """Return what to do about an error of the system at a path: free space, raise a limit, move a folder away."""
    if error.errno == errno.ENOSPC and _lacks_inodes(Path(where)):
        return "its disk has space, but no inodes for more files (df -i): delete files, or name another disk"
    return _ADVICE.get(error.errno or 0, "check the path and the machine")


def _lacks_inodes(path: Path) -> bool:
    try:
        disk = os.statvfs(path.parent)
    except (OSError, ValueError):
        return False
    return disk.f_files > 0 and disk.f_favail == 0 and disk.f_bavail > 0


def closest(word: str, known: Iterable[str], count: int = 1, cutoff: float = 0.6) -> list[str]:
    """Return the known words that are most similar to ``word`` in any case, best first.

    Args:
        word: The word that the user wrote.
        known: The valid words.
        count: Maximum number of words.
        cutoff: Minimum similarity, 0..1.
    """
    spelt = {item.casefold(): item for item in known}
    return [spelt[found] for found in difflib.get_close_matches(word.casefold(), spelt, n=count, cutoff=cutoff)]


def did_you_mean(word: str, known: Iterable[str], count: int = 1, cutoff: float = 0.6) -> str:
    """Format a hint such as ``; did you mean batch?``; empty if nothing known is close to the word.

    Args: as of :func:`closest`.
    """
    close = closest(word, known, count, cutoff)
    return f"; did you mean {' or '.join(close)}?" if close else ""
