"""Test faults in one of two ranks, an idle worker and a save: the job may end, but the run can be resumed."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import yolofuse.engine.train as loop
from scripts.faults.lab import Job
from tests.support.pairs import make_pairs
from tests.support.processes import run_ranks, started_ranks
from tests.support.runs import same_tensors, without_plots, write_config
from tests.support.runs import train_without_plots as train
from yolofuse.batch import PairedBatch
from yolofuse.cli import train as cli
from yolofuse.config import load_config
from yolofuse.engine.build import TrainContext
from yolofuse.engine.step import StepState, train_step
from yolofuse.weights import load_checkpoint

_STATE = ("model", "ema", "ema_updates", "optimizer", "scaler")
_FAULT_STEP = 4  # from 0: the second step of the second epoch, before which the fault is injected into rank 1
_Fault = Callable[[TrainContext, PairedBatch], object]


def _nothing(context: TrainContext, batch: PairedBatch) -> None:
    """Inject no fault."""


def _send(number: signal.Signals) -> _Fault:
    return lambda context, batch: os.kill(os.getpid(), number)


def _flip_a_bit(context: TrainContext, batch: PairedBatch) -> None:
    weight = next(context.detector.parameters()).data
    number = weight[(0,) * weight.dim()]
    number.copy_((number.reshape(1).view(torch.int32) ^ 1).view(torch.float32)[0])


def _shrink_memory(pairs: int) -> _Fault:
    """Make forward passes of more than ``pairs`` pairs fail."""

    def check(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if module.training and len(inputs[0]) > pairs:
            raise torch.OutOfMemoryError("simulated")

    return lambda context, batch: context.detector.register_forward_pre_hook(check)


def _poison(context: TrainContext, batch: PairedBatch) -> None:
    batch.pixels = batch.pixels * float("nan")


def _inject(fault: _Fault) -> None:
    """Let the fault happen before one training step of this process."""

    def faulty_step(context: TrainContext, state: StepState, batch: PairedBatch, number: int, *args: Any) -> Any:
        if number == _FAULT_STEP + 1:
            fault(context, batch)
        return train_step(context, state, batch, number, *args)

    setattr(loop, "train_step", faulty_step)  # noqa: B010 - a module does not export what it imports


class TwoRankRuns:
    """Start and inspect runs of two ranks on one small data set: three epochs of three steps, two pairs per rank."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = write_config(
            folder,
            make_pairs(folder / "data", num_train=12, num_val=3),
            data={"cache_dir": str(folder / "cache")},
            train={"batch": 4, "epochs": 3, "save_every": 1},
        )

    def started(self, run: str, fault: _Fault, *options: str) -> AbstractContextManager[list[Job]]:
        """Start both ranks of a run with a fault in the second; kill what still runs at the end of the block."""
        return started_ranks(self._work(run, fault, options), self.folder)

    def run(self, run: str, fault: _Fault, *options: str) -> tuple[list[int], str]:
        """Run both ranks to their end; return their exit codes and output."""
        return run_ranks(self._work(run, fault, options), self.folder)

    def _work(self, run: str, fault: _Fault, options: tuple[str, ...]) -> Callable[[int], int]:
        def work(rank: int) -> int:
            if rank == 1:
                _inject(fault)
            argv = ["--cfg", str(self.config), "--auto-resume", f"train.run={self.folder / run}", *options]
            with without_plots():
                return cli.main(argv)

        return work

    def events(self, run: str) -> list[str]:
        """Return the names of a run's events, in order."""
        lines = (self.folder / run / "events.jsonl").read_text().splitlines()
        return [json.loads(line)["event"] for line in lines]

    def same_end(self, one: str, other: str) -> bool:
        """Return whether two runs ended with the same state, bit for bit."""
        a, b = (load_checkpoint(self.folder / run / "weights" / "last.pt") for run in (one, other))
        return all(same_tensors(a[key], b[key]) for key in _STATE)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> TwoRankRuns:
    """Make the data, and a run called ``whole`` without a fault."""
    made = TwoRankRuns(tmp_path_factory.mktemp("pairs"))
    codes, output = made.run("whole", _nothing)
    assert codes == [0, 0], output
    return made


def test_one_rank__killed_ends_the_job_and_the_next_one_resumes(runs: TwoRankRuns) -> None:
    with runs.started("killed", _send(signal.SIGKILL)) as ranks:
        assert ranks[1].wait(200) == -signal.SIGKILL
        killed_at = time.monotonic()
        assert ranks[0].wait(60) not in {0, None}
        assert time.monotonic() - killed_at < 60
    codes, output = runs.run("killed", _nothing)
    assert codes == [0, 0], output
    assert runs.same_end("killed", "whole")


def test_one_rank__hanging_ends_the_other_with_its_stacks(runs: TwoRankRuns) -> None:
    with runs.started("hung", _send(signal.SIGSTOP), "train.watchdog_minutes=0.1") as ranks:
        assert ranks[0].wait(200) not in {0, None}, ranks[0].output()
        assert ranks[1].poll() is None  # stopped; torchrun kills it
    stacks = (runs.folder / "hung" / "stacks-rank0.txt").read_text()
    assert "all_reduce" in stacks


