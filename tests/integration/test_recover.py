"""Test recovery from faults in mid-run: the run rolls back to a checkpoint and ends as without the fault."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import yolofuse.engine.train as loop
from tests.support.runs import same_tensors, write_config
from tests.support.runs import train_without_plots as train
from yolofuse.batch import PairedBatch
from yolofuse.cli import train as cli
from yolofuse.config import Config, load_config
from yolofuse.data.dataset import SampleKey, TrainDataset
from yolofuse.data.images.decode import inspect_image
from yolofuse.data.index import scan
from yolofuse.engine import lifecycle
from yolofuse.engine.active_run import ActiveRun
from yolofuse.engine.build import TrainContext
from yolofuse.engine.evaluate_split import predict_split
from yolofuse.engine.nan_guard import RollBack
from yolofuse.engine.recover import recover
from yolofuse.engine.step import StepState, train_step
from yolofuse.errors import RunError, RunStopped
from yolofuse.run.checkpointer import AsyncCheckpointer
from yolofuse.run.status_summary import summarise_run
from yolofuse.types import PairedSample
from yolofuse.weights import load_checkpoint

_STATE = ("model", "ema", "ema_updates", "optimizer", "scaler")


def _config(folder: Path, run: str, *options: str, workers: int = 0) -> Config:
    """Return the config of three epochs of three steps, with an update after every step."""
    config = write_config(folder, data={"workers": workers}, train={"nominal_batch": 2, "epochs": 3})
    return load_config(config, [f"train.run={folder / run}", *options])


def _final(run: Path) -> dict[str, Any]:
    return load_checkpoint(run / "weights" / "last.pt")


def _same_end(one: Path, other: Path) -> bool:
    a, b = _final(one), _final(other)
    return all(same_tensors(a[key], b[key]) for key in _STATE)


def _events(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]


@dataclass
class _Step:
    """Arguments of a training step that is about to run; ``number`` counts from 0."""

    context: TrainContext
    state: StepState
    batch: PairedBatch
    number: int


_Act = Callable[[_Step], object]


def _at_step(monkeypatch: pytest.MonkeyPatch, act: _Act) -> None:
    """Call ``act`` before every step; it may change the batch and the model."""

    def wrapped(context: TrainContext, state: StepState, batch: PairedBatch, number: int, *args: Any) -> Any:
        act(_Step(context, state, batch, number - 1))
        return train_step(context, state, batch, number, *args)

    monkeypatch.setattr(loop, "train_step", wrapped)


def _poison(*steps: int) -> _Act:
    def act(step: _Step) -> None:
        if step.number in steps:
            step.batch.pixels = step.batch.pixels * float("nan")

    return act


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a run without faults."""
    return train(_config(tmp_path_factory.mktemp("whole"), "whole"))


@pytest.mark.parametrize(
    "step",
    [pytest.param(0, marks=pytest.mark.soak), 4, pytest.param(8, marks=pytest.mark.soak)],
    ids=["first-step", "mid-epoch", "last-step"],
)
def test_not_finite__rolls_back_and_skips_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, step: int
) -> None:
    _at_step(monkeypatch, _poison(step))
    run = train(_config(tmp_path, "run", "train.save_every=1"))
    content = _final(run)
    assert content["progress"]["skipped"] == [step]
    assert content["progress"]["epoch"] == 3
    assert all(bool(t.isfinite().all()) for t in content["model"].values())
    assert [e["event"] for e in _events(run)] == ["begun", "rolled_back", "finished"]
    assert f"not finite in step {step + 1}: the images of the batch are not finite" in caplog.text
    assert content["ema_updates"] == 8
    # The result does not depend on how often checkpoints are saved.
    assert _same_end(run, train(_config(tmp_path, "saved-per-epoch")))


def test_not_finite__after_a_resume_ends_in_the_same_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _config(tmp_path, "whole")
    _at_step(monkeypatch, _poison(4))
    train(whole)
    monkeypatch.undo()
    stopped = _config(tmp_path, "stopped", "train.save_every=1")

    def stop_then_poison(step: _Step) -> None:
        if step.number == 3 and not (stopped.run_dir / "PREEMPTED").exists():
            os.kill(os.getpid(), signal.SIGUSR1)
        _poison(4)(step)

    _at_step(monkeypatch, stop_then_poison)
    with pytest.raises(RunStopped):
        train(stopped)
    assert _final(stopped.run_dir)["progress"]["step"] == 4
    train(stopped, resume="always")
    assert _final(stopped.run_dir)["progress"]["skipped"] == [4]
    assert _same_end(whole.run_dir, stopped.run_dir)


