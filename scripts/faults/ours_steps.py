"""Inject faults into steps of our runs: NaN, out of memory, dead workers, signals."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from functools import partial
from signal import SIGKILL, SIGTERM, SIGUSR1, Signals
from typing import Any

import torch

from scripts.faults.lab import Job
from scripts.faults.ours_files import start_and_kill
from scripts.faults.ours_run import BATCH, MID, STEPS, OurRuns, at_step, describe_end, last_line, send_self
from scripts.faults.outcomes import NOT_KEPT, Outcome
from yolofuse.model import Detector
from yolofuse.run.train_state import TrainState
from yolofuse.weights import load_checkpoint

run_module: Any = importlib.import_module("yolofuse.engine.lifecycle")


def preemption(runs: OurRuns) -> Outcome:
    """Send SIGTERM or SIGUSR1 to a single process, or to the second of two ranks; then resume."""
    measured: dict[str, object] = {}
    is_well = True
    cases: dict[str, tuple[Signals, int, int]] = {
        "SIGTERM": (SIGTERM, 1, 0),
        "SIGUSR1": (SIGUSR1, 1, 0),
        "SIGUSR1 to rank 1 of 2": (SIGUSR1, 2, 1),
    }
    for number, (title, (sent, ranks, to)) in enumerate(cases.items()):
        name = f"signal{number}"

        def inject(rank: int, to: int = to, sent: Signals = sent) -> None:
            if rank == to:
                at_step(MID, send_self(sent))

        jobs = runs.start(name, ranks=ranks, inject=inject)
        codes = [job.wait() for job in jobs]
        marker = (runs.folder(name) / "PREEMPTED").exists()
        saved = load_checkpoint(runs.folder(name) / "weights" / "last.pt")["progress"]["step"]
        runs.finish(name, ranks=ranks)
        reference = "whole" if ranks == 1 else "whole2"
        end = describe_end(runs.folder(name), runs.folder(reference))
        cleared = not (runs.folder(name) / "PREEMPTED").exists()
        is_well &= set(codes) == {75} and marker and cleared and saved == MID + 1 and end == "bit-identical"
        measured[title] = f"exit {codes}, marker {marker}, saved step {saved} of {MID + 1}, end {end}"
    return Outcome("signal", "saved at the step, marker left, resumes" if is_well else NOT_KEPT, measured)


def _poison(context: Any, batch: Any) -> None:
    batch.pixels.mul_(float("nan"))


def _nan(runs: OurRuns, fault: str, step: int, *, resumed: bool = False) -> Outcome:
    """Put NaN into the pixels of one batch. The reference is a run that skips that step from the start."""
    if resumed:
        start_and_kill(runs, fault, MID + 1)
        step = int(load_checkpoint(runs.folder(fault) / "weights" / "last.pt")["progress"]["step"])
    job = runs.start(fault, inject=lambda rank: at_step(step, _poison))[0]
    code = job.wait()
    back = runs.events(fault, "rolled_back")
    measured: dict[str, object] = {"exit code": code, "step": step, "roll-backs": len(back)}
    if code != 0:
        return Outcome(fault, f"{NOT_KEPT}: {last_line(job)}", measured)
    reference = f"{fault}-without"

    def skip_step(rank: int) -> None:
        run_module.TrainState = partial(TrainState, skipped=[step])

    without = runs.start(reference, inject=skip_step)[0]
    without.wait()
    end = describe_end(runs.folder(fault), runs.folder(reference)) if without.code == 0 else f"exit {without.code}"
    measured["steps repeated"] = step + 1 - (back[0].step or 0) if back else "?"
    measured["end, against a run without that step"] = end
    is_well = end == "bit-identical" and len(back) == 1
    return Outcome(
        fault, "found before the update; rolled back, the step is skipped" if is_well else NOT_KEPT, measured
    )


def _nan_mid(runs: OurRuns) -> Outcome:
    """Put NaN into one batch; then into every batch from a step on, which must end the run with intact checkpoints."""
    outcome = _nan(runs, "nan_mid", MID)

    def hopeless(rank: int) -> None:
        for step in range(MID, 3 * STEPS):
            at_step(step, _poison)

    job = runs.start("hopeless", inject=hopeless)[0]
    code = job.wait()
    content = load_checkpoint(runs.folder("hopeless") / "weights" / "last.pt")
    finite = all(bool(torch.isfinite(value).all()) for part in ("model", "ema") for value in content[part].values())
    back = len(runs.events("hopeless", "rolled_back"))
    text = f"exit {code} after {back} roll-backs, last.pt {'finite' if finite else 'NOT finite'}"
    is_well = code == 2 and finite and outcome.is_kept
    return Outcome("nan_mid", outcome.text if is_well else NOT_KEPT, {**outcome.measured, "NaN in every step": text})


def _oom(runs: OurRuns, fault: str) -> Outcome:
    """Simulate memory for half a rank's batch, on the last rank only, from one step on."""
    cases = {"1 rank": (1, ()), "2 ranks": (2, ()), "2 ranks, sync_bn off": (2, ("train.sync_bn=false",))}
    measured: dict[str, object] = {}
    is_well, most_restarts = True, 0
    for number, (title, (ranks, options)) in enumerate(cases.items()):
        name = f"{fault}{number}"
        jobs, restarts = _run_with_requeues(runs, name, fault, ranks, options)
        codes = [job.code for job in jobs]
        note = runs.folder(name) / "split_batches.json"
        split = note.read_text().strip() if note.exists() else "never split"
        events = len(runs.events(name, "out_of_memory"))
        end = "" if not any(codes) else f", {last_line(jobs[0])}"
        measured[title] = f"exit {codes} after {restarts} restart(s), {events} event(s), {split}{end}"
        is_well &= not any(codes) and split == '{"parts": 2}'
        most_restarts = max(most_restarts, restarts)
    text = "micro-batch halved on all ranks, the run continues"
    text += f", in some cases after {most_restarts} restart(s) of the job" if most_restarts else ""
    return Outcome(fault, text if is_well else NOT_KEPT, measured)


