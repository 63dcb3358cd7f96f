"""Append to a run's ``events.jsonl``, and find how the run last started, resumed or ended."""

from __future__ import annotations

import json
import logging
import math
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yolofuse.errors import RunError
from yolofuse.files import open_own
from yolofuse.run.records import (
    EVENTS_NAME,
    LIFECYCLE_EVENTS,
    TERMINAL_EVENTS,
    Event,
    EventName,
    Scalar,
    read_events,
    read_status,
    utc_now,
)

log = logging.getLogger("yolofuse")

_MAX_TEXT = 2000  # characters of a field


def append_event(folder: Path, event: EventName, **fields: Scalar) -> None:
    """Append a line to ``events.jsonl`` in one write, so that lines of several processes do not mix.

    No run depends on its events: a failed write is logged, not raised. Time and host are added to the ``fields``, such
    as ``epoch``, ``step``, ``world``; numbers that are not finite become text, which JSON can hold; long texts are cut.
    """
    row: dict[str, Scalar] = {"time": utc_now(), "event": event, "host": socket.gethostname()}
    row |= {name: _json_value(value) for name, value in fields.items()}
    line = json.dumps(row, allow_nan=False, ensure_ascii=False).encode() + b"\n"
    path = folder / EVENTS_NAME
    try:
        _append_line(path, line)
    except OSError as error:
        log.warning("warning: %s: cannot be written (%s); event not recorded: %s", path, error, event)


def last_lifecycle_event(events: Sequence[Event]) -> Event | None:
    """Return the last event at which the run started, resumed or ended."""
    return next((event for event in reversed(events) if event.event in LIFECYCLE_EVENTS), None)


def describe_last_exit(folder: Path) -> dict[str, Any]:
    """Return the fields of a ``resumed`` event that say how the run had ended; call before writing a new status.

    Returns:
        ``after``: preempted, failed, finished, or killed if no end was recorded. As far as known, ``reached``: the
        last finished step (a kill may have lost a few seconds more), ``last_seen`` and ``was_on``: when, on which host.
    """
    try:
        events, _ = read_events(folder)
        status = read_status(folder)
    except RunError as error:  # not needed to resume
        log.warning("warning: %s", error)
        return {}
    last = last_lifecycle_event(events)
    if last is None and status is None:
        return {}
    fields: dict[str, Any] = {"after": last.event if last is not None and last.event in TERMINAL_EVENTS else "killed"}
    if status is not None:
        fields |= {"reached": status.step, "last_seen": status.updated.isoformat(), "was_on": status.host}
    return fields


def _append_line(path: Path, line: bytes) -> None:
    handle = open_own(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    try:
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            line = b"\n" + line  # a kill or a full disk truncated the line before
        written = os.write(handle, line)
    finally:
        os.close(handle)
    if written < len(line):
        raise OSError(f"{written} of {len(line)} bytes written")


def _json_value(value: Scalar) -> Scalar:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value[:_MAX_TEXT].encode(errors="backslashreplace").decode() if isinstance(value, str) else value
