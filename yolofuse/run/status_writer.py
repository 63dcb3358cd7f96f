"""Write ``status.json``, every few seconds: progress, speed and remaining time of a run."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from yolofuse.files import save_json
from yolofuse.run.records import STATUS_NAME, State, utc_now

if TYPE_CHECKING:
    from yolofuse.run.train_state import TrainState

log = logging.getLogger("yolofuse")

_SPEED_WINDOW = 12  # writes over which the speed is measured: (seconds, step) of each


@dataclass(eq=False)
class StatusWriter:
    """Keeps ``status.json`` up to date; used on rank 0.

    No run depends on its status: a failed write is logged, not raised.
    """

    folder: Path
    _: KW_ONLY
    epochs: int
    steps_per_epoch: int
    batch: int  # pairs per step over all ranks
    world: int
    every_s: float = 5.0  # between two writes of the same state
    clock: Callable[[], float] = time.monotonic
    _state: State | None = field(default=None, init=False)
    _due: float = field(default=0.0, init=False)
    _points: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_SPEED_WINDOW), init=False)
    _steps_per_s: float | None = field(default=None, init=False)
    _pause_start: float | None = field(default=None, init=False)
    _num_pauses: int = field(default=0, init=False)
    _paused_s: float = field(default=0.0, init=False)
    _has_failed: bool = field(default=False, init=False)

    def update(self, state: State, progress: TrainState) -> None:
        """Write the status if the state is new or the last write is ``every_s`` old."""
        now = self.clock()
        if state == self._state and now < self._due:
            return
        self._measure_speed(state, progress.step, now)
        self._state, self._due = state, now + self.every_s
        path = self.folder / STATUS_NAME
        try:
            save_json(path, self._content(state, progress))
            self._has_failed = False
        except OSError as error:
            if not self._has_failed:
                log.warning("warning: %s: cannot be written (%s); training continues", path, error)
            self._has_failed = True

    def _content(self, state: State, progress: TrainState) -> dict[str, object]:
        speed = self._steps_per_s
        return {
            "state": state,
            "epoch": progress.epoch,
            "epochs": self.epochs,
            "epoch_step": progress.epoch_step,
            "steps_per_epoch": self.steps_per_epoch,
            "step": progress.step,
            "pairs_per_s": None if speed is None else round(speed * self.batch, 3),
            "eta_s": self.eta_s(state, progress),
            "updated": utc_now(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "world": self.world,
            "last_save_step": progress.last_save,
            "best_ap": progress.best_ap if 0 <= progress.best_ap <= 1 else None,
        }

    def _measure_speed(self, state: State, step: int, now: float) -> None:
        """Measure the speed of training alone, and the length of the pauses between."""
        if state != "training":
            self._points.clear()
            if self._pause_start is None and self._state is not None:
                self._pause_start = now
            return
        if self._pause_start is not None:
            self._num_pauses += 1
            self._paused_s += now - self._pause_start
            self._pause_start = None
        if self._points and step < self._points[-1][1]:  # rolled back to a checkpoint
            self._points.clear()
        self._points.append((now, step))
        (first_s, first_step), (last_s, last_step) = self._points[0], self._points[-1]
        if last_step > first_step and last_s > first_s:
            self._steps_per_s = (last_step - first_step) / (last_s - first_s)

    def eta_s(self, state: State, progress: TrainState) -> float | None:
        """Return the seconds to the end of the run at the speed so far; None before it is known, or after a failure."""
        if state in {"finished", "failed"}:
            return 0.0 if state == "finished" else None
        if not self._steps_per_s:
            return None
        steps = max(self.epochs * self.steps_per_epoch - progress.step, 0)
        pause_s = self._paused_s / self._num_pauses if self._num_pauses else 0.0
        return round(steps / self._steps_per_s + pause_s * max(self.epochs - progress.epoch, 0), 1)
