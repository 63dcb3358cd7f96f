"""Experiment trackers get what results.csv has, readable by their own libraries; a broken one leaves a run alone."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import yolofuse
from tests.support.runs import write_config
from yolofuse.engine.active_run import ActiveRun
from yolofuse.engine.callbacks import Callback, Ending
from yolofuse.engine.loggers import LOGGERS, Logger
from yolofuse.errors import ConfigError
from yolofuse.eval.coco import CocoResult


def _rows(run: Path) -> list[dict[str, str]]:
    with (run / "results.csv").open() as file:
        return list(csv.DictReader(file))


def _read_tensorboard(run: Path) -> list[tuple[int, float]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars("val/AP50")]


def _read_mlflow(run: Path) -> list[tuple[int, float]]:
    tracking = pytest.importorskip("mlflow.tracking")  # the run has allowed the file store
    client = tracking.MlflowClient((run / "mlflow").resolve().as_uri())
    (only,) = client.search_runs([client.get_experiment_by_name("yolofuse").experiment_id])
    assert only.info.status == "FINISHED"
    assert only.data.params["train.epochs"] == "2"
    return [(metric.step, metric.value) for metric in client.get_metric_history(only.info.run_id, "val/AP50")]


def _read_wandb(run: Path) -> list[tuple[int, float]]:
    """Read the log that ``wandb sync`` uploads, once wandb's own process has written its last record."""
    records = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    (file,) = (run / "wandb").glob("offline-run-*/run-*.wandb")
    deadline = time.monotonic() + 60
    found = []
    while time.monotonic() < deadline:
        found = [records.Record.FromString(message) for message in _leveldb_records(file.read_bytes())]
        if found and found[-1].WhichOneof("record_type") == "exit":
            break
        time.sleep(0.2)
    points = []
    for record in found:
        items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
        if "val/AP50" in items:
            points.append((record.history.step.num, float(json.loads(items["val/AP50"]))))
    return points


def _leveldb_records(content: bytes) -> Iterator[bytes]:
    """Yield the records of a LevelDB log behind wandb's header of 7 bytes."""
    assert content[:4] == b":W&B"
    position, message = 7, b""
    while position + 7 <= len(content):
        left = 32768 - position % 32768
        if left < 7:  # the rest of a block is padding
            position += left
            continue
        length, kind = int.from_bytes(content[position + 4 : position + 6], "little"), content[position + 6]
        message += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4) and position <= len(content):  # a whole record, or its last part
            yield message
            message = b""


@pytest.mark.parametrize(
    ("name", "read"), [("tensorboard", _read_tensorboard), ("mlflow", _read_mlflow), ("wandb", _read_wandb)]
)
def test_logger__holds_the_results(name: str, read: Any, tmp_path: Path) -> None:
    if name != "tensorboard":
        pytest.importorskip(name)
    run = yolofuse.train(write_config(tmp_path), train={"loggers": name, "val_every": 1})
    assert "left out" not in (run / "events.jsonl").read_text()
    expected = [(int(row["epoch"]), float(row["val/AP50"])) for row in _rows(run)]
    found = read(run)
    assert [epoch for epoch, _ in found] == [epoch for epoch, _ in expected]
    assert [value for _, value in found] == pytest.approx([value for _, value in expected], abs=1e-6)


class _Broken(Logger):
    def write(self, values: Mapping[str, float], epoch: int) -> None:
        raise ConnectionError("no route to the tracker")


def test_broken_logger__is_told_once_and_leaves_the_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(LOGGERS, "broken", _Broken)
    run = yolofuse.train(write_config(tmp_path), train={"loggers": ["broken"], "val_every": 1})
    assert (run / "FINISHED").is_file()
    assert len(_rows(run)) == 2
    assert caplog.text.count("_Broken failed and is left out from here on: ConnectionError: no route") == 1


@pytest.mark.parametrize(
    ("name", "message"), [("tensorbord", "did you mean tensorboard?"), ("absent", "is not installed; pip install")]
)
def test_missing_logger__is_told_before_the_folder_exists(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LOGGERS, "absent", type("Absent", (Logger,), {"package": "no_such_package_here"}))
    with pytest.raises(ConfigError, match=rf"train\.loggers: .*{message.replace('?', '.')}"):
        yolofuse.train(write_config(tmp_path), train={"loggers": [name]})
    assert not (tmp_path / "run").exists()


class _Recorder(Callback):
    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.loss = 0.0
        self.ap50: list[float] = []

    def on_start(self, run: ActiveRun) -> None:
        self.calls.append(("start", run.state.step))

    def on_step(self, run: ActiveRun, terms: Mapping[str, Tensor]) -> None:
        self.calls.append(("step", run.state.step))
        self.loss += float(sum(terms.values()))

    def on_evaluation(self, run: ActiveRun, result: CocoResult) -> None:
        self.calls.append(("evaluation", run.state.epoch))
        self.ap50.append(result.metrics()["AP50"])

    def on_epoch(self, run: ActiveRun, row: Mapping[str, float | None]) -> None:
        self.calls.append(("epoch", run.state.epoch))

    def on_checkpoint(self, run: ActiveRun, path: Path) -> None:
        self.calls.append(("checkpoint", run.state.step))
        assert path == run.folder.last

    def on_end(self, run: ActiveRun, how: Ending) -> None:
        self.calls.append((f"end: {how}", run.state.step))


def test_callbacks__are_called_in_order(tmp_path: Path) -> None:
    recorder = _Recorder()
    run = yolofuse.train(write_config(tmp_path), callbacks=[recorder], train={"val_every": 1})
    kinds = [kind for kind, _ in recorder.calls]
    assert kinds[0] == "start"
    assert kinds[-1] == "end: finished"
    epoch = ["step"] * 3 + ["checkpoint", "evaluation", "checkpoint", "epoch"]
    assert kinds[1:-1] == epoch * 2
    assert [number for kind, number in recorder.calls if kind == "epoch"] == [1, 2]
    assert recorder.ap50 == pytest.approx([float(row["val/AP50"]) for row in _rows(run)], abs=1e-6)
    assert recorder.loss > 0


def test_failing_callback__ends_the_run_and_is_recorded(tmp_path: Path) -> None:
    class Failing(_Recorder):
        def on_epoch(self, run: ActiveRun, row: Mapping[str, float | None]) -> None:
            raise ZeroDivisionError("mine")

    failing = Failing()
    with pytest.raises(ZeroDivisionError):
        yolofuse.train(write_config(tmp_path), callbacks=[failing])
    assert failing.calls[-1][0] == "end: failed"
    assert "ZeroDivisionError: mine" in (tmp_path / "run" / "events.jsonl").read_text()
    yolofuse.train(tmp_path / "config.yaml", resume="always")
    assert (tmp_path / "run" / "FINISHED").is_file()
