"""Test on a real Slurm of two virtual nodes: preempted, requeued and failed jobs end bit-identical to undisturbed ones.

Needs root and Slurm's programs (``tests/slurm_local.sh install``, which CI calls); skipped without them.
"""

from __future__ import annotations

import atexit
import csv
import os
import re
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.pairs import make_pairs
from tests.support.processes import run_ranks
from tests.support.runs import REPO, same_tensors, train_without_plots, write_config
from yolofuse.cli import submit
from yolofuse.config import load_config
from yolofuse.run.records import read_events
from yolofuse.weights import load_checkpoint

pytestmark = [pytest.mark.xdist_group("slurm"), pytest.mark.timeout(600)]

_SCRIPT = REPO / "tests" / "slurm_local.sh"
_UNAVAILABLE = 3  # the script's exit code where Slurm cannot run
_STEPS = 14  # per epoch
_TRAIN = {"batch": 4, "epochs": 2, "save_every": 3, "val_every": 2}
_STATE = ("model", "ema", "ema_updates", "optimizer", "scaler")


@dataclass(frozen=True)
class Cluster:
    """Submit jobs to the virtual cluster and wait for their states; ``folder`` holds the runs."""

    root: Path
    folder: Path
    descriptor: Path

    def script(self, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a verb of slurm_local.sh."""
        command = [str(_SCRIPT), verb, str(self.root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

    def submit(self, name: str, capsys: pytest.CaptureFixture[str], *arguments: str, **train: Any) -> dict[str, str]:
        """Submit a tiny run as a user does; return job ids by stage."""
        home = self.folder / name
        home.mkdir()
        config = write_config(home, self.descriptor, train={**_TRAIN, **train})
        capsys.readouterr()
        code = submit.main(["--cfg", str(config), "--name", name, "--cpus", "1", *arguments])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return dict(re.findall(r"^(\w+) +job (\d+)$", captured.out, re.MULTILINE))

    def jobs(self, job: str) -> list[dict[str, str]]:
        """Return Slurm's record of a job, or of each element of an array."""
        command = ["scontrol", "show", "--oneliner", "job", job]
        output = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
        return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in output.splitlines() if line]

    def states(self, job: str) -> set[str]:
        """Return the states of a job, or of the elements of an array."""
        return {record["JobState"] for record in self.jobs(job)}

    def logs(self, name: str = "") -> str:
        """Return the end of each job's log; with a name, of one submission only."""
        files = sorted((self.folder / name).rglob("*.log"))
        return "\n".join(f"== {file.name}\n{file.read_text()[-9000:]}" for file in files)

    def wait(self, what: str, is_true: Callable[[], bool], seconds: float = 120) -> None:
        """Wait for a condition; fail with the queue and the logs after ``seconds``."""
        deadline = time.monotonic() + seconds
        while not is_true():
            if time.monotonic() > deadline:
                queue = subprocess.run(["squeue", "--long"], capture_output=True, text=True, timeout=30, check=False)
                pytest.fail(f"waited {seconds:.0f} s for {what}\n{queue.stdout}\n{self.logs()}")
            time.sleep(0.1)

    def wait_for_end(self, job: str, state: str = "COMPLETED") -> None:
        """Wait until a job, or each element of an array, has ended in a state."""
        live = {"PENDING", "RUNNING", "COMPLETING", "REQUEUED", "SUSPENDED", "CONFIGURING"}
        self.wait(f"job {job}", lambda: not self.states(job) & live)
        assert self.states(job) == {state}, self.logs()

    def wait_for_checkpoint(self, run: Path, after: int = 0) -> None:
        """Wait until a run has a checkpoint of a step after the given one."""

        def has_checkpoint() -> bool:
            return any(int(file.stem[5:]) > after for file in run.glob("weights/step_*.pt"))

        self.wait(f"{run}'s next checkpoint", has_checkpoint)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Start two nodes for the tests of this file."""
    folder = tmp_path_factory.mktemp("cluster")
    made = Cluster(folder / "slurm", folder, make_pairs(folder / "data", num_train=4 * _STEPS, num_val=2))
    worker = re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or "0"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOLOFUSE_SLURM_PORT", str(28310 + 10 * int(worker)))
        started = made.script("start", "2", str(os.getpid()))
        if started.returncode == _UNAVAILABLE:
            reason = f"no Slurm on this machine: {started.stderr.strip()}; tests/slurm_local.sh install gets it"
            warnings.warn(reason, stacklevel=1)
            pytest.skip(reason)
        assert started.returncode == 0, started.stderr
        atexit.register(made.script, "stop")
        patch.setenv("SLURM_CONF", str(made.root / "slurm.conf"))
        patch.setenv("SLURM_WAIT", "3")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", str(REPO))
        patch.setenv("YOLOFUSE_CACHE", str(folder / "cache"))
        yield made
        made.script("stop")
        atexit.unregister(made.script)


@pytest.fixture(scope="module")
def whole(cluster: Cluster) -> Path:
    """Train undisturbed, with the same two ranks but without Slurm; return the run's folder."""
    folder = cluster.folder / "whole"
    folder.mkdir()
    config = load_config(write_config(folder, cluster.descriptor, train=_TRAIN))
    codes, output = run_ranks(lambda rank: train_without_plots(config), folder)
    assert codes == [0, 0], output
    return config.run_dir


