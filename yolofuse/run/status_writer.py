"""How a run is doing, for others to read: ``status.json``, written every few seconds, and ``events.jsonl``.

Neither is needed to go on with a run, so trouble with writing them is told and never ends one.
"""

from __future__ import annotations

import json
import logging
import math
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

from yolofuse.errors import RunError
from yolofuse.files import save_json
from yolofuse.run.records import (
    EVENTS_NAME,
    LIFECYCLE_EVENTS,
    STATUS_NAME,
    TERMINAL_EVENTS,
    EventName,
    Scalar,
    State,
    read_events,
    read_status,
)

log = logging.getLogger("yolofuse")

_MAX_TEXT = 2000
_REMEMBERED = 12  # writes over which the speed is taken


class ProgressLike(Protocol):
    """What is read off a run's progress."""

    epoch: int
    epoch_step: int
    step: int
    last_save: int
    best_ap: float


class StatusFile:
    """Keeps ``status.json`` up to date; rank 0 has one."""

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
        """Say what the run is; nothing is written yet.

        Args:
            folder: The run's.
            epochs: Of the whole run.
            steps_per_epoch: Steps of a whole epoch.
            batch: Pairs per step over all ranks.
            world: Number of ranks.
            every_s: Seconds between two writes of the same state.
            clock: Seconds that never go back.
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
        self._points: deque[tuple[float, int]] = deque(maxlen=_REMEMBERED)
        self._steps_per_s: float | None = None
        self._pause_began: float | None = None
        self._pauses = [0.0, 0.0]  # how many, and their seconds in all
        self._is_broken = False

    def update(self, state: State, progress: ProgressLike) -> None:
        """Tell where the run stands; written where the state is new or the last write was a while ago."""
        now = self._clock()
        if state == self._state and now < self._due:
            return
        self._measure(state, progress.step, now)
        self._state, self._due = state, now + self._every_s
        speed = self._steps_per_s
        content = {
            "state": state,
            "epoch": progress.epoch,
            "epochs": self._epochs,
            "epoch_step": progress.epoch_step,
            "steps_per_epoch": self._steps_per_epoch,
            "step": progress.step,
            "pairs_per_s": None if speed is None else round(speed * self._batch, 3),
            "eta_s": self._eta(state, progress),
            "updated": _now(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "world": self._world,
            "last_save_step": progress.last_save,
            "best_ap": progress.best_ap if 0 <= progress.best_ap <= 1 else None,
        }
        try:
            save_json(self._path, content)
            self._is_broken = False
        except OSError as error:
            if not self._is_broken:
                log.warning("warning: %s: cannot be written (%s); training goes on", self._path, error)
            self._is_broken = True

    def _measure(self, state: State, step: int, now: float) -> None:
        """Take speed from training alone, and the length of what comes between."""
        if state != "training":
            self._points.clear()
            if self._pause_began is None and self._state is not None:
                self._pause_began = now
            return
        if self._pause_began is not None:
            self._pauses = [self._pauses[0] + 1, self._pauses[1] + now - self._pause_began]
            self._pause_began = None
        if self._points and step < self._points[-1][1]:  # went back to a checkpoint
            self._points.clear()
        self._points.append((now, step))
        (then, before), (last, after) = self._points[0], self._points[-1]
        if after > before and last > then:
            self._steps_per_s = (after - before) / (last - then)

    def _eta(self, state: State, progress: ProgressLike) -> float | None:
        if state in {"finished", "failed"}:
            return 0.0 if state == "finished" else None
        if not self._steps_per_s:
            return None
        steps = max(self._epochs * self._steps_per_epoch - progress.step, 0)
        count, seconds = self._pauses
        pause = seconds / count if count else 0.0
        return round(steps / self._steps_per_s + pause * max(self._epochs - progress.epoch, 0), 1)


def append_event(folder: Path, event: EventName, **facts: Scalar) -> None:
    """Add a line to a run's ``events.jsonl``, whole: no other process's line ends up inside of it.

    Args:
        folder: The run's.
        event: What happened; the time and this host are added.
        facts: What else is to be known, such as ``epoch``, ``step``, ``world``. Numbers that are not finite become
            words, which JSON can say; long texts are cut.
    """
    said = {name: _sayable(value) for name, value in facts.items()}
    row = {"time": _now(), "event": event, "host": socket.gethostname(), **said}
    line = json.dumps(row, allow_nan=False, ensure_ascii=False).encode(errors="replace") + b"\n"
    path = folder / EVENTS_NAME
    try:
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            size = os.fstat(handle).st_size
            if size and os.pread(handle, 1, size - 1) != b"\n":
                line = b"\n" + line  # what a full disk or a kill cut short ends here
            written = os.write(handle, line)
        finally:
            os.close(handle)
        if written < len(line):
            raise OSError(f"{written} of {len(line)} bytes written")
    except OSError as error:
        log.warning("warning: %s: cannot be written (%s); not noted there: %s", path, error, event)


def _sayable(value: Scalar) -> Scalar:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value[:_MAX_TEXT] if isinstance(value, str) else value


def describe_last_exit(folder: Path) -> dict[str, Any]:
    """Facts for the event ``resumed``, to be asked before ``status.json`` is written again: how the run had ended.

    Returns:
        ``after``: preempted, failed, finished, or killed where nothing was written down any more; ``reached``: the last
        step that is known to have been made (a kill may have lost a few seconds more), ``last_seen`` and ``was_on``:
        when and where, as far as they are known.
    """
    try:
        events, _ = read_events(folder)
        status = read_status(folder)
    except RunError as error:  # a run goes on without knowing this
        log.warning("warning: %s", error)
        return {}
    last = next((event for event in reversed(events) if event.event in LIFECYCLE_EVENTS), None)
    if last is None and status is None:
        return {}
    facts: dict[str, Any] = {"after": last.event if last is not None and last.event in TERMINAL_EVENTS else "killed"}
    if status is not None:
        facts |= {"reached": status.step, "last_seen": status.updated.isoformat(), "was_on": status.host}
    return facts


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
