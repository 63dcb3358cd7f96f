"""Inject faults into files of ultralytics' runs: kills inside a save, damaged checkpoints, full disks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from scripts.faults.lab import fill, flip_bit, kill_in_save, small_disk
from scripts.faults.outcomes import Outcome
from scripts.faults.ultralytics_run import (
    Trainer,
    UltralyticsRuns,
    finish,
    saved_epochs,
    start_and_kill,
    weight_difference,
)

_SAVE_KILLS = 50
_FLIPS = 100


def sigkill_in_save(runs: UltralyticsRuns) -> Outcome:
    """Kill a process that saves in a loop; it is forked from a trainer that has trained one epoch."""
    counts = runs.root / "counts.pt"
    trials = partial(_kill_saves, folder=runs.root, counts=counts)
    finish(runs.start("saves", lambda trainer: trainer.add_callback("on_train_epoch_end", trials)))
    broken = torch.load(counts, weights_only=True)
    measured = {
        "kills": _SAVE_KILLS,
        "last.pt broken": broken["last"],
        "best.pt broken": broken["best"],
        "both": broken["both"],
    }
    text = "a truncated file is left under its name" if broken["last"] + broken["best"] else "none broken"
    return Outcome("sigkill_in_save", text, measured)


def _kill_saves(trainer: Trainer, folder: Path, counts: Path) -> None:
    """Count the broken ``last.pt`` and ``best.pt`` after each kill, then end the run.

    This process does not save itself: a library used by the save starts threads, and would hang in later forks.
    """
    saved, rng = folder / "saved", np.random.default_rng(0)

    def save_repeatedly() -> None:
        while True:
            trainer.save_model()
            saved.touch()

    broken = dict.fromkeys(("last", "best", "both"), 0)
    for _ in range(_SAVE_KILLS):
        kill_in_save(save_repeatedly, saved, folder / "saves.child.log", rng)
        last, best = (saved_epochs(file) is None for file in (trainer.last, trainer.best))
        broken["last"] += last
        broken["best"] += best
        broken["both"] += last and best
    torch.save(broken, counts)
    trainer.stop = True


def bit_flip(runs: UltralyticsRuns) -> Outcome:
    """Load a checkpoint with a random bit flipped, many times; then resume from one with a bit flipped in a weight."""
    last = start_and_kill(runs, "flipped")
    whole = last.read_bytes()
    finish(runs.start("flipped", resume=True, log="unflipped"))
    rng = np.random.default_rng(0)
    loaded = 0
    for position in rng.integers(0, len(whole) * 8, _FLIPS):
        last.write_bytes(whole)
        flip_bit(last, int(position))
        loaded += saved_epochs(last) == 2
    last.write_bytes(whole)
    flip_bit(last, len(whole) // 2 * 8 + 6)  # a high exponent bit of a half-precision weight
    job = runs.start("flipped", resume=True)
    measured: dict[str, object] = {
        "flips": _FLIPS,
        "loaded without a message": loaded,
        "resume's exit code": job.wait(),
    }
    if job.code == 0:
        measured["largest weight difference"] = weight_difference(runs, "flipped", "unflipped")
    return Outcome("bit_flip", "resumed from, silently" if job.code == 0 else "refused", measured)


def truncation(runs: UltralyticsRuns) -> Outcome:
    """Resume from a truncated checkpoint, with an intact one beside it."""
    last = start_and_kill(runs, "cut")
    size = last.stat().st_size
    with last.open("r+b") as stream:
        stream.truncate(size // 2)
    job = runs.start("cut", resume=True)
    code = job.wait()
    measured = {
        "resume's exit code": code,
        "intact best.pt beside it": saved_epochs(last.with_name("best.pt")) is not None,
    }
    error = job.output().strip().splitlines()[-1][:120] if code else ""
    return Outcome("truncation", f"fails: {error}" if code else "resumed from", measured)


def disk_full(runs: UltralyticsRuns) -> Outcome:
    """Fill the disk at the end of the second epoch, once or again and again, like another job would."""
    ends = {}
    for keeps_filling in (False, True):
        with small_disk(runs.root / f"disk{keeps_filling}", 60) as disk:
            inject = partial(_fill_disk_later, file=disk / "neighbour", keeps_filling=keeps_filling)
            job = runs.start(f"full{keeps_filling}", inject, project=str(disk))
            code = job.wait()
            weights = disk / f"full{keeps_filling}" / "weights"
            left = {file.name: (file.stat().st_size, saved_epochs(file)) for file in sorted(weights.glob("*.pt"))}
        ends[keeps_filling] = (code, left)
    measured: dict[str, object] = {}
    for keeps_filling, (code, left) in ends.items():
        name = "kept full" if keeps_filling else "filled once"
        sizes = ", ".join(
            f"{file} {size} bytes{'' if saved is not None else ' (broken)'}" for file, (size, saved) in left.items()
        )
        measured[name] = f"exit {code}, {sizes}"
    destroyed = [file for file, (_, saved) in ends[True][1].items() if saved is None]
    text = f"{' and '.join(destroyed)} destroyed" if destroyed else "checkpoints survive"
    return Outcome("disk_full", text, measured)


def _fill_disk_later(trainer: Trainer, file: Path, *, keeps_filling: bool) -> None:
    """Fill the disk before the second epoch's validation, with ``keeps_filling`` again whenever space is freed."""

    def fill_repeatedly() -> None:
        while True:
            fill(file)
            time.sleep(0.0005)

    def start_filling(trainer: Trainer) -> None:
        if trainer.epoch == 1:
            fill(file)
            if keeps_filling:
                threading.Thread(target=fill_repeatedly, daemon=True).start()

    trainer.add_callback("on_train_epoch_end", start_filling)


SCENARIOS: dict[str, Callable[[UltralyticsRuns], Outcome]] = {
    "sigkill_in_save": sigkill_in_save,
    "bit_flip": bit_flip,
    "truncation": truncation,
    "disk_full": disk_full,
}
