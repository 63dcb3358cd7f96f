"""Ranks that die, hang or drift apart, and jobs in each other's way: what that does to this project's runs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from scripts.benchmarks.results_table import REPO
from scripts.faults.ours_files import compared, killed
from scripts.faults.lab import Outcome
from scripts.faults.ours_run import STEPS, Runs, at_step, last_line, state_hash

import yolofuse.run.resume_check as fingerprint

_MID = 2 * STEPS + 2
_WATCHDOG_S = 12


def main() -> int:
    """Be one rank under torchrun, of which rank 1 sends itself a signal at a step: ``SIGNAL STEP train-arguments``."""
    import yolofuse.cli.train as cli

    number, step = signal.Signals[sys.argv[1]], int(sys.argv[2])
    torch.set_num_threads(1)

    def strike(session: Any, batch: Any) -> None:
        (Path(session.config.train.run) / "struck").write_text(str(time.time()))
        os.kill(os.getpid(), number)

    if os.environ["RANK"] == "1":
        at_step(step, strike)
    return cli.main(sys.argv[3:])


def _torchrun(runs: Runs, name: str, sent: signal.Signals, *options: str) -> tuple[int, float]:
    """Let rank 1 of 2 strike itself; the job's exit code, and the seconds from then to the job's end."""
    argv = ["--cfg", str(runs.config), "--auto-resume", f"train.run={runs.folder(name)}", *runs.options, *options]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=0", "--"]
    command = [sys.executable, *launcher, __file__, sent.name, str(_MID), *argv]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO)}
    with runs.log(name).open("w") as log:
        job = subprocess.run(command, stdout=log, stderr=log, env=environment, timeout=240, check=False)
    struck = runs.folder(name) / "struck"
    if not struck.exists():
        raise SystemExit(f"{name}: rank 1 never came to its step:\n{runs.log(name).read_text()[-3000:]}")
    return job.returncode, time.time() - float(struck.read_text())


def rank_dies(runs: Runs) -> Outcome:
    """SIGKILL to one of two ranks, under torchrun."""
    code, seconds = _torchrun(runs, "dies", signal.SIGKILL)
    runs.finish("dies", ranks=2)
    same = state_hash(runs.folder("dies")) == state_hash(runs.folder("whole2"))
    figures = {
        "seconds to the job's end": f"{seconds:.1f}",
        "exit code": code,
        "end": "bit-identical" if same else "DIFFERENT",
    }
    is_well = code != 0 and seconds < 60 and same
    return Outcome(
        "rank_dies", "the job fails at once, and goes on when started again" if is_well else "NOT kept", figures
    )


def rank_hangs(runs: Runs) -> Outcome:
    """SIGSTOP to one of two ranks, under torchrun."""
    code, seconds = _torchrun(runs, "hangs", signal.SIGSTOP, f"train.watchdog_minutes={_WATCHDOG_S / 60}")
    stacks = sorted(path.name for path in runs.folder("hangs").glob("stacks-rank*.txt") if path.stat().st_size)
    runs.finish("hangs", ranks=2)
    same = state_hash(runs.folder("hangs")) == state_hash(runs.folder("whole2"))
    figures = {
        "watchdog, s": _WATCHDOG_S,
        "seconds to the job's end": f"{seconds:.1f}",
        "exit code": code,
        "stacks in": ", ".join(stacks) or "none",
        "end": "bit-identical" if same else "DIFFERENT",
    }
    is_well = code != 0 and bool(stacks) and same
    text = "the waiting rank ends itself and leaves its stacks; torchrun ends the stopped one"
    return Outcome("rank_hangs", text if is_well else "NOT kept", figures)


def drift(runs: Runs) -> Outcome:
    """One bit of one weight flipped on one rank."""

    def flip(session: Any, batch: Any) -> None:
        weight = next(session.detector.parameters()).data
        number = weight[(0,) * weight.dim()]
        number.copy_((number.reshape(1).view(torch.int32) ^ 1).view(torch.float32)[0])

    jobs = runs.start(
        "drift", "train.check_ranks_every=2", ranks=2, act=lambda rank: at_step(_MID, flip) if rank == 1 else None
    )
    codes = [job.wait() for job in jobs]
    named = [line.strip() for line in jobs[0].said().splitlines() if "differs from rank 0" in line]
    ends = runs.events("drift", "failed")
    figures: dict[str, object] = {
        "exit codes": codes,
        "flipped before step": _MID,
        "found after step": ends[-1].step if ends else "?",
        "tensors named": len(named),
        "first": named[0][:100] if named else "none",
    }
    is_well = set(codes) == {2} and bool(named)
    return Outcome("drift", "found; ends naming the tensors" if is_well else "NOT kept", figures)


def config_changed(runs: Runs) -> Outcome:
    """Other options on resume: refused; with --force taken."""
    killed(runs, "config")
    job = runs.start("config", "train.lr0=0.001", "model.cut=early")[0]
    refused = job.wait()
    named = [key for key in ("train.lr0", "model.cut") if key in job.said()]
    free = runs.start("config", "train.save_every=3")[0]
    free.wait()
    figures = {"exit code": refused, "named": ", ".join(named), "with train.save_every changed": f"exit {free.code}"}
    is_well = refused == 2 and len(named) == 2 and free.code == 0
    return Outcome("config_changed", "refused, naming every key" if is_well else "NOT kept", figures)


def data_changed(runs: Runs) -> Outcome:
    """Half of the labels edited."""
    killed(runs, "data")
    labels, kept = runs.descriptor.parent / "labels", runs.root / "labels-before"
    shutil.copytree(labels, kept)
    try:
        for file in sorted((labels / "train").glob("*.txt"))[::2]:
            file.write_text("0 0.5 0.5 0.1 0.1\n")
        job = runs.start("data")[0]
        refused = job.wait()
        forced = _forced(runs, "data")
    finally:
        shutil.rmtree(labels)
        kept.rename(labels)
    figures = {"exit code": refused, "with --force": f"exit {forced}"}
    is_well = refused == 2 and forced == 0 and "data changed" in job.said()
    return Outcome("data_changed", "refused" if is_well else "NOT kept", figures)


def code_changed(runs: Runs) -> Outcome:
    """Another version of the package's source."""
    killed(runs, "code")
    before = fingerprint.code_fingerprint()

    def act(rank: int) -> None:
        fingerprint.code_fingerprint = lambda: before | {"yolofuse source": "0123456789abcdef"}  # type: ignore[assignment]

    job = runs.start("code", act=act)[0]
    refused = job.wait()
    named = "yolofuse source" in job.said()
    runs.finish("code")
    figures = {"exit code": refused, "with the old code again": compared(runs, "code")}
    return Outcome("code_changed", "refused, naming what changed" if refused == 2 and named else "NOT kept", figures)


