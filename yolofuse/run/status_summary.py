"""Summarise a run from its folder alone: state, interruptions, newest checkpoint, lost steps."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from yolofuse.run.events import last_lifecycle_event
from yolofuse.run.folder import RunFolder, checkpoint_step
from yolofuse.run.lock import is_locked
from yolofuse.run.records import LIFECYCLE_EVENTS, TERMINAL_EVENTS, Event, RunStatus, read_events, read_status

_MAX_AGE = timedelta(minutes=2)
"""Age up to which a status of another machine counts as alive; it is written every few seconds."""
_MAX_AGE_VALIDATING = timedelta(minutes=60)
"""The same during an evaluation, when no status is written."""
_COUNTED_EVENTS = ("rolled_back", "out_of_memory", "worker_died", "fell_back")


@dataclass(frozen=True)
class Interruption:
    """One time that a run stopped before it was finished."""

    time: datetime  # when it stopped, if known; else when it resumed
    why: str  # ``preempted (SIGUSR1)``, ``failed``, ``killed``
    host: str  # where it ran; "" if unknown
    reached: int | None  # last step that is known to be finished
    resumed_at: int | None  # step that it resumed from; None if it has not resumed yet

    @property
    def lost(self) -> int | None:
        """Steps that had to be repeated; None if unknown."""
        return None if self.reached is None or self.resumed_at is None else max(self.reached - self.resumed_at, 0)


@dataclass(frozen=True)
class Checkpoint:
    """The newest checkpoint of a run: its step, if the file name has one, and when it was written."""

    step: int | None
    written: datetime


@dataclass(frozen=True)
class RunSummary:
    """The state and history of a run, as its folder shows them."""

    folder: Path
    # training, validating, starting, finished, preempted, failed, stopped (killed, or its machine died), or unknown
    state: str
    is_alive: bool  # whether a process is working on it
    status: RunStatus | None
    checkpoint: Checkpoint | None  # the one that it would resume from
    interruptions: tuple[Interruption, ...]  # in chronological order
    counts: dict[str, int]  # how often each other event happened, zeros included
    damaged: int  # number of event lines that could not be read

    @property
    def lost(self) -> int:
        """Steps that had to be repeated, as far as known."""
        return sum(interruption.lost or 0 for interruption in self.interruptions)

    @property
    def behind(self) -> int | None:
        """Steps since the checkpoint, which a kill would lose now; None if unknown."""
        if self.status is None or self.checkpoint is None or self.checkpoint.step is None:
            return None
        return max(self.status.step - self.checkpoint.step, 0)


def summarise_run(folder: Path, now: datetime | None = None, locked: Callable[[Path], bool] = is_locked) -> RunSummary:
    """Summarise a run from the files in its folder, as of ``now`` (by default the current time).

    ``locked`` returns whether a process holds the run's lock.

    Raises:
        RunError: If its status or events are not those of a run.
    """
    now = now or datetime.now(timezone.utc)
    status = read_status(folder)
    events, damaged = read_events(folder)
    is_alive = _is_alive(status, locked(folder), now)
    last = last_lifecycle_event(events)
    state = _state(status, last, is_alive)
    interruptions = _interruptions(events)
    if not is_alive and state != "finished" and last is not None:
        interruptions.append(_last_interruption(last, status))
    return RunSummary(
        folder=folder,
        state=state,
        is_alive=is_alive,
        status=status,
        checkpoint=_newest_checkpoint(folder),
        interruptions=tuple(interruptions),
        counts={name: sum(event.event == name for event in events) for name in _COUNTED_EVENTS},
        damaged=damaged,
    )


def _state(status: RunStatus | None, last: Event | None, is_alive: bool) -> str:
    recorded = status.state if status is not None else None
    if is_alive:
        return recorded if recorded in {"training", "validating"} else "starting"
    if last is not None and last.event in TERMINAL_EVENTS:
        return last.event
    if recorded is not None:
        return recorded if recorded in TERMINAL_EVENTS else "stopped"
    return "stopped" if last is not None else "unknown"


def _is_alive(status: RunStatus | None, is_locked_now: bool, now: datetime) -> bool:
    """Decide by the lock or, on another machine, whose locks may not be visible here, by the age of the status."""
    if is_locked_now:
        return True
    if status is None or status.host == socket.gethostname() or status.state in TERMINAL_EVENTS:
        return False
    return now - status.updated < (_MAX_AGE_VALIDATING if status.state == "validating" else _MAX_AGE)


def _interruptions(events: Sequence[Event]) -> list[Interruption]:
    """Return an interruption for each time that the run resumed, unless it was finished before."""
    interruptions = []
    before: Event | None = None
    for event in events:
        if event.event == "resumed" and before is not None and before.event != "finished":
            interruptions.append(_interruption(before, event))
        if event.event in LIFECYCLE_EVENTS:
            before = event
    return interruptions


def _interruption(before: Event, resumed: Event) -> Interruption:
    ended = before.event in TERMINAL_EVENTS
    reached, was_on = resumed.facts.get("reached"), resumed.facts.get("was_on")
    return Interruption(
        time=before.time if ended else resumed.last_seen or resumed.time,
        why=_reason(before),
        host=before.host if ended or not isinstance(was_on, str) else was_on,
        reached=max((step for step in (reached, before.step) if isinstance(step, int)), default=None),
        resumed_at=resumed.step,
    )


def _last_interruption(last: Event, status: RunStatus | None) -> Interruption:
    """Describe the end of a run that has not resumed yet."""
    if last.event in TERMINAL_EVENTS or status is None:
        return Interruption(last.time, _reason(last), last.host, last.step, None)
    return Interruption(status.updated, _reason(last), status.host, status.step, None)


def _reason(last: Event) -> str:
    if last.event == "preempted":
        signal = last.facts.get("signal")
        return f"preempted ({signal})" if isinstance(signal, str) else "preempted"
    return last.event if last.event in TERMINAL_EVENTS else "killed"


def _newest_checkpoint(folder: Path) -> Checkpoint | None:
    files = RunFolder(folder)
    path = next(iter(files.checkpoints()), files.last)
    try:
        return Checkpoint(checkpoint_step(path), datetime.fromtimestamp(path.stat().st_mtime, timezone.utc))
    except FileNotFoundError:  # none yet, or just deleted for a newer one
        return None
