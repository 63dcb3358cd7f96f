"""Test faults in one of two ranks, an idle worker and a save: the job may end, but the run can be resumed."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import yolofuse.engine.train as loop
from tests.support.pairs import make_pairs
from tests.support.runs import REPO, same_tensors, write_config
from yolofuse.config import load_config
from yolofuse.engine.train import train
from yolofuse.weights import load_checkpoint

_STATE = ("model", "ema", "ema_updates", "optimizer", "scaler")
_FAULT_STEP = 4  # from 0: the second step of the second epoch, before which the fault is injected into rank 1
_RANK = """
import os, signal, sys
import torch
torch.set_num_threads(1)
import yolofuse.engine.train as loop
from yolofuse.cli.train import main

def send(name):
    return lambda context, batch: os.kill(os.getpid(), getattr(signal, name))

def flip_a_bit(context, batch):
    weight = next(context.detector.parameters()).data
    number = weight[(0,) * weight.dim()]
    number.copy_((number.reshape(1).view(torch.int32) ^ 1).view(torch.float32)[0])

def shrink_memory(context, batch):
    max_pairs = int(os.environ["PAIRS_THAT_FIT"])

    def check(module, inputs):
        if module.training and len(inputs[0]) > max_pairs:
            raise torch.OutOfMemoryError("simulated")
    context.detector.register_forward_pre_hook(check)

def poison(context, batch):
    batch.pixels = batch.pixels * float("nan")

faults = {"nothing": lambda context, batch: None, "flip": flip_a_bit, "memory": shrink_memory, "nan": poison}
fault, step = faults.get(sys.argv[1]) or send(sys.argv[1]), int(sys.argv[2])
train_step = loop.train_step

def faulty_step(context, state, batch, number, *args):
    if number == step + 1:
        fault(context, batch)
    return train_step(context, state, batch, number, *args)

if os.environ["RANK"] == "1":
    loop.train_step = faulty_step
sys.exit(main(sys.argv[3:]))
"""


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
        self._script = folder / "rank.py"
        self._script.write_text(_RANK)

    @contextmanager
    def started(self, run: str, fault: str, *options: str) -> Iterator[list[subprocess.Popen[str]]]:
        """Start both ranks of a run with a fault in the second; kill what still runs at the end of the block."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
        common |= {"PAIRS_THAT_FIT": os.environ.get("PAIRS_THAT_FIT", "1"), "PYTHONPATH": str(REPO)}
        argv = ["--cfg", str(self.config), "--auto-resume", f"train.run={self.folder / run}", *options]
        ranks = [
            subprocess.Popen(
                [sys.executable, str(self._script), fault, str(_FAULT_STEP), *argv],
                env={**os.environ, **common, "RANK": rank, "LOCAL_RANK": rank},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in ("0", "1")
        ]
        try:
            yield ranks
        finally:
            for process in ranks:
                process.kill()
                process.wait()

    def run(self, run: str, fault: str, *options: str) -> tuple[list[int], str]:
        """Run both ranks to their end; return their exit codes and output."""
        with self.started(run, fault, *options) as ranks:
            outputs = [process.communicate(timeout=200)[0] for process in ranks]
            return [process.returncode for process in ranks], "\n".join(outputs)

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
    codes, output = made.run("whole", "nothing")
    assert codes == [0, 0], output
    return made


def test_one_rank__killed_ends_the_job_and_the_next_one_resumes(runs: TwoRankRuns) -> None:
    with runs.started("killed", "SIGKILL") as ranks:
        assert ranks[1].wait(200) == -signal.SIGKILL
        killed_at = time.monotonic()
        assert ranks[0].wait(60) != 0
        assert time.monotonic() - killed_at < 60
    codes, output = runs.run("killed", "nothing")
    assert codes == [0, 0], output
    assert runs.same_end("killed", "whole")


def test_one_rank__hanging_ends_the_other_with_its_stacks(runs: TwoRankRuns) -> None:
    with runs.started("hung", "SIGSTOP", "train.watchdog_minutes=0.1") as ranks:
        output, _ = ranks[0].communicate(timeout=200)
        assert ranks[0].returncode != 0, output
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
    codes, output = runs.run("drifted", "flip", "train.check_ranks_every=1")
    assert codes == [2, 2], output
    assert "model.rgb.layers.0.conv.weight: rank 1 differs from rank 0" in output
    assert runs.events("drifted")[-1] == "failed"


@pytest.mark.parametrize("name", [pytest.param("SIGTERM", marks=pytest.mark.soak), "SIGUSR1"])
def test_one_rank__signalled_stops_both_at_the_same_step(runs: TwoRankRuns, name: str) -> None:
    codes, output = runs.run(name, name)
    assert codes == [75, 75], output
    assert json.loads((runs.folder / name / "PREEMPTED").read_text())["step"] == _FAULT_STEP + 1
    codes, output = runs.run(name, "nothing")
    assert codes == [0, 0], output
    assert runs.same_end(name, "whole")


def test_one_rank__with_nan_pixels_rolls_back_both(runs: TwoRankRuns) -> None:
    codes, output = runs.run("poisoned", "nan")
    assert codes == [0, 0], output
    assert runs.events("poisoned") == ["begun", "rolled_back", "finished"]
    assert load_checkpoint(runs.folder / "poisoned" / "weights" / "last.pt")["progress"]["skipped"] == [_FAULT_STEP]


def test_one_rank__out_of_memory_halves_the_micro_batches_of_both(runs: TwoRankRuns) -> None:
    codes, output = runs.run("short", "memory", "train.sync_bn=false")
    assert codes == [0, 0], output
    assert runs.events("short") == ["begun", "out_of_memory", "finished"]
    assert json.loads((runs.folder / "short" / "split_batches.json").read_text()) == {"parts": 2}


def test_one_rank__out_of_memory_in_a_collective_ends_the_job_and_the_next_one_splits(runs: TwoRankRuns) -> None:
    codes, output = runs.run("stuck", "memory", "train.sync_bn=true")
    assert 0 not in codes, output
    assert (runs.folder / "stuck" / "PREEMPTED").exists()
    codes, output = runs.run("stuck", "memory", "train.sync_bn=true")
    assert codes == [0, 0], output
    assert json.loads((runs.folder / "stuck" / "split_batches.json").read_text()) == {"parts": 2}


@pytest.mark.soak
def test_one_rank__out_of_memory_with_one_pair_is_not_requeued(
    runs: TwoRankRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIRS_THAT_FIT", "0")
    (runs.folder / "hopeless").mkdir()
    (runs.folder / "hopeless" / "split_batches.json").write_text('{"parts": 2}')  # one pair at a time
    codes, output = runs.run("hopeless", "memory", "train.sync_bn=true")
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