def test_not_finite__repeatedly_ends_with_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _at_step(monkeypatch, _poison(*range(4, 9)))
    config = _config(tmp_path, "run", "train.nan_rollbacks=2")
    with pytest.raises(RunError, match="after 2 rollbacks"):
        train(config)
    assert [e["event"] for e in _events(config.run_dir)] == ["begun", "rolled_back", "rolled_back", "failed"]
    assert all(bool(t.isfinite().all()) for t in _final(config.run_dir)["model"].values())


def _memory_for(pairs: int) -> _Act:
    """Make forward passes of more than ``pairs`` pairs fail."""

    def act(step: _Step) -> None:
        model = step.state.model
        call = type(model).forward

        def forward(rgb: Tensor, ir: Tensor) -> Any:
            if len(rgb) > pairs:
                raise torch.OutOfMemoryError("simulated")
            return call(model, rgb, ir)

        model.forward = forward

    return act


def test_out_of_memory__halves_the_micro_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("train.batch=4", "train.epochs=2")
    _at_step(monkeypatch, _memory_for(1))
    run = train(_config(tmp_path, "run", *options))
    assert json.loads((run / "split_batches.json").read_text()) == {"parts": 4}
    assert [e["event"] for e in _events(run)] == ["begun", "out_of_memory", "out_of_memory", "finished"]
    monkeypatch.undo()
    known = tmp_path / "known"  # starts with the micro-batches of the first run
    known.mkdir()
    (known / "split_batches.json").write_text('{"parts": 4}')
    assert _same_end(run, train(_config(tmp_path, "known", *options)))


def test_out_of_memory__with_one_pair_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _at_step(monkeypatch, _memory_for(0))
    with pytest.raises(RunError, match="out of memory even with one pair at a time"):
        train(_config(tmp_path, "run"))


