"""Measure what ultralytics' own trainer does on the faults of results/faults.csv, offline, on the CPU.

    python scripts/faults_stock.py --csv

A run is 5 epochs of 4 steps of YOLOv8n from its YAML at 64 px, seeded and deterministic. The fault comes from outside
(a signal, a full disk, a damaged file) or through a callback of the trainer; nothing of its training code is replaced,
but for NaN pixels and a pretended lack of memory, which come in where it prepares a batch. A full disk needs root.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from scripts.faults.lab import TABLE, Outcome, book, difference, quiet_parent, tell
from scripts.faults.ultralytics_files import bit_flip, disk_full, sigkill_in_save, truncation
from scripts.faults.ultralytics_run import (
    EPOCHS,
    MID,
    STEPS,
    Stock,
    Trainer,
    at_step,
    epochs_of,
    finish,
    kill_self,
    kill_worker,
    killed,
    off,
    poison_pixels,
    run_out_of_memory,
    with_workers,
    zeroed_in,
)

from yolofuse import upstream


def main() -> None:
    """Print an outcome for each fault, and book them when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", action="store_true", help=f"book the outcomes in {TABLE.name}")
    parser.add_argument("--only", nargs="+", choices=_SCENARIOS, metavar="NAME", default=list(_SCENARIOS))
    args = parser.parse_args()
    quiet_parent()
    with tempfile.TemporaryDirectory() as scratch:
        stock = Stock(Path(scratch))
        finish(stock.start("whole"))
        outcomes = []
        for name in args.only:
            outcomes.append(_SCENARIOS[name](stock))
            tell(outcomes[-1])
    if args.csv:
        book(outcomes, "stock", f"ultralytics {upstream.version}")


def _sigkill(stock: Stock) -> Outcome:
    finish(stock.start("again"))
    killed(stock, "killed")
    finish(stock.start("killed", resume=True))
    figures = {
        "steps lost": f"{MID - 2 * STEPS} of {STEPS} in the epoch",
        "largest weight difference": off(stock, "killed"),
        "between two whole runs": off(stock, "again"),
        "way of a weight in the run": f"{difference(stock.begin('whole'), stock.end('whole')):.3g}",
    }
    return Outcome("sigkill", "goes on from the epoch's start, to other weights", figures)


def _signal(stock: Stock) -> Outcome:
    found = {}
    for number in (signal.SIGTERM, signal.SIGUSR1):
        job = stock.start(number.name, at_step(MID, kill_self(number)))
        found[number] = (job.wait(), epochs_of(stock.last(number.name)))
    figures = {number.name: f"exit {code}, {saved} epochs saved" for number, (code, saved) in found.items()}
    lost = all(saved == 2 for _, saved in found.values())
    text = "dies at once; saves nothing, the epoch is lost" if lost else "saves"
    return Outcome("signal", text, figures | {"steps lost": MID - 2 * STEPS if lost else 0})


def _nan(stock: Stock, fault: str, step: int, *, resumed: bool = False) -> Outcome:
    """NaN in the pixels of one batch."""
    if resumed:
        killed(stock, fault)
    job = stock.start(fault, poison_pixels(step), resume=resumed)
    code = job.wait()
    said = job.said()
    recovered, gave_up = said.count("recovering from last.pt"), said.count("can not recover")
    figures: dict[str, object] = {"exit code": code, "roll-backs": recovered, "'can not recover'": gave_up}
    if code != 0:
        zeroed, num_weights = zeroed_in(stock.last(fault))
        figures["weights in last.pt that are all zero"] = f"{zeroed} of {num_weights}"
        saved = "overwrites last.pt with zeros" if zeroed else "saves"
        reason = said.strip().splitlines()[-1][:120]
        return Outcome(fault, f"trains on to the epoch's end, {saved}, fails epochs later: {reason}", figures)
    live = [value for name, value in stock.end(fault).items() if name.startswith("model.")]
    broken = sum(not bool(torch.isfinite(value).all()) for value in live)
    figures["tensors not finite at the end"] = f"{broken} of {len(live)}"
    figures["weights off by"] = f"{difference(stock.end('whole'), stock.end(fault)):.3g}"
    ending = "the run ends well, with NaN weights" if broken else "the rest is trained with finite weights"
    how = f"looked for at the epoch's end; {'rolled back to the epoch before' if recovered else 'nothing done'}; "
    return Outcome(fault, how + ending, figures)


