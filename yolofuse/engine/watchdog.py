"""End a process that hangs, and write the stacks of its threads to a file.

A rank whose partner is gone or stopped waits in a collective, in C, where its main thread runs no Python code any more.
The watchdog is therefore a thread. It counts its own ticks, of which a suspended process has none: a job that continues
after SIGSTOP, or a laptop after its lid was closed, has not hung. For C code that hangs and keeps the interpreter's
lock, ``faulthandler``'s C thread ends the process some hours later.
"""

from __future__ import annotations

import faulthandler
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

_FIRST = 4.0  # times the patience for the first step, which compiles models and chooses kernels
_TICKS = 20  # for the patience
_BACKUP_S = 6 * 3600.0  # longer than most suspensions, after which faulthandler's thread would end the process at once


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
        self._num_beats = 0
        self._num_pauses = 0
        self._closed = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[Watchdog]:
        """Watch as long as the block lasts."""
        if not self._patience:
            yield self
            return
        self._path.unlink(missing_ok=True)  # never written through: a folder that somebody sent may hold a link
        with self._path.open("x", encoding="utf-8") as file:
            thread = threading.Thread(target=self._watch, args=(file,), name="watchdog", daemon=True)
            thread.start()
            try:
                yield self
            finally:
                self._closed.set()
                thread.join()
        self._path.unlink(missing_ok=True)

    def beat(self) -> None:
        """Report progress."""
        self._num_beats += 1

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Suspend the watchdog, for example while one rank works and the others wait."""
        self._num_pauses += 1
        try:
            yield
        finally:
            self._num_pauses -= 1
            self.beat()

    def _watch(self, file: TextIO) -> None:
        """Count the time without a beat in ticks; end the process when it is too long."""
        tick, waited, seen, last = self._patience / _TICKS, 0.0, self._num_beats, time.monotonic()
        while not self._closed.wait(tick):
            now = time.monotonic()
            waited += min(now - last, 2 * tick)  # more was a suspension
            last = now
            if self._num_beats != seen or self._num_pauses:
                waited, seen = 0.0, self._num_beats
            if waited > (self._patience if seen else _FIRST * self._patience):
                faulthandler.dump_traceback(file, all_threads=True)
                os._exit(1)
            if self._num_pauses:
                faulthandler.cancel_dump_traceback_later()
            else:
                faulthandler.dump_traceback_later(self._patience + _BACKUP_S, exit=True, file=file)
        faulthandler.cancel_dump_traceback_later()
