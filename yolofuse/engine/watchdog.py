"""End a process that hangs, and write the stacks of its threads to a file.

A rank whose partner is gone or stopped waits in a collective, in C, where no Python code runs any more. The watchdog is
therefore ``faulthandler``'s C thread, which does not need the interpreter.
"""

from __future__ import annotations

import faulthandler
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

_FIRST = 4.0  # times the patience for the first step, which compiles models and chooses kernels


class Watchdog:
    """Ends the process if :meth:`beat` is not called for too long, and writes the stacks of all threads."""

    def __init__(self, path: Path, patience: float) -> None:
        """Keep the settings; :meth:`watching` starts it.

        Args:
            path: File for the stacks; removed again if the process ends normally.
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
            self._path.unlink(
                missing_ok=True
            )  # never written through: it may be a link, in a folder that somebody sent
            self._file = self._path.open("x", encoding="utf-8")
        try:
            self._arm(_FIRST * self._patience)
            yield self
        finally:
            if self._file is not None:
                faulthandler.cancel_dump_traceback_later()
                self._file.close()
                self._path.unlink(missing_ok=True)

    def beat(self) -> None:
        """Report progress. Mostly costs one reading of the clock."""
        if time.monotonic() - self._armed > self._patience / 20:
            self._arm(self._patience)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Suspend the watchdog, for example while one rank works and the others wait."""
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