def _oom(stock: Stock, fault: str, backward: bool) -> Outcome:
    first = stock.start(f"{fault}1", run_out_of_memory(1, backward=backward))
    later = stock.start(f"{fault}2", run_out_of_memory(MID, backward=backward))
    codes = [job.wait() for job in (first, later)]
    figures = {
        "first epoch": f"exit {codes[0]}, batch {'halved' if 'Reducing to batch' in first.said() else 'kept'}",
        "third epoch": f"exit {codes[1]}, {epochs_of(stock.last(f'{fault}2'))} epochs saved",
    }
    text = "batch halved and the epoch begun anew" if codes[0] == 0 else "fails"
    return Outcome(fault, f"in the first epoch: {text}; later: {'goes on' if codes[1] == 0 else 'fails'}", figures)


def _worker_dies(stock: Stock) -> Outcome:
    def act(trainer: Trainer) -> None:
        with_workers(trainer, 2)
        at_step(MID, kill_worker)(trainer)

    job = stock.start("worker", act)
    code = job.wait(60)
    if code is None:
        job.kill()
    saved = epochs_of(stock.last("worker"))
    text = "goes on" if code == 0 else "hangs" if code is None else "fails; the epoch is lost"
    return Outcome("worker_dies", text, {"exit code": code, "epochs saved": saved})


def _config_changed(stock: Stock) -> Outcome:
    killed(stock, "config")
    job = stock.start("config", resume=True, imgsz=96, batch=2, lr0=0.001)
    code = job.wait()
    said = job.said()
    ignored = next(
        (line.split("WARNING")[-1].strip(" ⚠️")[:60] for line in said.splitlines() if "Resume ignores" in line), ""
    )
    figures = {
        "exit code": code,
        "imgsz 64 -> 96, batch 4 -> 2": "taken" if "imgsz=96" in said else "not taken",
        "lr0": ignored,
    }
    return Outcome(
        "config_changed", "size and batch change without a word; other keys are ignored with a warning", figures
    )


def _data_changed(stock: Stock) -> Outcome:
    killed(stock, "data")
    labels, kept = stock.data.parent / "labels", stock.root / "labels-before"
    shutil.copytree(labels, kept)
    try:
        for file in sorted((labels / "train").glob("*.txt"))[::2]:
            file.write_text("0 0.5 0.5 0.1 0.1\n")
        job = stock.start("data", resume=True)
        code = job.wait()
    finally:
        shutil.rmtree(labels)
        kept.rename(labels)
    noticed = any(word in job.said().lower() for word in ("changed", "mismatch", "differ"))
    text = "trains on, without a word" if code == 0 and not noticed else "noticed"
    return Outcome("data_changed", text, {"exit code": code, "labels changed": "half of them"})


def _two_jobs(stock: Stock) -> Outcome:
    """A requeued job goes on with the run while the one before still lives."""
    killed(stock, "two")
    jobs = [stock.start("two", resume=True, log=f"two{number}") for number in (1, 2)]
    codes = [job.wait() for job in jobs]
    rows = (stock.run("two") / "results.csv").read_text().strip().splitlines()
    figures = {"exit codes": codes, "rows in results.csv": f"{len(rows) - 1} for {EPOCHS} epochs"}
    text = "both train and write the same files" if codes == [0, 0] else "one or both fail"
    return Outcome("two_jobs", text, figures)


_SCENARIOS: dict[str, Callable[[Stock], Outcome]] = {
    "sigkill": _sigkill,
    "sigkill_in_save": sigkill_in_save,
    "bit_flip": bit_flip,
    "truncation": truncation,
    "disk_full": disk_full,
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

if __name__ == "__main__":
    main()
