"""What befalls one of two ranks, an idle worker or a save: it costs the job at most, never the run."""

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
_STRIKE = 4  # the step, from 0, before which rank 1 is struck: the second of the second epoch
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
    fits = int(os.environ["PAIRS_THAT_FIT"])

    def check(module, given):
        if module.training and len(given[0]) > fits:
            raise torch.OutOfMemoryError("pretended")
    context.detector.register_forward_pre_hook(check)

def poison(context, batch):
    batch.pixels = batch.pixels * float("nan")

strikes = {"nothing": lambda context, batch: None, "flip": flip_a_bit, "memory": shrink_memory, "nan": poison}
strike, step = strikes.get(sys.argv[1]) or send(sys.argv[1]), int(sys.argv[2])
train_step = loop.train_step

def struck(context, state, batch, number, *args):
    if number == step + 1:
        strike(context, batch)
    return train_step(context, state, batch, number, *args)

if os.environ["RANK"] == "1":
    loop.train_step = struck
sys.exit(main(sys.argv[3:]))
"""


class Pairs:
    """Runs of two ranks on one small data set: three epochs of three steps, each of two pairs to a rank."""

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
    def started(self, run: str, strike: str, *options: str) -> Iterator[list[subprocess.Popen[str]]]:
        """Both ranks of a run, of which the second is struck; whatever is left of them is killed in the end."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
        common |= {"PAIRS_THAT_FIT": os.environ.get("PAIRS_THAT_FIT", "1"), "PYTHONPATH": str(REPO)}
        argv = ["--cfg", str(self.config), "--auto-resume", f"train.run={self.folder / run}", *options]
        ranks = [
            subprocess.Popen(
                [sys.executable, str(self._script), strike, str(_STRIKE), *argv],
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

    def run(self, run: str, strike: str, *options: str) -> tuple[list[int], str]:
        """Both ranks to their end; their exit codes, and what they said."""
        with self.started(run, strike, *options) as ranks:
            said = [process.communicate(timeout=200)[0] for process in ranks]
            return [process.returncode for process in ranks], "\n".join(said)

    def events(self, run: str) -> list[str]:
        """What happened to a run, in order."""
        lines = (self.folder / run / "events.jsonl").read_text().splitlines()
        return [json.loads(line)["event"] for line in lines]

    def same_end(self, one: str, other: str) -> bool:
        """Whether two runs ended with the same state, bit for bit."""
        a, b = (load_checkpoint(self.folder / run / "weights" / "last.pt") for run in (one, other))
        return all(same_tensors(a[key], b[key]) for key in _STATE)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    """The data, and a run called ``whole`` that nothing befell."""
    made = Pairs(tmp_path_factory.mktemp("pairs"))
    codes, said = made.run("whole", "nothing")
    assert codes == [0, 0], said
    return made


def test_one_rank__killed_ends_the_job_and_the_next_one_goes_on(pairs: Pairs) -> None:
    with pairs.started("killed", "SIGKILL") as ranks:
        assert ranks[1].wait(200) == -signal.SIGKILL
        struck = time.monotonic()
        assert ranks[0].wait(60) != 0
        assert time.monotonic() - struck < 60
    codes, said = pairs.run("killed", "nothing")
    assert codes == [0, 0], said
    assert pairs.same_end("killed", "whole")


def test_one_rank__hanging_ends_the_other_with_its_stacks(pairs: Pairs) -> None:
    with pairs.started("hung", "SIGSTOP", "train.watchdog_minutes=0.1") as ranks:
        said, _ = ranks[0].communicate(timeout=200)
        assert ranks[0].returncode != 0, said
        assert ranks[1].poll() is None  # stopped; torchrun kills it
    stacks = (pairs.folder / "hung" / "stacks-rank0.txt").read_text()
    assert "all_reduce" in stacks


def test_resume__keeps_and_tells_where_the_job_before_hung(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = load_config(write_config(tmp_path, train={"epochs": 1}))
    run = train(config)
    (run / "stacks-rank1.txt").write_text("Thread 0x1: in all_reduce")
    (run / "stacks-rank0.txt").write_text("Thread 0x0: in all_reduce")
    train(config, resume="always")
    assert "ended because it hung" in caplog.text
    kept = sorted(path.read_text() for path in run.glob("hung-*.txt"))
    assert kept == ["Thread 0x0: in all_reduce", "Thread 0x1: in all_reduce"]


def test_one_rank__with_another_weight_is_found_and_named(pairs: Pairs) -> None:
    codes, said = pairs.run("drifted", "flip", "train.check_ranks_every=1")
    assert codes == [2, 2], said
    assert "model.rgb.layers.0.conv.weight: rank 1 differs from rank 0" in said
    assert pairs.events("drifted")[-1] == "failed"


@pytest.mark.parametrize("name", [pytest.param("SIGTERM", marks=pytest.mark.soak), "SIGUSR1"])
def test_one_rank__asked_to_stop_stops_both_at_the_same_step(pairs: Pairs, name: str) -> None:
    codes, said = pairs.run(name, name)
    assert codes == [75, 75], said
    assert json.loads((pairs.folder / name / "PREEMPTED").read_text())["step"] == _STRIKE + 1
    codes, said = pairs.run(name, "nothing")
    assert codes == [0, 0], said
    assert pairs.same_end(name, "whole")


def test_one_rank__with_a_bad_batch_takes_both_back(pairs: Pairs) -> None:
    codes, said = pairs.run("bad", "nan")
    assert codes == [0, 0], said
    assert pairs.events("bad") == ["begun", "rolled_back", "finished"]
    assert load_checkpoint(pairs.folder / "bad" / "weights" / "last.pt")["progress"]["skipped"] == [_STRIKE]


def test_one_rank__short_of_memory_halves_the_pieces_of_both(pairs: Pairs) -> None:
    codes, said = pairs.run("short", "memory", "train.sync_bn=false")
    assert codes == [0, 0], said
    assert pairs.events("short") == ["begun", "out_of_memory", "finished"]
    assert json.loads((pairs.folder / "short" / "split_batches.json").read_text()) == {"parts": 2}


def test_one_rank__short_of_memory_amid_an_exchange_ends_the_job_and_the_next_one_splits(pairs: Pairs) -> None:
    codes, said = pairs.run("stuck", "memory", "train.sync_bn=true")
    assert 0 not in codes, said
    assert (pairs.folder / "stuck" / "PREEMPTED").exists()
    codes, said = pairs.run("stuck", "memory", "train.sync_bn=true")
    assert codes == [0, 0], said
    assert json.loads((pairs.folder / "stuck" / "split_batches.json").read_text()) == {"parts": 2}


@pytest.mark.soak
def test_one_rank__without_memory_for_one_pair_is_not_requeued_for_ever(
    pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIRS_THAT_FIT", "0")
    (pairs.folder / "hopeless").mkdir()
    (pairs.folder / "hopeless" / "split_batches.json").write_text('{"parts": 2}')  # one pair at a time
    codes, said = pairs.run("hopeless", "memory", "train.sync_bn=true")
    assert 0 not in codes, said
    assert "even with one pair at a time" in said
    assert not (pairs.folder / "hopeless" / "PREEMPTED").exists()


@pytest.mark.parametrize("which", ["train", pytest.param("val", marks=pytest.mark.soak)])
def test_loader__replaces_a_worker_that_died_idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str) -> None:
    config = write_config(tmp_path, data={"workers": 2})
    whole = train(load_config(config, [f"train.run={tmp_path / 'whole'}"]))
    evaluate, passes = loop.evaluate_epoch, 0

    def killing(run: Any) -> Any:
        """After the first evaluation its workers wait for the second; before it those of training wait likewise."""
        nonlocal passes
        passes += 1
        training = {process.pid for process in multiprocessing.active_children()}
        result = evaluate(run)
        if passes == 1:
            workers = multiprocessing.active_children()
            victim = next(w for w in workers if (w.pid in training) == (which == "train"))
            os.kill(victim.pid or 0, signal.SIGKILL)
            victim.join()
        return result

    monkeypatch.setattr(loop, "evaluate_epoch", killing)
    run = train(load_config(config, [f"train.run={tmp_path / 'run'}"]))
    a, b = (load_checkpoint(folder / "weights" / "last.pt") for folder in (whole, run))
    assert all(same_tensors(a[key], b[key]) for key in _STATE)


def test_resume__clears_away_what_interrupted_saves_left(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path, train={"epochs": 1}))
    weights = train(config) / "weights"
    left = weights / ".step_00000003.pt.0123abcd.part"
    shutil.copy(weights / "last.pt", left)
    train(config, resume="always")
    assert not left.exists()
    assert (weights / "last.pt").exists()
