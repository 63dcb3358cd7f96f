"""Print the log of yolofuse while a command or a function of the API runs."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from yolofuse.errors import ConfigError, describe_os_error, printable_lines


def is_main_rank() -> bool:
    """Return whether this process is rank 0 of torchrun, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def launched_ranks() -> tuple[int, int, int]:
    """Return WORLD_SIZE, RANK and LOCAL_RANK as torchrun sets them; 1, 0 and 0 without a launcher.

    Raises:
        ConfigError: If one is no number, does not fit another, or is missing.
    """
    given = {name: os.environ[name] for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK") if name in os.environ}
    needed = ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT")
    advice = f"start the processes with torchrun, or unset {', '.join(given)}"
    wrong = [f"{name}={value!r}" for name, value in given.items() if not (value.isascii() and value.isdigit())]
    if wrong:
        raise ConfigError(f"environment: {', '.join(wrong)}: must be a number; {advice}")
    world, rank, local = int(given.get("WORLD_SIZE", 1)), int(given.get("RANK", 0)), int(given.get("LOCAL_RANK", 0))
    if "WORLD_SIZE" in given and rank >= world:
        raise ConfigError(f"environment: RANK={rank} is not among WORLD_SIZE={world} processes; {advice}")
    missing = [name for name in needed if not os.environ.get(name)] if world > 1 or rank else []
    if missing:
        raise ConfigError(f"environment: {', '.join(given)} without {', '.join(missing)}; {advice}")
    return world, rank, local


class _StdoutHandler(logging.StreamHandler):  # type: ignore[type-arg]  # Python 3.10 takes no parameter
    """Print records without what controls a terminal; a run does not end because nobody reads its log."""

    def __init__(self) -> None:
        super().__init__(sys.stdout)

    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the interface's name
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self.setLevel(logging.CRITICAL + 1)
        with suppress(OSError):
            _discard_buffer(self.stream)
            what = describe_os_error(error, "standard output")
            print(f"warning: {what}; the command goes on, the rest of its log is lost", file=sys.stderr)


def _discard_buffer(stream: TextIO) -> None:
    """Drop what can't be written, else it fails again at each flush, the last time when Python exits."""
    descriptor, sink = stream.fileno(), os.open(os.devnull, os.O_WRONLY)
    kept = os.dup(descriptor)
    os.dup2(sink, descriptor)
    stream.flush()
    os.dup2(kept, descriptor)  # what a command prints later fails by itself
    os.close(kept)
    os.close(sink)


@contextmanager
def printed_log() -> Iterator[None]:
    """Print the log to stdout: all of it on rank 0, warnings on the others."""
    log, handler = logging.getLogger("yolofuse"), _StdoutHandler()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO if is_main_rank() else logging.WARNING)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