def test_resume__keeps_and_reports_the_stacks_of_a_hung_job(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = load_config(write_config(tmp_path, train={"epochs": 1}))
    run = train(config)
    (run / "stacks-rank1.txt").write_text("Thread 0x1: in all_reduce")
    (run / "stacks-rank0.txt").write_text("Thread 0x0: in all_reduce")
    train(config, resume="always")
    assert "ended because it hung" in caplog.text
    kept = sorted(path.read_text() for path in run.glob("hung-*.txt"))
    assert kept == ["Thread 0x0: in all_reduce", "Thread 0x1: in all_reduce"]


def test_one_rank__with_a_different_weight_is_found_and_named(runs: TwoRankRuns) -> None:
    codes, output = runs.run("drifted", _flip_a_bit, "train.check_ranks_every=1")
    assert codes == [2, 2], output
    assert "model.rgb.layers.0.conv.weight: rank 1 differs from rank 0" in output
    assert runs.events("drifted")[-1] == "failed"


@pytest.mark.parametrize("name", [pytest.param("SIGTERM", marks=pytest.mark.soak), "SIGUSR1"])
def test_one_rank__signalled_stops_both_at_the_same_step(runs: TwoRankRuns, name: str) -> None:
    codes, output = runs.run(name, _send(signal.Signals[name]))
    assert codes == [75, 75], output
    assert json.loads((runs.folder / name / "PREEMPTED").read_text())["step"] == _FAULT_STEP + 1
    codes, output = runs.run(name, _nothing)
    assert codes == [0, 0], output
    assert runs.same_end(name, "whole")


def test_one_rank__with_nan_pixels_rolls_back_both(runs: TwoRankRuns) -> None:
    codes, output = runs.run("poisoned", _poison)
    assert codes == [0, 0], output
    assert runs.events("poisoned") == ["begun", "rolled_back", "finished"]
    assert load_checkpoint(runs.folder / "poisoned" / "weights" / "last.pt")["progress"]["skipped"] == [_FAULT_STEP]


def test_one_rank__out_of_memory_halves_the_micro_batches_of_both(runs: TwoRankRuns) -> None:
    codes, output = runs.run("short", _shrink_memory(1), "train.sync_bn=false")
    assert codes == [0, 0], output
    assert runs.events("short") == ["begun", "out_of_memory", "finished"]
    assert json.loads((runs.folder / "short" / "split_batches.json").read_text()) == {"parts": 2}


def test_one_rank__out_of_memory_in_a_collective_ends_the_job_and_the_next_one_splits(runs: TwoRankRuns) -> None:
    codes, output = runs.run("stuck", _shrink_memory(1), "train.sync_bn=true")
    assert 0 not in codes, output
    assert (runs.folder / "stuck" / "PREEMPTED").exists()
    codes, output = runs.run("stuck", _shrink_memory(1), "train.sync_bn=true")
    assert codes == [0, 0], output
    assert json.loads((runs.folder / "stuck" / "split_batches.json").read_text()) == {"parts": 2}


@pytest.mark.soak
def test_one_rank__out_of_memory_with_one_pair_is_not_requeued(runs: TwoRankRuns) -> None:
    (runs.folder / "hopeless").mkdir()
    (runs.folder / "hopeless" / "split_batches.json").write_text('{"parts": 2}')  # one pair at a time
    codes, output = runs.run("hopeless", _shrink_memory(0), "train.sync_bn=true")
    assert 0 not in codes, output
    assert "even with one pair at a time" in output
    assert not (runs.folder / "hopeless" / "PREEMPTED").exists()


@pytest.mark.parametrize("which", ["train", pytest.param("val", marks=pytest.mark.soak)])
def test_loader__replaces_an_idle_worker_that_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    config = write_config(tmp_path, data={"workers": 2})
    whole = train(load_config(config, [f"train.run={tmp_path / 'whole'}"]))
    evaluate, calls = loop.evaluate_epoch, 0

    def evaluate_and_kill(run: Any) -> Any:
        """Evaluate; the first time, kill an idle worker: of evaluation, or of training, which waits meanwhile."""
        nonlocal calls
        calls += 1
        training = {process.pid for process in multiprocessing.active_children()}
        result = evaluate(run)
        if calls == 1:
            workers = multiprocessing.active_children()
            victim = next(w for w in workers if (w.pid in training) == (which == "train"))
            os.kill(victim.pid or 0, signal.SIGKILL)
            victim.join()
        return result

    monkeypatch.setattr(loop, "evaluate_epoch", evaluate_and_kill)
    run = train(load_config(config, [f"train.run={tmp_path / 'run'}"]))
    a, b = (load_checkpoint(folder / "weights" / "last.pt") for folder in (whole, run))
    assert all(same_tensors(a[key], b[key]) for key in _STATE)


def test_resume__removes_leftovers_of_interrupted_saves(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path, train={"epochs": 1}))
    weights = train(config) / "weights"
    leftover = weights / ".step_00000003.pt.0123abcd.part"
    shutil.copy(weights / "last.pt", leftover)
    train(config, resume="always")
    assert not leftover.exists()
    assert (weights / "last.pt").exists()
