"""Inject faults into steps and jobs of ultralytics' runs: signals, NaN, memory, dead workers, changes on resume."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial

import torch

from scripts.faults.lab import difference, labels_edited
from scripts.faults.outcomes import Outcome
from scripts.faults.ultralytics_run import (
    EPOCHS,
    MID,
    STEPS,
    Trainer,
    UltralyticsRuns,
    at_step,
    count_zeroed,
    finish,
    kill_self,
    kill_worker,
    poison_pixels,
    run_out_of_memory,
    saved_epochs,
    start_and_kill,
    weight_difference,
    with_workers,
)


def _sigkill(runs: UltralyticsRuns) -> Outcome:
    """Kill a run in mid-epoch and resume it."""
    finish(runs.start("again"))
    start_and_kill(runs, "killed")
    finish(runs.start("killed", resume=True))
    change = difference(runs.initial_weights("whole"), runs.final_weights("whole"))
    measured = {
        "steps lost": f"{MID - 2 * STEPS} of {STEPS} in the epoch",
        "largest weight difference": weight_difference(runs, "killed"),
        "between two whole runs": weight_difference(runs, "again"),
        "largest weight change in a run": f"{change:.3g}",
    }
    return Outcome("sigkill", "resumes from the start of the epoch, to other weights", measured)


def _signal(runs: UltralyticsRuns) -> Outcome:
    """Send SIGTERM or SIGUSR1 in mid-epoch."""
    ends = {}
    for number in (signal.SIGTERM, signal.SIGUSR1):
        job = runs.start(number.name, at_step(MID, kill_self(number)))
        ends[number] = (job.wait(), saved_epochs(runs.last(number.name)))
    measured = {number.name: f"exit {code}, {saved} epochs saved" for number, (code, saved) in ends.items()}
    lost = all(saved == 2 for _, saved in ends.values())
    text = "exits at once; saves nothing, the epoch is lost" if lost else "saves"
    return Outcome("signal", text, measured | {"steps lost": MID - 2 * STEPS if lost else 0})


def _nan(runs: UltralyticsRuns, fault: str, step: int, *, resumed: bool = False) -> Outcome:
    """Put NaN into the pixels of one batch."""
    if resumed:
        start_and_kill(runs, fault)
    job = runs.start(fault, poison_pixels(step), resume=resumed)
    code = job.wait()
    output = job.output()
    recovered, gave_up = output.count("recovering from last.pt"), output.count("can not recover")
    measured: dict[str, object] = {"exit code": code, "roll-backs": recovered, "'can not recover'": gave_up}
    if code != 0:
        zeroed, num_weights = count_zeroed(runs.last(fault))
        measured["weights in last.pt that are all zero"] = f"{zeroed} of {num_weights}"
        saved = "overwrites last.pt with zeros" if zeroed else "saves"
        reason = output.strip().splitlines()[-1][:120]
        return Outcome(fault, f"trains on to the epoch's end, {saved}, fails epochs later: {reason}", measured)
    live = [value for name, value in runs.final_weights(fault).items() if name.startswith("model.")]
    broken = sum(not bool(torch.isfinite(value).all()) for value in live)
    measured["tensors not finite at the end"] = f"{broken} of {len(live)}"
    measured["largest weight difference"] = f"{difference(runs.final_weights('whole'), runs.final_weights(fault)):.3g}"
    ending = "the run succeeds with NaN weights" if broken else "training continues with finite weights"
    reaction = "rolled back to the epoch before" if recovered else "no reaction"
    return Outcome(fault, f"checked at the end of the epoch; {reaction}; {ending}", measured)


def _oom(runs: UltralyticsRuns, fault: str, backward: bool) -> Outcome:
    """Run out of memory once, in the first epoch or in the third."""
    first = runs.start(f"{fault}1", run_out_of_memory(1, backward=backward))
    later = runs.start(f"{fault}2", run_out_of_memory(MID, backward=backward))
    codes = [job.wait() for job in (first, later)]
    measured = {
        "first epoch": f"exit {codes[0]}, batch {'halved' if 'Reducing to batch' in first.output() else 'kept'}",
        "third epoch": f"exit {codes[1]}, {saved_epochs(runs.last(f'{fault}2'))} epochs saved",
    }
    text = "batch halved and the epoch restarted" if codes[0] == 0 else "fails"
    return Outcome(fault, f"in the first epoch: {text}; later: {'continues' if codes[1] == 0 else 'fails'}", measured)


def _worker_dies(runs: UltralyticsRuns) -> Outcome:
    """Kill a worker of the training loader."""

    def inject(trainer: Trainer) -> None:
        with_workers(trainer, 2)
        at_step(MID, kill_worker)(trainer)

    job = runs.start("worker", inject)
    code = job.wait(60)
    if code is None:
        job.kill()
    saved = saved_epochs(runs.last("worker"))
    text = "continues" if code == 0 else "hangs" if code is None else "fails; the epoch is lost"
    return Outcome("worker_dies", text, {"exit code": code, "epochs saved": saved})


def _config_changed(runs: UltralyticsRuns) -> Outcome:
    """Resume with other options."""
    start_and_kill(runs, "config")
    job = runs.start("config", resume=True, imgsz=96, batch=2, lr0=0.001)
    code = job.wait()
    output = job.output()
    ignored = next(
        (line.split("WARNING")[-1].strip(" ⚠️")[:60] for line in output.splitlines() if "Resume ignores" in line), ""
    )
    measured = {
        "exit code": code,
        "imgsz 64 -> 96, batch 4 -> 2": "applied" if "imgsz=96" in output else "not applied",
        "lr0": ignored,
    }
    return Outcome(
        "config_changed",
        "image size and batch change without a message; other keys are ignored with a warning",
        measured,
    )


def _data_changed(runs: UltralyticsRuns) -> Outcome:
    """Resume after half of the labels were edited."""
    start_and_kill(runs, "data")
    with labels_edited(runs.data.parent / "labels", runs.root / "labels-before"):
        job = runs.start("data", resume=True)
        code = job.wait()
    noticed = any(text in job.output().lower() for text in ("changed", "mismatch", "differ"))
    text = "continues without a message" if code == 0 and not noticed else "noticed"
    return Outcome("data_changed", text, {"exit code": code, "labels changed": "half of them"})


def _two_jobs(runs: UltralyticsRuns) -> Outcome:
    """Resume a run in two jobs at once, as if a job were requeued while the one before still runs."""
    start_and_kill(runs, "two")
    jobs = [runs.start("two", resume=True, log=f"two{number}") for number in (1, 2)]
    codes = [job.wait() for job in jobs]
    rows = (runs.folder("two") / "results.csv").read_text().strip().splitlines()
    measured = {"exit codes": codes, "rows in results.csv": f"{len(rows) - 1} for {EPOCHS} epochs"}
    text = "both train and write the same files" if codes == [0, 0] else "one or both fail"
    return Outcome("two_jobs", text, measured)


SCENARIOS: dict[str, Callable[[UltralyticsRuns], Outcome]] = {
    "sigkill": _sigkill,
    "signal": _signal,
    "nan_mid": partial(_nan, fault="nan_mid", step=MID),
    "nan_first": partial(_nan, fault="nan_first", step=0),
    "nan_resumed": partial(_nan, fault="nan_resumed", step=0, resumed=True),
    "oom_forward": partial(_oom, fault="oom_forward", backward=False),
    "oom_backward": partial(_oom, fault="oom_backward", backward=True),
    "worker_dies": _worker_dies,
    "config_changed": _config_changed,
    "data_changed": _data_changed,
    "two_jobs": _two_jobs,
}
