"""A process that hangs ends itself, and leaves behind where it hung.

A rank whose partner is gone or stopped waits in a collective, in C, where no Python code runs any more. So this is
``faulthandler``'s own C thread, which needs nothing of Python.
"""

from __future__ import annotations

import faulthandler
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

_FIRST = 4.0  # times the patience for the first step, in which models are compiled and kernels chosen


class Watchdog:
    """Ends the process when :meth:`beat` was not called for too long, with the stacks of all threads in a file."""

    def __init__(self, path: Path, patience: float) -> None:
        """Set it up; :meth:`watching` starts it.

        Args:
            path: Where the stacks go; removed again if all goes well.
            patience: Seconds without a beat; 0 switches it off.
        """
        self._path = path
        self._patience = patience
        self._armed = float("-inf")
        self._file: TextIO | None = None

    @contextmanager
    def watching(self) -> Iterator[Watchdog]:
        """Watch as long as the block lasts."""
        if self._patience:
            self._file = self._path.open("w", encoding="utf-8")
        try:
            self._arm(_FIRST * self._patience)
            yield self
        finally:
            if self._file is not None:
                faulthandler.cancel_dump_traceback_later()
                self._file.close()
                self._path.unlink(missing_ok=True)

    def beat(self) -> None:
        """Say that work goes on. Costs a look at the clock, mostly."""
        if time.monotonic() - self._armed > self._patience / 20:
            self._arm(self._patience)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not watch: one rank works, or the disk does, and the others wait."""
        if self._file is not None:
            faulthandler.cancel_dump_traceback_later()
        try:
            yield
        finally:
            self._arm(self._patience)

    def _arm(self, patience: float) -> None:
        if self._file is not None:
            faulthandler.dump_traceback_later(patience, exit=True, file=self._file)
            self._armed = time.monotonic()


def read_hang(path: Path) -> str | None:
    """The stacks that a watchdog left, if one did; a process that was killed leaves an empty file."""
    return path.read_text(encoding="utf-8") or None if path.exists() else None