def assert_same_run(a: Path, b: Path) -> None:
    """Check that two runs ended with the same state, bit for bit, and the same losses."""
    first, second = (load_checkpoint(run / "weights" / "last.pt") for run in (a, b))
    for key in _STATE:
        assert same_tensors(first[key], second[key]), key
    timed = {"seconds", "data_wait", "memory_gib"}
    rows = [[{k: v for k, v in r.items() if k not in timed} for r in c["progress"]["history"]] for c in (first, second)]
    assert rows[0] == rows[1]
    assert first["progress"]["step"] == second["progress"]["step"] == 2 * _STEPS


def events(run: Path) -> list[str]:
    """Return the names of a run's events."""
    found, damaged = read_events(run)
    assert not damaged
    return [event.event for event in found]


def test_array__of_seeds_is_trained_evaluated_and_tabulated(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    table = cluster.folder / "table.csv"
    arguments = ("--gpus", "1", "--seeds", "0,7", "--val", "--collect", str(table), "train.epochs=1")
    ids = cluster.submit("seeds", capsys, *arguments)
    waiting = cluster.jobs(ids["val"])[0]
    assert ids["train"] in waiting["Dependency"]
    assert len(cluster.jobs(ids["train"])) <= 2
    cluster.wait_for_end(ids["collect"])
    for stage in ("train", "val"):
        assert len(cluster.jobs(ids[stage])) == 2
        assert cluster.states(ids[stage]) == {"COMPLETED"}
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["run"].rsplit("/")[-1] for row in rows] == ["run-seed0", "run-seed7", "mean of 2"]
    assert [row["seed"] for row in rows] == ["0", "7", "0 7"]
    assert [row["state"] for row in rows] == ["finished"] * 3
    assert all(row["eval-val AP"] and row["eval-val AP"] == row["AP"] for row in rows)


def test_failed_training__is_a_failed_job_and_its_evaluation_is_cancelled(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = cluster.submit("fails", capsys, "--gpus", "0", "--val", "data.train_split=nosuch")
    cluster.wait_for_end(ids["train"], "FAILED")
    assert cluster.jobs(ids["train"])[0]["ExitCode"] == "2:0"
    assert cluster.jobs(ids["train"])[0]["Restarts"] == "0"
    cluster.wait_for_end(ids["val"], "CANCELLED")
    assert "nosuch" in cluster.logs()


@pytest.mark.parametrize("lost", [("n2",), pytest.param(("n2", "n1"), marks=pytest.mark.soak)], ids="-".join)
def test_run__preempted_then_losing_nodes_ends_bit_identical(
    cluster: Cluster, whole: Path, capsys: pytest.CaptureFixture[str], lost: tuple[str, ...]
) -> None:
    name = "-".join(("lost", *lost))
    job = cluster.submit(name, capsys, "--nodes", "2", "--gpus", "0")["train"]
    run = cluster.folder / name / "run"

    cluster.wait_for_checkpoint(run, after=0)
    subprocess.run(["scancel", "--batch", "--signal=USR1", job], timeout=30, check=True)  # as before the time limit
    cluster.wait("the run to resume", lambda: events(run)[-1] == "resumed")
    started, stopped, resumed = read_events(run)[0]
    assert (started.event, stopped.event, stopped.facts["signal"]) == ("begun", "preempted", "SIGUSR1")
    assert 0 < (stopped.step or 0) < _STEPS  # in mid-epoch
    assert resumed.step == stopped.step  # no step is repeated
    assert not (run / "PREEMPTED").exists()

    # Slurm takes minutes to notice a dead node, the other rank fails within seconds: the job must find the cause.
    cluster.wait_for_checkpoint(run, after=resumed.step or 0)
    assert cluster.script("fail", "n2").returncode == 0
    cluster.wait("the job to be requeued", lambda: "does not answer; requeueing" in cluster.logs(name))
    assert cluster.script("forget").returncode == 0
    assert cluster.script("revive", "n2").returncode == 0
    cluster.wait("the run to resume", lambda: events(run).count("resumed") == 2)

    if "n1" in lost:  # the job's script runs on it and dies with it: Slurm requeues the job
        cluster.wait_for_checkpoint(run, after=read_events(run)[0][-1].step or 0)
        assert cluster.script("fail", "n1").returncode == 0
        assert cluster.script("revive", "n1").returncode == 0

    cluster.wait_for_end(job)
    assert cluster.jobs(job)[0]["Restarts"] == str(1 + len(lost))
    assert events(run)[-2:] == ["resumed", "finished"]
    assert (run / "FINISHED").exists()
    assert_same_run(whole, run)


def test_cancelled__run_saves_and_is_not_requeued(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    job = cluster.submit("cancelled", capsys, "--gpus", "0", epochs=50)["train"]
    run = cluster.folder / "cancelled" / "run"
    cluster.wait_for_checkpoint(run)
    subprocess.run(["scancel", job], timeout=30, check=True)
    cluster.wait_for_end(job, "CANCELLED")
    cluster.wait("the last save", (run / "PREEMPTED").exists, seconds=20)
    assert cluster.jobs(job)[0]["Restarts"] == "0"