def _run_with_requeues(
    runs: OurRuns, name: str, fault: str, ranks: int, options: tuple[str, ...]
) -> tuple[list[Job], int]:
    """Start a run that lacks memory, and resume it up to three times, as a scheduler requeues a job."""

    def inject(rank: int) -> None:
        if rank == ranks - 1:
            fits, backward = BATCH // ranks // 2, fault == "oom_backward"
            at_step(MID, lambda context, batch: _shrink_memory(context.detector, fits, backward=backward))

    jobs = runs.start(name, *options, ranks=ranks, inject=inject)
    restarts = 0
    while _failed(jobs) and restarts < 3:
        jobs = runs.start(name, *options, ranks=ranks, inject=inject)
        restarts += 1
    return jobs, restarts


def _failed(jobs: list[Job]) -> bool:
    """Wait for all ranks; return whether one of them failed."""
    codes = [job.wait() for job in jobs]
    return any(codes)


def _shrink_memory(detector: Detector, fits: int, *, backward: bool) -> None:
    """Make every further forward or backward pass of more than ``fits`` pairs fail on this rank."""
    num_pairs = 0

    def fail(_: object) -> None:
        if num_pairs > fits:
            raise torch.OutOfMemoryError("CUDA out of memory (simulated)")

    def before(module: object, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal num_pairs
        num_pairs = len(inputs[0]) if detector.training else 0
        if not backward:
            fail(None)

    detector.register_forward_pre_hook(before)
    next(detector.parameters()).register_hook(fail)  # type: ignore[no-untyped-call]


def worker_dies(runs: OurRuns) -> Outcome:
    """Kill a busy worker of the training loader, and an idle one of the evaluation loader."""
    measured: dict[str, object] = {}
    is_well = True
    for title, loader in (("training worker", "train_loader"), ("idle evaluation worker", "val_loader")):
        name = title.replace(" ", "-")

        def kill_one(context: Any, batch: Any, loader: str = loader) -> None:
            prefetcher = getattr(context, loader).prefetcher
            os.kill(prefetcher._loader._iterator._workers[0].pid, SIGKILL)

        action = kill_one
        job = runs.start(name, "data.workers=2", inject=lambda rank, action=action: at_step(MID, action))[0]  # type: ignore[misc]
        code = job.wait()
        events = len(runs.events(name, "worker_died"))
        end = describe_end(runs.folder(name), runs.folder("whole")) if code == 0 else last_line(job)
        measured[title] = f"exit {code}, {events} event(s), {end}"
        is_well &= code == 0 and end == "bit-identical" and events == 1
    return Outcome("worker_dies", "loader restarted at the next batch" if is_well else NOT_KEPT, measured)


SCENARIOS: dict[str, Callable[[OurRuns], Outcome]] = {
    "signal": preemption,
    "nan_mid": _nan_mid,
    "nan_first": partial(_nan, fault="nan_first", step=0),
    "nan_resumed": partial(_nan, fault="nan_resumed", step=0, resumed=True),
    "oom_forward": partial(_oom, fault="oom_forward"),
    "oom_backward": partial(_oom, fault="oom_backward"),
    "worker_dies": worker_dies,
}
