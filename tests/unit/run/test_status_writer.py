"""Writing status.json."""

from __future__ import annotations

import json
import os
import timeit
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.support.run_folders import HERE
from yolofuse.run import status_writer
from yolofuse.run.records import read_status
from yolofuse.run.status_writer import StatusWriter
from yolofuse.run.train_state import TrainState


class Clock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _writer(folder: Path, clock: Clock, **changes: Any) -> StatusWriter:
    return StatusWriter(
        folder, **{"epochs": 4, "steps_per_epoch": 100, "batch": 16, "world": 2, "clock": clock, **changes}
    )


def _content(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "status.json").read_text())
    return content


def test_update__writes_when_due_or_when_the_state_is_new(tmp_path: Path) -> None:
    clock = Clock()
    writer = _writer(tmp_path, clock)
    writer.update("training", TrainState())
    assert _content(tmp_path)["step"] == 0
    clock.now += 4.9
    writer.update("training", TrainState(step=10))
    assert _content(tmp_path)["step"] == 0
    clock.now += 0.2
    writer.update("training", TrainState(step=11))
    assert _content(tmp_path)["step"] == 11
    writer.update("validating", TrainState(step=12))
    assert (_content(tmp_path)["state"], _content(tmp_path)["step"]) == ("validating", 12)


def test_update__fields(tmp_path: Path) -> None:
    clock = Clock()
    writer = _writer(tmp_path, clock)
    writer.update("training", TrainState())
    assert (_content(tmp_path)["pairs_per_s"], _content(tmp_path)["eta_s"], _content(tmp_path)["best_ap"]) == (
        None,
        None,
        None,
    )
    clock.now += 10
    writer.update("training", TrainState(epoch=1, epoch_step=20, step=120, last_save=100, best_ap=0.25))
    content = _content(tmp_path)
    assert datetime.now(timezone.utc) - datetime.fromisoformat(content.pop("updated")) < timedelta(seconds=30)
    assert content == {
        "state": "training", "epoch": 1, "epochs": 4, "epoch_step": 20, "steps_per_epoch": 100, "step": 120,
        "pairs_per_s": 192.0, "eta_s": pytest.approx(280 / 12, abs=0.1), "host": HERE, "pid": os.getpid(),
        "world": 2, "last_save_step": 100, "best_ap": 0.25,
    }  # fmt: skip
    read = read_status(tmp_path)
    assert read is not None
    assert (read.step, read.pairs_per_s, read.best_ap) == (120, 192.0, 0.25)


def test_update__evaluations_count_for_the_remaining_time_but_not_for_the_speed(tmp_path: Path) -> None:
    clock = Clock()
    writer = _writer(tmp_path, clock)
    for step in range(0, 101, 50):  # 10 steps a second
        writer.update("training", TrainState(step=step))
        clock.now += 5
    writer.update("validating", TrainState(step=100))
    clock.now += 60
    writer.update("validating", TrainState(epoch=1, step=100))
    for step in (100, 150):
        writer.update("training", TrainState(epoch=1, step=step))
        clock.now += 5
    content = _content(tmp_path)
    assert content["pairs_per_s"] == 160.0
    assert content["eta_s"] == pytest.approx(250 / 10 + 3 * 60, abs=0.5)


def test_update__speed_is_that_of_the_last_minute_and_survives_a_rollback(tmp_path: Path) -> None:
    clock = Clock()
    writer = _writer(tmp_path, clock, steps_per_epoch=10_000)
    step = 0
    for pace in [5] * 20 + [50] * 12:  # steps per write
        writer.update("training", TrainState(step=step))
        clock.now += 5
        step += pace
    assert _content(tmp_path)["pairs_per_s"] == 160.0
    writer.update("training", TrainState(step=7))
    assert _content(tmp_path)["pairs_per_s"] == 160.0
    clock.now += 5
    writer.update("training", TrainState(step=12))
    assert _content(tmp_path)["pairs_per_s"] == 16.0


def test_update__logs_a_full_disk_once_and_never_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    writer = _writer(tmp_path, clock)

    def full(path: Path, obj: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(status_writer, "save_json", full)
        for step in range(3):
            writer.update("training", TrainState(step=step))
            clock.now += 6
    assert len(caplog.records) == 1
    assert "No space left on device" in caplog.text
    writer.update("training", TrainState(step=9))
    assert _content(tmp_path)["step"] == 9


def test_update__costs_nothing_when_it_is_not_due(tmp_path: Path) -> None:
    writer = StatusWriter(tmp_path, epochs=1, steps_per_epoch=10**9, batch=1, world=1, every_s=3600)
    progress = TrainState()
    writer.update("training", progress)
    seconds = min(timeit.repeat(lambda: writer.update("training", progress), number=2000, repeat=5)) / 2000
    assert seconds < 5e-6
