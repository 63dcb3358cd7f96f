"""Inject faults into ranks and jobs of our runs: ranks that die, hang or drift apart, changes on resume, two jobs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import yolofuse.run.resume_check as resume_check
from scripts.faults.lab import labels_edited
from scripts.faults.ours_files import start_and_kill
from scripts.faults.ours_run import MID, STEPS, OurRuns, at_step, describe_end, last_line
from scripts.faults.outcomes import NOT_KEPT, Outcome
from scripts.paths import REPO

_WATCHDOG_S = 12


def main() -> int:
    """Run one rank under torchrun; rank 1 sends itself a signal at a step: ``SIGNAL STEP train-arguments``."""
    import yolofuse.cli.train as cli

    number, step = signal.Signals[sys.argv[1]], int(sys.argv[2])
    torch.set_num_threads(1)

    def send(context: Any, batch: Any) -> None:
        (Path(context.config.train.run) / "signal_time").write_text(str(time.time()))
        os.kill(os.getpid(), number)

    if os.environ["RANK"] == "1":
        at_step(step, send)
    return cli.main(sys.argv[3:])


def _torchrun(runs: OurRuns, name: str, sent: signal.Signals, *overrides: str) -> tuple[int, float]:
    """Run two ranks, of which rank 1 sends itself a signal; return exit code and seconds from signal to end."""
    argv = ["--cfg", str(runs.config), "--auto-resume", f"train.run={runs.folder(name)}", *runs.overrides, *overrides]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=0", "-m"]
    command = [sys.executable, *launcher, "scripts.faults.ours_ranks", sent.name, str(MID), *argv]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO)}
    with runs.log(name).open("w") as log:
        job = subprocess.run(command, cwd=REPO, stdout=log, stderr=log, env=environment, timeout=240, check=False)
    signal_time = runs.folder(name) / "signal_time"
    if not signal_time.exists():
        raise SystemExit(f"{name}: rank 1 never reached its step:\n{runs.log(name).read_text()[-3000:]}")
    return job.returncode, time.time() - float(signal_time.read_text())


def rank_dies(runs: OurRuns) -> Outcome:
    """Kill one of two ranks under torchrun."""
    code, seconds = _torchrun(runs, "dies", signal.SIGKILL)
    runs.finish("dies", ranks=2)
    end = describe_end(runs.folder("dies"), runs.folder("whole2"))
    measured = {
        "seconds to the job's end": f"{seconds:.1f}",
        "exit code": code,
        "end": end,
    }
    is_well = code != 0 and seconds < 60 and end == "bit-identical"
    return Outcome("rank_dies", "the job fails at once, and resumes when restarted" if is_well else NOT_KEPT, measured)


def rank_hangs(runs: OurRuns) -> Outcome:
    """Stop one of two ranks under torchrun."""
    code, seconds = _torchrun(runs, "hangs", signal.SIGSTOP, f"train.watchdog_minutes={_WATCHDOG_S / 60}")
    stacks = sorted(path.name for path in runs.folder("hangs").glob("stacks-rank*.txt") if path.stat().st_size)
    runs.finish("hangs", ranks=2)
    end = describe_end(runs.folder("hangs"), runs.folder("whole2"))
    measured = {
        "watchdog, s": _WATCHDOG_S,
        "seconds to the job's end": f"{seconds:.1f}",
        "exit code": code,
        "stacks in": ", ".join(stacks) or "none",
        "end": end,
    }
    is_well = code != 0 and bool(stacks) and end == "bit-identical"
    text = "the waiting rank exits and leaves its stacks; torchrun ends the stopped one"
    return Outcome("rank_hangs", text if is_well else NOT_KEPT, measured)


def drift(runs: OurRuns) -> Outcome:
    """Flip one bit of one weight on one rank."""

    def flip(context: Any, batch: Any) -> None:
        weight = next(context.detector.parameters()).data
        number = weight[(0,) * weight.dim()]
        number.copy_((number.reshape(1).view(torch.int32) ^ 1).view(torch.float32)[0])

    jobs = runs.start(
        "drift", "train.check_ranks_every=2", ranks=2, inject=lambda rank: at_step(MID, flip) if rank == 1 else None
    )
    codes = [job.wait() for job in jobs]
    named = [line.strip() for line in jobs[0].output().splitlines() if "differs from rank 0" in line]
    ends = runs.events("drift", "failed")
    measured: dict[str, object] = {
        "exit codes": codes,
        "flipped before step": MID,
        "found after step": ends[-1].step if ends else "?",
        "tensors named": len(named),
        "first": named[0][:100] if named else "none",
    }
    is_well = set(codes) == {2} and bool(named)
    return Outcome("drift", "found; ends naming the tensors" if is_well else NOT_KEPT, measured)


def config_changed(runs: OurRuns) -> Outcome:
    """Resume with other options; then with one that may change."""
    start_and_kill(runs, "config")
    job = runs.start("config", "train.lr0=0.001", "model.cut=early")[0]
    refused = job.wait()
    named = [key for key in ("train.lr0", "model.cut") if key in job.output()]
    free = runs.start("config", "train.save_every=3")[0]
    free.wait()
    measured = {"exit code": refused, "named": ", ".join(named), "with train.save_every changed": f"exit {free.code}"}
    is_well = refused == 2 and len(named) == 2 and free.code == 0
    return Outcome("config_changed", "refused, naming every key" if is_well else NOT_KEPT, measured)


def data_changed(runs: OurRuns) -> Outcome:
    """Resume after half of the labels were edited; then with --force."""
    start_and_kill(runs, "data")
    with labels_edited(runs.descriptor.parent / "labels", runs.root / "labels-before"):
        job = runs.start("data")[0]
        refused = job.wait()
        forced = runs.start("data", arguments=("--resume", str(runs.folder("data")), "--force"))[0].wait()
    measured = {"exit code": refused, "with --force": f"exit {forced}"}
    is_well = refused == 2 and forced == 0 and "data changed" in job.output()
    return Outcome("data_changed", "refused" if is_well else NOT_KEPT, measured)


def code_changed(runs: OurRuns) -> Outcome:
    """Resume with another version of the package's source; then with the old one again."""
    start_and_kill(runs, "code")
    before = resume_check.code_fingerprint()

    def inject(rank: int) -> None:
        resume_check.code_fingerprint = lambda: before | {"yolofuse source": "0123456789abcdef"}  # type: ignore[assignment]

    job = runs.start("code", inject=inject)[0]
    refused = job.wait()
    named = "yolofuse source" in job.output()
    runs.finish("code")
    measured = {
        "exit code": refused,
        "with the old code again": describe_end(runs.folder("code"), runs.folder("whole")),
    }
    return Outcome("code_changed", "refused, naming what changed" if refused == 2 and named else NOT_KEPT, measured)


def two_jobs(runs: OurRuns) -> Outcome:
    """Start a second job on a run while the first is training; then start two jobs at once."""

    def slow_down(rank: int) -> None:
        for step in range(3 * STEPS):
            at_step(step, lambda context, batch: time.sleep(0.7))

    measured: dict[str, object] = {}
    is_well = True
    for title, delay in (("second comes later", 4.0), ("both at once", 0.0)):
        name = f"two{delay:.0f}"
        jobs = [runs.start(name, inject=slow_down)[0]]
        time.sleep(delay)
        jobs.append(runs.start(name, inject=slow_down)[0])
        codes = sorted(job.wait() or 0 for job in jobs)
        rows = len((runs.folder(name) / "results.csv").read_text().splitlines()) - 1
        end = describe_end(runs.folder(name), runs.folder("whole"))
        measured[title] = f"exit {codes}, {rows} rows in results.csv, end {end}"
        is_well &= codes == [0, 2] and end == "bit-identical"
    refused = [job for job in jobs if job.code]
    measured["message"] = last_line(refused[0]) if refused else "none"
    return Outcome("two_jobs", "the second is refused" if is_well else NOT_KEPT, measured)


SCENARIOS: dict[str, Callable[[OurRuns], Outcome]] = {
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
