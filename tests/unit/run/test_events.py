"""A run's event log: events.jsonl."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from tests.support.run_folders import HERE, NOW, write_events
from yolofuse.run.events import append_event, describe_last_exit, last_lifecycle_event
from yolofuse.run.records import read_events
from yolofuse.run.status_summary import summarise_run
from yolofuse.run.status_writer import StatusWriter
from yolofuse.run.train_state import TrainState


def test_append_event__writes_a_line(tmp_path: Path) -> None:
    append_event(tmp_path, "begun", epoch=0, step=0, world=2)
    append_event(tmp_path, "failed", step=7, error="läuft\nnicht \udcff", loss=float("nan"), fine=None)
    assert len((tmp_path / "events.jsonl").read_bytes().splitlines()) == 2
    (begun, failed), damaged = read_events(tmp_path)
    assert not damaged
    assert (begun.event, begun.epoch, begun.step, begun.world, begun.host, begun.facts) == ("begun", 0, 0, 2, HERE, {})
    assert datetime.now(timezone.utc) - begun.time < timedelta(seconds=30)
    assert failed.facts == {"error": "läuft\nnicht \\udcff", "loss": "nan", "fine": None}


def test_append_event__starts_a_new_line_after_a_truncated_one(tmp_path: Path) -> None:
    append_event(tmp_path, "begun", step=0)
    path = tmp_path / "events.jsonl"
    path.write_bytes(path.read_bytes() + b'{"time": "2026-11-22T1')
    events, damaged = read_events(tmp_path)
    assert ([event.event for event in events], damaged) == (["begun"], 1)
    append_event(tmp_path, "resumed", step=0)
    events, damaged = read_events(tmp_path)
    assert ([event.event for event in events], damaged) == (["begun", "resumed"], 1)


def test_append_event__logs_what_it_cannot_write(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    append_event(tmp_path / "gone", "finished", step=1)
    assert "cannot be written" in caplog.text
    assert "event not recorded: finished" in caplog.text


def test_describe_last_exit__feeds_the_interruption_of_the_resumed_event(tmp_path: Path) -> None:
    assert describe_last_exit(tmp_path) == {}
    append_event(tmp_path, "begun", step=0)
    assert describe_last_exit(tmp_path) == {"after": "killed"}
    StatusWriter(tmp_path, epochs=4, steps_per_epoch=100, batch=16, world=2).update("training", TrainState(step=31))
    facts = describe_last_exit(tmp_path)
    assert (facts["after"], facts["reached"], facts["was_on"]) == ("killed", 31, HERE)
    append_event(tmp_path, "resumed", step=30, **facts)
    (interruption, *_) = summarise_run(tmp_path, NOW, locked=lambda path: True).interruptions
    assert (interruption.why, interruption.lost) == ("killed", 1)
    append_event(tmp_path, "preempted", step=31, signal="SIGTERM")
    assert describe_last_exit(tmp_path)["after"] == "preempted"


def test_describe_last_exit__damaged_files_do_not_stop_a_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "status.json").write_text("{")
    assert describe_last_exit(tmp_path) == {}
    assert "not a run's status" in caplog.text


def test_last_lifecycle_event__skips_other_events(tmp_path: Path) -> None:
    assert last_lifecycle_event([]) is None
    write_events(tmp_path, ("08:00", "begun", {}), ("08:10", "resumed", {"step": 7}), ("08:20", "out_of_memory", {}))
    events, _ = read_events(tmp_path)
    last = last_lifecycle_event(events)
    assert last is not None
    assert (last.event, last.step) == ("resumed", 7)
    assert last_lifecycle_event(events[2:]) is None
