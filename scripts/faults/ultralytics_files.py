"""What damaged files and full disks do to ultralytics' own trainer, and kills inside its save."""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scripts.faults.lab import Job, Outcome, fill, flip_bit, small_disk
from scripts.faults.ultralytics_run import Stock, Trainer, epochs_of, finish, killed, off

_SAVE_KILLS = 50
_FLIPS = 100


def sigkill_in_save(stock: Stock) -> Outcome:
    """Kill a loop of its save; the loop runs in forks of a trainer that has trained an epoch."""
    counts = stock.root / "counts.pt"
    trials = partial(_kill_saves, folder=stock.root, counts=counts)
    finish(stock.start("saves", lambda trainer: trainer.add_callback("on_train_epoch_end", trials)))
    found = torch.load(counts, weights_only=True)
    figures = {
        "kills": _SAVE_KILLS,
        "last.pt broken": found["last"],
        "best.pt broken": found["best"],
        "both": found["both"],
    }
    text = "a file cut short is left under its name" if found["last"] + found["best"] else "nothing broken in these"
    return Outcome("sigkill_in_save", text, figures)


def _kill_saves(trainer: Trainer, folder: Path, counts: Path) -> None:
    """Count what is left of ``last.pt`` and ``best.pt`` after each kill, then end the run.

    This process never saves itself: a library that its save uses starts threads, and hangs in what is forked then.
    """
    saved, rng = folder / "saved", np.random.default_rng(0)

    def save_on() -> None:
        while True:
            trainer.save_model()
            saved.touch()

    found = dict.fromkeys(("last", "best", "both"), 0)
    for _ in range(_SAVE_KILLS):
        saved.unlink(missing_ok=True)
        job = Job(save_on, folder / "saves.child.log")
        if not job.wait_for(saved.exists):
            raise SystemExit(f"the loop of saves does not run:\n{job.said()[-3000:]}")
        saved.unlink()
        started = time.perf_counter()
        job.wait_for(saved.exists)
        time.sleep(rng.uniform(0, time.perf_counter() - started))
        job.kill()
        last, best = (epochs_of(file) is None for file in (trainer.last, trainer.best))
        found["last"] += last
        found["best"] += best
        found["both"] += last and best
    torch.save(found, counts)
    trainer.stop = True


def bit_flip(stock: Stock) -> Outcome:
    """Load a checkpoint with a bit flipped anywhere, many times, and resume from one with a bit flipped in a weight."""
    last = killed(stock, "flipped")
    whole = last.read_bytes()
    finish(stock.start("flipped", resume=True, log="unflipped"))
    rng = np.random.default_rng(0)
    loaded = 0
    for position in rng.integers(0, len(whole) * 8, _FLIPS):
        last.write_bytes(whole)
        flip_bit(last, int(position))
        loaded += epochs_of(last) == 2
    last.write_bytes(whole)
    flip_bit(last, len(whole) // 2 * 8 + 6)  # a high bit of the exponent of some half-precision number
    job = stock.start("flipped", resume=True)
    figures: dict[str, object] = {"flips": _FLIPS, "loaded without a word": loaded, "resume's exit code": job.wait()}
    if job.code == 0:
        figures["weights then off by"] = off(stock, "flipped", "unflipped")
    return Outcome("bit_flip", "resumed from, silently" if job.code == 0 else "refused", figures)


def truncation(stock: Stock) -> Outcome:
    """Resume from half a file, with a whole one beside it."""
    last = killed(stock, "cut")
    size = last.stat().st_size
    with last.open("r+b") as stream:
        stream.truncate(size // 2)
    job = stock.start("cut", resume=True)
    code = job.wait()
    figures = {"resume's exit code": code, "whole best.pt beside it": epochs_of(last.with_name("best.pt")) is not None}
    told = job.said().strip().splitlines()[-1][:120] if code else ""
    return Outcome("truncation", f"stops: {told}" if code else "resumed from", figures)


def disk_full(stock: Stock) -> Outcome:
    """The disk of the run fills at the end of the second epoch, once and then kept full by a neighbour."""
    found = {}
    for keeps_filling in (False, True):
        with small_disk(stock.root / f"disk{keeps_filling}", 60) as disk:
            act = partial(_neighbour, file=disk / "neighbour", keeps_filling=keeps_filling)
            job = stock.start(f"full{keeps_filling}", act, project=str(disk))
            code = job.wait()
            weights = disk / f"full{keeps_filling}" / "weights"
            left = {file.name: (file.stat().st_size, epochs_of(file)) for file in sorted(weights.glob("*.pt"))}
        found[keeps_filling] = (code, left)
    figures: dict[str, object] = {}
    for keeps_filling, (code, left) in found.items():
        name = "neighbour writes on" if keeps_filling else "filled once"
        sizes = ", ".join(
            f"{file} {size} bytes{'' if saved is not None else ' (broken)'}" for file, (size, saved) in left.items()
        )
        figures[name] = f"exit {code}, {sizes}"
    destroyed = [file for file, (_, saved) in found[True][1].items() if saved is None]
    text = f"{' and '.join(destroyed)} destroyed" if destroyed else "checkpoints survive"
    return Outcome("disk_full", text, figures)


def _neighbour(trainer: Trainer, file: Path, *, keeps_filling: bool) -> None:
    """Another job on the same disk takes all the space there is, from the second epoch's validation on."""

    def take() -> None:
        while True:
            fill(file)
            time.sleep(0.0005)

    def begin(trainer: Trainer) -> None:
        if trainer.epoch == 1:
            fill(file)
            if keeps_filling:
                threading.Thread(target=take, daemon=True).start()

    trainer.add_callback("on_train_epoch_end", begin)
