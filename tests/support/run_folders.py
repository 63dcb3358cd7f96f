"""Write the files of a run folder for tests: status, events, a numbered checkpoint."""

from __future__ import annotations

import json
import socket
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

HERE = socket.gethostname()
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=timezone.utc)
"""The time of the tests, three seconds after ``GOOD_STATUS`` was written."""

GOOD_STATUS = {
    "state": "training", "epoch": 1, "epochs": 4, "epoch_step": 20, "steps_per_epoch": 100, "step": 120,
    "pairs_per_s": 192.0, "eta_s": 23.4, "updated": "2026-11-22T11:59:57+00:00", "host": "node1", "pid": 77, "world": 2,
    "last_save_step": 100, "best_ap": 0.25,
}  # fmt: skip


def write_status(folder: Path, **changes: Any) -> None:
    """Write ``GOOD_STATUS`` with changes, on another machine unless ``host`` is given."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "status.json").write_text(json.dumps(GOOD_STATUS | changes))


def write_events(folder: Path, *rows: tuple[str, str, dict[str, Any]]) -> None:
    """Write events of 2026-11-22, each (time, event, facts)."""
    lines = [
        json.dumps({"time": f"2026-11-22T{time}:00+00:00", "event": event, "host": "node1", **facts})
        for time, event, facts in rows
    ]
    (folder / "events.jsonl").write_text("".join(line + "\n" for line in lines))


def write_run(folder: Path, **changes: Any) -> Path:
    """Write a run with a current status and two interruptions."""
    write_status(folder, updated=datetime.now(timezone.utc).isoformat(), **changes)
    write_events(
        folder,
        ("08:00", "begun", {"step": 0}),
        ("08:10", "preempted", {"step": 40, "signal": "SIGUSR1"}),
        ("08:20", "resumed", {"step": 40}),
        ("08:40", "resumed", {"step": 80, "reached": 95}),
    )
    (folder / "weights").mkdir()
    (folder / "weights" / "step_00000100.pt").write_bytes(b"")
    return folder
