"""Write ``status.json``, every few seconds: progress, speed and remaining time of a run."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from yolofuse.files import save_json
from yolofuse.run.records import STATUS_NAME, State, utc_now

log = logging.getLogger("yolofuse")

_SPEED_WINDOW = 12  # writes over which the speed is measured


class ProgressLike(Protocol):
    """The fields of a train state that a status has."""

    epoch: int
    epoch_step: int
    step: int
    last_save: int
    best_ap: float


class StatusWriter:
    """Keeps ``status.json`` up to date; used on rank 0.

    No run depends on its status: a failed write is logged, not raised.
    """

    def __init__(
        self,
        folder: Path,
        *,
        epochs: int,
        steps_per_epoch: int,
        batch: int,
        world: int,
        every_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create a writer; nothing is written yet.

        Args:
            folder: The run's folder.
            epochs: Epochs of the whole run.
            steps_per_epoch: Steps of a whole epoch.
            batch: Pairs per step over all ranks.
            world: Number of ranks.
            every_s: Seconds between two writes of the same state.
            clock: Monotonic time in seconds.
        """
        self._path = folder / STATUS_NAME
        self._epochs = epochs
        self._steps_per_epoch = steps_per_epoch
        self._batch = batch
        self._world = world
        self._every_s = every_s
        self._clock = clock
        self._state: State | None = None
        self._due = 0.0
        self._points: deque[tuple[float, int]] = deque(maxlen=_SPEED_WINDOW)  # (seconds, step)
        self._steps_per_s: float | None = None
        self._pause_start: float | None = None
        self._num_pauses = 0
        self._paused_s = 0.0
        self._has_failed = False

    def update(self, state: State, progress: ProgressLike) -> None:
        """Write the status if the state is new or the last write is ``every_s`` old."""
        now = self._clock()
        if state == self._state and now < self._due:
            return
        self._measure_speed(state, progress.step, now)
        self._state, self._due = state, now + self._every_s
        try:
            save_json(self._path, self._content(state, progress))
            self._has_failed = False
        except OSError as error:
            if not self._has_failed:
                log.warning("warning: %s: cannot be written (%s); training continues", self._path, error)
            self._has_failed = True

    def _content(self, state: State, progress: ProgressLike) -> dict[str, object]:
        speed = self._steps_per_s
        return {
            "state": state,
            "epoch": progress.epoch,
            "epochs": self._epochs,
            "epoch_step": progress.epoch_step,
            "steps_per_epoch": self._steps_per_epoch,
            "step": progress.step,
            "pairs_per_s": None if speed is None else round(speed * self._batch, 3),
            "eta_s": self._eta_s(state, progress),
            "updated": utc_now(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "world": self._world,
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

    def _eta_s(self, state: State, progress: ProgressLike) -> float | None:
        if state in {"finished", "failed"}:
            return 0.0 if state == "finished" else None
        if not self._steps_per_s:
            return None
        steps = max(self._epochs * self._steps_per_epoch - progress.step, 0)
        pause_s = self._paused_s / self._num_pauses if self._num_pauses else 0.0
        return round(steps / self._steps_per_s + pause_s * max(self._epochs - progress.epoch, 0), 1)
