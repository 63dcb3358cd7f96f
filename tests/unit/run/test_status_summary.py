"""The summary of a run, from its folder alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.run_folders import HERE, NOW, write_events, write_status
from yolofuse.run.lock import run_lock
from yolofuse.run.status_summary import RunSummary, summarise_run


def _summary(folder: Path, locked: bool = False) -> RunSummary:
    return summarise_run(folder, NOW, locked=lambda path: locked)


@pytest.mark.parametrize(
    ("changes", "locked", "expected"),
    [
        ({}, False, ("training", True)),  # another host, three seconds ago
        ({"updated": "2026-11-22T11:50:00+00:00"}, False, ("stopped", False)),
        ({"updated": "2026-11-22T11:50:00+00:00"}, True, ("training", True)),
        ({"updated": "2026-11-22T11:50:00+00:00", "state": "validating"}, False, ("validating", True)),
        ({"host": HERE}, False, ("stopped", False)),  # on this one the lock would be seen
        ({"host": HERE, "updated": "2026-11-22T01:00:00+00:00"}, True, ("training", True)),
        ({"state": "preempted"}, False, ("preempted", False)),
        ({"state": "preempted"}, True, ("starting", True)),
        ({"state": "failed"}, False, ("failed", False)),
        ({"state": "finished"}, False, ("finished", False)),
    ],
)
def test_summary__state_and_whether_it_is_alive(
    tmp_path: Path, changes: dict[str, Any], locked: bool, expected: tuple[str, bool]
) -> None:
    write_status(tmp_path, **changes)
    found = _summary(tmp_path, locked)
    assert (found.state, found.is_alive) == expected


def test_summary__sees_the_real_lock(tmp_path: Path) -> None:
    write_status(tmp_path, host=HERE)
    with run_lock(tmp_path):
        assert summarise_run(tmp_path, NOW).is_alive
    assert not summarise_run(tmp_path, NOW).is_alive


def test_summary__interruptions_and_lost_steps(tmp_path: Path) -> None:
    write_status(tmp_path, step=230, host=HERE)
    write_events(
        tmp_path,
        ("08:00", "begun", {"step": 0}),
        ("08:10", "preempted", {"step": 40, "signal": "SIGUSR1"}),
        ("08:20", "resumed", {"step": 40, "after": "preempted", "reached": 40}),
        ("08:25", "out_of_memory", {"step": 50}),
        ("08:40", "resumed", {"step": 80, "reached": 95, "last_seen": "2026-11-22T08:33:00+00:00", "was_on": "node7"}),
        ("08:50", "failed", {"step": 120, "error": "disk"}),
        ("09:00", "resumed", {"step": 110, "reached": 118}),
    )
    weights = tmp_path / "weights"
    weights.mkdir()
    for name in ("step_00000100.pt", "step_00000220.pt", "last.pt", "step_x.pt"):
        (weights / name).write_bytes(b"")
    found = _summary(tmp_path)
    interruptions = [(f"{s.time:%H:%M}", s.why, s.host, s.reached, s.resumed_at, s.lost) for s in found.interruptions]
    assert interruptions == [
        ("08:10", "preempted (SIGUSR1)", "node1", 40, 40, 0),
        ("08:33", "killed", "node7", 95, 80, 15),
        ("08:50", "failed", "node1", 120, 110, 10),
        ("11:59", "killed", HERE, 230, None, None),
    ]
    assert found.state == "stopped"
    assert found.lost == 25
    assert found.checkpoint is not None
    assert (found.checkpoint.step, found.behind) == (220, 10)
    assert found.counts == {"rolled_back": 0, "out_of_memory": 1, "worker_died": 0, "fell_back": 0}


def test_summary__resuming_a_finished_run_is_no_interruption(tmp_path: Path) -> None:
    write_events(
        tmp_path, ("08:00", "begun", {}), ("09:00", "finished", {"step": 5}), ("10:00", "resumed", {"step": 5})
    )
    assert _summary(tmp_path, locked=True).interruptions == ()