def _forced(runs: Runs, name: str) -> int | None:
    return runs.start(name, arguments=("--resume", str(runs.folder(name)), "--force"))[0].wait()


def two_jobs(runs: Runs) -> Outcome:
    """A second job goes on with a run that the first is working on; and both begin it at once."""

    def slowly(rank: int) -> None:
        for step in range(3 * STEPS):
            at_step(step, lambda session, batch: time.sleep(0.7))

    figures: dict[str, object] = {}
    is_well = True
    for title, delay in (("second comes later", 4.0), ("both at once", 0.0)):
        name = f"two{delay:.0f}"
        jobs = [runs.start(name, act=slowly)[0]]
        time.sleep(delay)
        jobs.append(runs.start(name, act=slowly)[0])
        codes = sorted(job.wait() or 0 for job in jobs)
        rows = len((runs.folder(name) / "results.csv").read_text().splitlines()) - 1
        end = compared(runs, name)
        figures[title] = f"exit {codes}, {rows} rows in results.csv, end {end}"
        is_well &= codes == [0, 2] and end == "bit-identical"
    figures["told"] = last_line(next(job for job in jobs if job.code)) if any(job.code for job in jobs) else "nothing"
    return Outcome("two_jobs", "the second is refused" if is_well else "NOT kept", figures)


SCENARIOS: dict[str, Callable[[Runs], Outcome]] = {
    "rank_dies": rank_dies,
    "rank_hangs": rank_hangs,
    "drift": drift,
    "config_changed": config_changed,
    "data_changed": data_changed,
    "code_changed": code_changed,
    "two_jobs": two_jobs,
}

if __name__ == "__main__":
    sys.exit(main())