@pytest.mark.parametrize(
    "name", ["SIGTERM", pytest.param("SIGUSR1", marks=pytest.mark.soak), pytest.param("SIGINT", marks=pytest.mark.soak)]
)
def test_signal__stops_at_the_next_step_and_the_run_resumes(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    stopped = _config(tmp_path, "stopped")

    def send_signal(step: _Step) -> None:
        if step.number == 4:
            os.kill(os.getpid(), getattr(signal, name))

    _at_step(monkeypatch, send_signal)
    arguments = ["--cfg", str(tmp_path / "config.yaml"), "--auto-resume", f"train.run={stopped.run_dir}"]
    assert cli.main(arguments) == (130 if name == "SIGINT" else 75)
    assert f"stopped by {name} at step 5" in capsys.readouterr().err
    marker = json.loads((stopped.run_dir / "PREEMPTED").read_text())
    assert (marker["signal"], marker["step"]) == (name, 5)
    assert _final(stopped.run_dir)["progress"]["step"] == 5
    monkeypatch.undo()
    assert cli.main(arguments) == 0
    assert not (stopped.run_dir / "PREEMPTED").exists()
    assert (stopped.run_dir / "FINISHED").exists()
    assert _same_end(whole, stopped.run_dir)
    assert cli.main(arguments) == 0  # a finished run that is requeued
    assert "finished already" in capsys.readouterr().out


def test_signal__ends_the_wait_for_a_batch_and_saves(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = _config(tmp_path, "stopped")
    monkeypatch.setattr(lifecycle, "_BATCH_S", 0.1)
    make, made = TrainDataset.__getitem__, itertools.count()

    def make_or_lose(dataset: TrainDataset, key: SampleKey) -> PairedSample:
        if next(made) == 2 * 4:  # the first sample of the fifth batch
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        return make(dataset, key)

    monkeypatch.setattr(TrainDataset, "__getitem__", make_or_lose)
    with pytest.raises(RunStopped, match="stopped by SIGTERM while it waited for a batch"):
        train(stopped)
    assert json.loads((stopped.run_dir / "PREEMPTED").read_text())["step"] == 4
    assert _final(stopped.run_dir)["progress"]["step"] == 4
    train(stopped, resume="always")
    assert _same_end(whole, stopped.run_dir)


def test_signal__ends_the_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def inspect(*args: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)
        return inspect_image(*args)

    monkeypatch.setattr(scan, "inspect_image", inspect)
    config = _config(tmp_path, "stopped")
    assert cli.main(["--cfg", str(tmp_path / "config.yaml"), f"train.run={config.run_dir}"]) == 75
    assert "stopped by SIGTERM before training; nothing was begun; give the command again" in capsys.readouterr().err
    assert not config.run_dir.exists()


def test_signal__during_validation_aborts_it_and_loses_no_step(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = _config(tmp_path, "stopped")

    def predict_and_signal(*args: Any) -> Any:
        if not (stopped.run_dir / "PREEMPTED").exists():
            os.kill(os.getpid(), signal.SIGUSR1)
        return predict_split(*args)

    monkeypatch.setattr(loop, "predict_split", predict_and_signal)
    with pytest.raises(RunStopped):
        train(stopped)
    progress = _final(stopped.run_dir)["progress"]
    assert (progress["epoch"], progress["epoch_step"]) == (0, 3)
    monkeypatch.undo()
    train(stopped, resume="always")
    assert _same_end(whole, stopped.run_dir)


def test_loader__replaces_workers_that_were_killed(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(step: _Step) -> None:
        if step.number in {1, 6} and not killed.get(step.number):
            killed[step.number] = True
            # The first training worker: it started before those of the evaluation, and still has batches to load.
            os.kill(min(worker.pid or 0 for worker in multiprocessing.active_children()), signal.SIGKILL)

    killed: dict[int, bool] = {}
    _at_step(monkeypatch, kill)
    run = train(_config(tmp_path, "run", workers=2))
    assert [e["event"] for e in _events(run)] == ["begun", "worker_died", "worker_died", "finished"]
    assert _same_end(whole, run)


def test_resume__of_another_config_or_code_is_refused_unless_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = _config(tmp_path, "run", "train.epochs=1")
    run = train(config)
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("lr0: 0.01", "lr0: 0.02").replace("workers: 0", "workers: 1"))
    monkeypatch.setattr("yolofuse.run.resume_check.code_fingerprint", lambda: {"torch": "0.0"})
    assert cli.main(["--resume", str(run)]) == 2
    message = capsys.readouterr().err
    assert "2 changes" in message
    assert "train.lr0: 0.01 when it was saved, 0.02 now" in message
    assert "torch: " in message
    assert cli.main(["--resume", str(run), "--force", "train.epochs=2"]) == 0
    assert _final(run)["progress"]["epoch"] == 2
    assert "changed: train.lr0" in capsys.readouterr().out
    monkeypatch.undo()
    # The changed config is now the run's own, so that it resumes without --force.
    assert load_config(run / "config.yaml").train.epochs == 2
    assert cli.main(["--resume", str(run)]) == 0
    assert cli.main(["--resume", str(run), "--force", "train.optimizer=adamw"]) == 2
    assert "of another train.optimizer" in capsys.readouterr().err


def test_resume__forced_uses_the_changed_decay(tmp_path: Path) -> None:
    run = train(_config(tmp_path, "run", "train.epochs=1"))
    changed = load_config(run / "config.yaml", ["train.epochs=2", "train.weight_decay=0.25"])
    train(changed, resume="always", force=True)
    assert _final(run)["optimizer"]["param_groups"][0]["weight_decay"] == 0.25


def test_out_of_memory__in_an_update_rolls_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = _config(tmp_path, "run")

    def fail_update(step: _Step) -> None:
        if step.number == 4 and step.state.micro_batches == 1:
            monkeypatch.setattr(step.context.optimizer, "step", _raise_out_of_memory)

    def recover_with_memory(run: ActiveRun, reason: RollBack) -> None:
        monkeypatch.undo()
        recover(run, reason)

    monkeypatch.setattr(loop, "recover", recover_with_memory)
    _at_step(monkeypatch, fail_update)
    run = train(config)
    assert json.loads((run / "split_batches.json").read_text()) == {"parts": 2}
    assert _final(run)["progress"]["epoch"] == 3


def _raise_out_of_memory(*args: Any, **kwargs: Any) -> None:
    raise torch.OutOfMemoryError("simulated")


def test_run_folder__is_locked_by_one_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yolofuse.run.lock._TIMEOUT_S", 0.2)
    config = _config(tmp_path, "run", "train.epochs=1")
    refused: list[str] = []

    def start_second_job(step: _Step) -> None:
        with pytest.raises(RunError, match="another job is working on this run") as caught:
            train(config, resume="always")
        refused.append(str(caught.value))

    _at_step(monkeypatch, start_second_job)
    train(config)
    assert len(refused) == 3
    assert f"pid {os.getpid()}" in refused[0]


def test_resume__falls_back_from_a_damaged_checkpoint(
    whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = _config(tmp_path, "damaged")
    train(config)
    newest = config.run_dir / "weights" / "step_00000009.pt"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)  # and last.pt, a hard link to it
    train(config, resume="always")
    assert "SHA-256 differs" in caplog.text
    assert [e["event"] for e in _events(config.run_dir)][2:] == ["fell_back", "resumed", "finished"]
    assert newest.with_name(f"{newest.name}.damaged").exists()
    assert _same_end(whole, config.run_dir)


def test_run_whose_first_checkpoint_cannot_be_written__has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RunError("no space")

    config = load_config(write_config(tmp_path))
    monkeypatch.setattr(AsyncCheckpointer, "require_space", refuse)
    with pytest.raises(RunError, match="no space"):
        train(config)
    assert summarise_run(config.run_dir).state == "failed"
