"""What goes wrong in a step: NaN, memory, workers, signals; what that does to this project's runs."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from signal import SIGKILL, SIGTERM, SIGUSR1, Signals
from typing import Any

import torch
from scripts.faults.ours_files import compared, killed
from scripts.faults.lab import Job, Outcome
from scripts.faults.ours_run import BATCH, STEPS, Runs, at_step, last_line, send_self, state_hash

from yolofuse.model import Detector
from yolofuse.run.train_state import TrainState
from yolofuse.weights import load_checkpoint

run_module: Any = importlib.import_module("yolofuse.engine.lifecycle")

_MID = 2 * STEPS + 2


def preemption(runs: Runs) -> Outcome:
    """SIGTERM and SIGUSR1, to one rank, to the second of two, and in validation; then go on."""
    figures: dict[str, object] = {}
    is_well = True
    cases: dict[str, tuple[Signals, int, int]] = {
        "SIGTERM": (SIGTERM, 1, 0),
        "SIGUSR1": (SIGUSR1, 1, 0),
        "SIGUSR1 to rank 1 of 2": (SIGUSR1, 2, 1),
    }
    for number, (title, (sent, ranks, to)) in enumerate(cases.items()):
        name = f"signal{number}"

        def act(rank: int, to: int = to, sent: Signals = sent) -> None:
            if rank == to:
                at_step(_MID, send_self(sent))

        jobs = runs.start(name, ranks=ranks, act=act)
        codes = [job.wait() for job in jobs]
        marker = (runs.folder(name) / "PREEMPTED").exists()
        saved = load_checkpoint(runs.folder(name) / "weights" / "last.pt")["progress"]["step"]
        runs.finish(name, ranks=ranks)
        reference = "whole" if ranks == 1 else "whole2"
        same = state_hash(runs.folder(name)) == state_hash(runs.folder(reference))
        cleared = not (runs.folder(name) / "PREEMPTED").exists()
        is_well &= set(codes) == {75} and marker and cleared and saved == _MID + 1 and same
        end = "bit-identical" if same else "DIFFERENT"
        figures[title] = f"exit {codes}, marker {marker}, saved step {saved} of {_MID + 1}, end {end}"
    return Outcome("signal", "saved at the step, marker left, goes on" if is_well else "NOT kept", figures)


def _poison(session: Any, batch: Any) -> None:
    batch.pixels.mul_(float("nan"))


def _nan(runs: Runs, fault: str, step: int, *, resumed: bool = False) -> Outcome:
    """NaN in the pixels of one batch. The reference is a run that left out that step from the beginning."""
    if resumed:
        killed(runs, fault, _MID + 1)
        step = int(load_checkpoint(runs.folder(fault) / "weights" / "last.pt")["progress"]["step"])
    job = runs.start(fault, act=lambda rank: at_step(step, _poison))[0]
    code = job.wait()
    back = runs.events(fault, "rolled_back")
    figures: dict[str, object] = {"exit code": code, "step": step, "roll-backs": len(back)}
    if code != 0:
        return Outcome(fault, f"NOT kept: {last_line(job)}", figures)
    reference = f"{fault}-without"

    def leave_out(rank: int) -> None:
        run_module.TrainState = partial(TrainState, skipped=[step])

    without = runs.start(reference, act=leave_out)[0]
    without.wait()
    same = without.code == 0 and state_hash(runs.folder(fault)) == state_hash(runs.folder(reference))
    figures["steps made again"] = step + 1 - (back[0].step or 0) if back else "?"
    figures["end"] = "bit-identical to a run without that step" if same else "DIFFERENT from a run without that step"
    is_well = same and len(back) == 1
    return Outcome(
        fault, "found before the update; rolled back, the step is left out" if is_well else "NOT kept", figures
    )


def _nan_mid(runs: Runs) -> Outcome:
    """As above; and NaN at every step from one on, which has to end the run with whole checkpoints."""
    outcome = _nan(runs, "nan_mid", _MID)

    def hopeless(rank: int) -> None:
        for step in range(_MID, 3 * STEPS):
            at_step(step, _poison)

    job = runs.start("hopeless", act=hopeless)[0]
    code = job.wait()
    content = load_checkpoint(runs.folder("hopeless") / "weights" / "last.pt")
    finite = all(bool(torch.isfinite(value).all()) for part in ("model", "ema") for value in content[part].values())
    back = len(runs.events("hopeless", "rolled_back"))
    told = f"exit {code} after {back} roll-backs, last.pt {'finite' if finite else 'NOT finite'}"
    is_well = code == 2 and finite and "NOT" not in outcome.text
    return Outcome("nan_mid", outcome.text if is_well else "NOT kept", {**outcome.figures, "NaN in every step": told})


def _oom(runs: Runs, fault: str) -> Outcome:
    """A pretended memory that holds half a batch of a rank, on the last rank alone, from one step on."""
    cases = {"1 rank": (1, ()), "2 ranks": (2, ()), "2 ranks, sync_bn off": (2, ("train.sync_bn=false",))}
    figures: dict[str, object] = {}
    is_well, most_restarts = True, 0
    for number, (title, (ranks, options)) in enumerate(cases.items()):
        name = f"{fault}{number}"
        jobs, restarts = _started_again(runs, name, fault, ranks, options)
        codes = [job.code for job in jobs]
        note = runs.folder(name) / "split_batches.json"
        parts = note.read_text().strip() if note.exists() else "never split"
        events = len(runs.events(name, "out_of_memory"))
        end = "" if not any(codes) else f", {last_line(jobs[0])}"
        figures[title] = f"exit {codes} after {restarts} restart(s), {events} event(s), {parts}{end}"
        is_well &= not any(codes) and parts == '{"parts": 2}'
        most_restarts = max(most_restarts, restarts)
    text = "micro-batch halved on all ranks, the run goes on"
    text += f", in some cases after {most_restarts} restart(s) of the job" if most_restarts else ""
    return Outcome(fault, text if is_well else "NOT kept", figures)


def _started_again(runs: Runs, name: str, fault: str, ranks: int, options: tuple[str, ...]) -> tuple[list[Job], int]:
    """A run that is short of memory, begun and gone on with up to three times, as a job that is requeued."""

    def act(rank: int) -> None:
        if rank == ranks - 1:
            fits, backward = BATCH // ranks // 2, fault == "oom_backward"
            at_step(_MID, lambda session, batch: _shrink_memory(session.detector, fits, backward=backward))

    jobs = runs.start(name, *options, ranks=ranks, act=act)
    restarts = 0
    while _failed(jobs) and restarts < 3:
        jobs = runs.start(name, *options, ranks=ranks, act=act)
        restarts += 1
    return jobs, restarts


def _failed(jobs: list[Job]) -> bool:
    """Wait for all ranks; whether one of them did not end well."""
    codes = [job.wait() for job in jobs]
    return any(codes)


def _shrink_memory(detector: Detector, fits: int, *, backward: bool) -> None:
    """From now on, a forward or backward pass of more pairs than that fails on this rank."""
    held = 0

    def fail(_: object) -> None:
        if held > fits:
            raise torch.OutOfMemoryError("CUDA out of memory (pretended)")

    def before(module: object, given: tuple[torch.Tensor, ...]) -> None:
        nonlocal held
        held = len(given[0]) if detector.training else 0
        if not backward:
            fail(None)

    detector.register_forward_pre_hook(before)
    next(detector.parameters()).register_hook(fail)  # type: ignore[no-untyped-call]


def worker_dies(runs: Runs) -> Outcome:
    """SIGKILL to a worker of the training loader at work, and to an idle one of the evaluation's."""
    figures: dict[str, object] = {}
    is_well = True
    for title, attribute in (
        ("training worker", "feed"),
        ("idle evaluation worker", "val_source.feed"),
    ):
        name = title.replace(" ", "-")

        def kill_one(session: Any, batch: Any, attribute: str = attribute) -> None:
            feed = attrgetter(attribute)(session)
            os.kill(feed._loader._iterator._workers[0].pid, SIGKILL)

        action = kill_one
        job = runs.start(name, "data.workers=2", act=lambda rank, action=action: at_step(_MID, action))[0]  # type: ignore[misc]
        code = job.wait()
        events = len(runs.events(name, "worker_died"))
        end = compared(runs, name) if code == 0 else last_line(job)
        figures[title] = f"exit {code}, {events} event(s), {end}"
        is_well &= code == 0 and end == "bit-identical" and events == 1
    return Outcome("worker_dies", "loader begun anew at the batch that is due" if is_well else "NOT kept", figures)


SCENARIOS: dict[str, Callable[[Runs], Outcome]] = {
    "signal": preemption,
    "nan_mid": _nan_mid,
    "nan_first": partial(_nan, fault="nan_first", step=0),
    "nan_resumed": partial(_nan, fault="nan_resumed", step=0, resumed=True),
    "oom_forward": partial(_oom, fault="oom_forward"),
    "oom_backward": partial(_oom, fault="oom_backward"),
    "worker_dies": worker_dies,
}
