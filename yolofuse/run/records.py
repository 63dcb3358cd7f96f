"""Define and read the records of a run: ``status.json`` and ``events.jsonl``.

The files may come from an untrusted source, so sizes are bounded and types are checked.
"""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from yolofuse.errors import RunError
from yolofuse.files import open_own

STATUS_NAME = "status.json"
EVENTS_NAME = "events.jsonl"
MAX_STATUS_BYTES = 1 << 16
MAX_EVENTS_BYTES = 1 << 24

State = Literal["training", "validating", "finished", "preempted", "failed"]
EventName = Literal[
    "begun", "resumed", "preempted", "rolled_back", "out_of_memory", "worker_died", "fell_back", "finished", "failed"
]
TERMINAL_EVENTS = {"preempted", "failed", "finished"}
"""Events that end a run, until it is resumed."""
LIFECYCLE_EVENTS = TERMINAL_EVENTS | {"begun", "resumed"}
"""Events at which a run starts, resumes or ends."""
Scalar = str | int | float | bool | None
Count = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(max_length=255)]


class RunStatus(BaseModel):
    """The run state, as ``status.json`` holds it."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)

    state: State  # what the run is doing, or how it ended
    epoch: Count  # finished epochs
    epochs: Count
    epoch_step: Count  # finished steps of the current epoch
    steps_per_epoch: Count
    step: Count  # finished steps since the start
    pairs_per_s: Annotated[float, Field(ge=0)] | None  # training throughput over all ranks; None until it is known
    eta_s: Annotated[float, Field(ge=0, le=1e10)] | None  # remaining seconds, evaluations included
    updated: AwareDatetime
    host: Name  # of rank 0, as is pid
    pid: Count
    world: Count  # number of ranks
    last_save_step: Count  # step of the newest checkpoint
    best_ap: float | None  # None before the first evaluation


class Event(BaseModel):
    """One event of a run, a line of ``events.jsonl``; fields without a name here are in :attr:`facts`."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, Scalar]

    time: AwareDatetime
    event: Name  # see EventName
    host: Name = ""  # machine of the process that wrote it
    epoch: Count | None = None  # finished epochs
    step: Count | None = None  # finished steps since the start
    world: Count | None = None  # number of ranks

    @property
    def facts(self) -> dict[str, Scalar]:
        """The fields that the schema does not name."""
        return self.__pydantic_extra__

    @property
    def last_seen(self) -> datetime | None:
        """When the run that a ``resumed`` event continues was last known to be alive."""
        try:
            time = datetime.fromisoformat(str(self.facts.get("last_seen")))
        except ValueError:
            return None
        return time if time.tzinfo else None


def utc_now() -> str:
    """Return the current time as the records hold it: ISO 8601, UTC, whole seconds."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def read_status(folder: Path) -> RunStatus | None:
    """Read a run's status; None if it has not written one yet.

    Raises:
        RunError: If the file is not a run's status.
    """
    path = folder / STATUS_NAME
    content = _read(path, MAX_STATUS_BYTES)
    if content is None:
        return None
    try:
        return RunStatus.model_validate_json(content)
    except (ValidationError, RecursionError) as error:
        raise RunError(f"{path}: not a run's status ({_reason(error)}); delete it, the run writes it again") from error


def read_events(folder: Path) -> tuple[list[Event], int]:
    """Read a run's events, in the order they were written, and count the lines that could not be read.

    A kill or a full disk may leave a truncated line.

    Raises:
        RunError: If the file is too large to be a run's.
    """
    content = _read(folder / EVENTS_NAME, MAX_EVENTS_BYTES)
    events: list[Event] = []
    damaged = 0
    for line in (content or b"").splitlines():
        try:
            events.append(Event.model_validate_json(line))
        except (ValidationError, RecursionError):
            damaged += 1
    return events, damaged


def _read(path: Path, limit: int) -> bytes | None:
    try:
        with os.fdopen(open_own(path), "rb") as stream:
            content = stream.read(limit + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunError(f"{path}: not a file of a run, or it cannot be read ({error.strerror})") from error
    if len(content) > limit:
        raise RunError(f"{path}: larger than {limit >> 10} KiB, so not written by a run")
    return content


def _reason(error: ValidationError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else str(first["msg"])
