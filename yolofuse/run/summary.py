"""Where a run stands, judged from its folder alone: alive or not, how often stopped, what would be lost."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from yolofuse.run.lock import is_locked
from yolofuse.run.records import LIFECYCLE_EVENTS, TERMINAL_EVENTS, Event, RunStatus, read_events, read_status

_SILENCE = timedelta(minutes=2)
"""How old a status of another machine may be; it is written every few seconds."""
_LONG_SILENCE = timedelta(minutes=60)
"""The same while it evaluates, when nothing is written."""
_CHECKPOINT = re.compile(r"step_(\d{1,12})\.pt")
_COUNTED = ("rolled_back", "out_of_memory", "worker_died", "fell_back")


@dataclass(frozen=True)
class Interruption:
    """One time that a run ended before it was done.

    Attributes:
        time: When it ended, as far as that is known; else when it went on.
        why: In a word or two.
        host: Where; "" where that is not known.
        reached: Last step that is known to have been made.
        resumed_at: Step that it went on from; None as long as it hasn't.
    """

    time: datetime
    why: str
    host: str
    reached: int | None
    resumed_at: int | None

    @property
    def lost(self) -> int | None:
        """Steps that had to be made twice; None where one of both is not known."""
        return None if self.reached is None or self.resumed_at is None else max(self.reached - self.resumed_at, 0)


@dataclass(frozen=True)
class Checkpoint:
    """The newest one of a run: its step, where the file's name says so, and when it was written."""

    step: int | None
    written: datetime


@dataclass(frozen=True)
class RunSummary:
    """All that a run's folder says.

    Attributes:
        folder: The run's.
        state: training, validating, starting, finished, preempted, failed, stopped (it was killed, or its machine
            died), or unknown.
        is_alive: Whether a process is working on it.
        status: What it last said of itself.
        checkpoint: What it would go on from.
        interruptions: In the order of time.
        counts: How often other things happened, by event; none are left out.
        damaged: Lines of its events that could not be read.
    """

    folder: Path
    state: str
    is_alive: bool
    status: RunStatus | None
    checkpoint: Checkpoint | None
    interruptions: tuple[Interruption, ...]
    counts: dict[str, int]
    damaged: int

    @property
    def lost(self) -> int:
        """Steps made twice, as far as they are known."""
        return sum(stop.lost or 0 for stop in self.interruptions)

    @property
    def behind(self) -> int | None:
        """Steps that a kill at this moment would lose."""
        if self.status is None or self.checkpoint is None or self.checkpoint.step is None:
            return None
        return max(self.status.step - self.checkpoint.step, 0)


def summarise_run(folder: Path, now: datetime | None = None, locked: Callable[[Path], bool] = is_locked) -> RunSummary:
    """Where a run stands.

    Args:
        folder: The run's.
        now: The time; by default the present.
        locked: Whether a process holds the run's lock.

    Raises:
        RunError: If its files are not what a run writes.
    """
    now = now or datetime.now(timezone.utc)
    status = read_status(folder)
    events, damaged = read_events(folder)
    is_alive = _is_alive(status, locked(folder), now)
    last = _last_turn(events)
    state = _state(status, last, is_alive)
    stops = _interruptions(events)
    if not is_alive and state != "finished" and last is not None:
        stops.append(_pending(last, status))
    return RunSummary(
        folder=folder,
        state=state,
        is_alive=is_alive,
        status=status,
        checkpoint=_newest_checkpoint(folder),
        interruptions=tuple(stops),
        counts={name: sum(event.event == name for event in events) for name in _COUNTED},
        damaged=damaged,
    )


def _state(status: RunStatus | None, last: Event | None, is_alive: bool) -> str:
    said = status.state if status is not None else None
    if is_alive:
        return said if said in {"training", "validating"} else "starting"
    if last is not None and last.event in TERMINAL_EVENTS:
        return last.event
    if said is not None:
        return said if said in TERMINAL_EVENTS else "stopped"
    return "stopped" if last is not None else "unknown"


def _is_alive(status: RunStatus | None, is_locked_now: bool, now: datetime) -> bool:
    """A lock says it surely; of another machine, whose locks may not be seen here, the age of its status."""
    if is_locked_now:
        return True
    if status is None or status.host == socket.gethostname() or status.state in TERMINAL_EVENTS:
        return False
    return now - status.updated < (_LONG_SILENCE if status.state == "validating" else _SILENCE)


def _last_turn(events: Sequence[Event]) -> Event | None:
    """The last event at which a run began, went on or ended."""
    return next((event for event in reversed(events) if event.event in LIFECYCLE_EVENTS), None)


def _interruptions(events: Sequence[Event]) -> list[Interruption]:
    """One for each time that a run went on, unless it had been done before."""
    stops = []
    before: Event | None = None
    for event in events:
        if event.event == "resumed" and before is not None and before.event != "finished":
            stops.append(_interruption(before, event))
        if event.event in LIFECYCLE_EVENTS:
            before = event
    return stops


def _interruption(before: Event, resumed: Event) -> Interruption:
    ended = before.event in TERMINAL_EVENTS
    reached, seen, where = (resumed.facts.get(name) for name in ("reached", "last_seen", "was_on"))
    return Interruption(
        time=before.time if ended else _time(seen) or resumed.time,
        why=_why(before),
        host=before.host if ended or not isinstance(where, str) else where,
        reached=max((step for step in (reached, before.step) if isinstance(step, int)), default=None),
        resumed_at=resumed.step,
    )


def _pending(last: Event, status: RunStatus | None) -> Interruption:
    """The end of a run that has not gone on yet."""
    if last.event in TERMINAL_EVENTS or status is None:
        return Interruption(last.time, _why(last), last.host, last.step, None)
    return Interruption(status.updated, _why(last), status.host, status.step, None)


def _why(last: Event) -> str:
    if last.event == "preempted":
        signal = last.facts.get("signal")
        return f"preempted ({signal})" if isinstance(signal, str) else "preempted"
    return last.event if last.event in TERMINAL_EVENTS else "killed"


def _time(text: object) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else None


def _newest_checkpoint(folder: Path) -> Checkpoint | None:
    weights = folder / "weights"
    steps = [(int(match[1]), file) for file in weights.glob("step_*.pt") if (match := _CHECKPOINT.fullmatch(file.name))]
    step, file = max(steps, default=(None, weights / "last.pt"))
    try:
        return Checkpoint(step, datetime.fromtimestamp(file.stat().st_mtime, timezone.utc))
    except FileNotFoundError:  # there is none yet, or it has just made room for a newer one
        return None
