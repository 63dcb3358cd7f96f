"""Inject faults into files of our runs: kills inside a save, damaged checkpoints, full disks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from signal import SIGKILL
from typing import Any

import numpy as np

from scripts.faults.lab import fill, flip_bit, kill_in_save, small_disk
from scripts.faults.ours_run import (
    MID,
    STEPS,
    OurRuns,
    at_step,
    checkpoint_errors,
    checkpoints,
    describe_end,
    last_line,
    send_self,
)
from scripts.faults.outcomes import NOT_KEPT, Outcome
from yolofuse.errors import YolofuseError
from yolofuse.run.checkpointer import AsyncCheckpointer, newest_checkpoint
from yolofuse.run.folder import RunFolder
from yolofuse.weights import load_checkpoint

_SAVE_KILLS = 50
_FLIPS = 100


def start_and_kill(runs: OurRuns, name: str, step: int = MID + 1) -> None:
    """Start a run and kill it before a step, after several checkpoints were saved."""
    job = runs.start(name, inject=lambda rank: at_step(step, send_self(SIGKILL)))[0]
    if job.wait() != -SIGKILL:
        raise SystemExit(f"{name}: expected to be killed, but ended with {job.code}:\n{job.output()[-3000:]}")
    job.kill()


def sigkill_in_save(runs: OurRuns) -> Outcome:
    """Kill a process that saves a real state in a loop, each time under a new name as in training."""
    content = load_checkpoint(runs.folder("whole") / "weights" / "last.pt")
    rng, marker = np.random.default_rng(0), runs.root / "saved"
    loaded, most_partial, num_damaged = 0, 0, 0
    folder = RunFolder(runs.root / "saves")
    folder.last.parent.mkdir(parents=True)

    def save_repeatedly(first: int) -> None:
        checkpointer = AsyncCheckpointer(folder, keep=3)
        for step in range(first, 1 << 30):
            checkpointer.save_last(content, step)
            checkpointer.flush()
            marker.touch()

    for trial in range(_SAVE_KILLS):
        kill_in_save(partial(save_repeatedly, 1 + trial * 100), marker, runs.root / "saves.log", rng)
        num_damaged += len(checkpoint_errors(folder.path))
        newest, _ = newest_checkpoint(folder)
        loaded += newest is not None
        most_partial = max(most_partial, len(list(folder.last.parent.glob(".*.part"))))
    measured = {
        "kills": _SAVE_KILLS,
        "newest loads": loaded,
        "damaged files": num_damaged,
        "unfinished files left over all": most_partial,
    }
    is_well = loaded == _SAVE_KILLS and not num_damaged
    return Outcome("sigkill_in_save", "every checkpoint loads after every kill" if is_well else NOT_KEPT, measured)


def bit_flip(runs: OurRuns) -> Outcome:
    """Load a checkpoint with a random bit flipped, many times; then resume a run whose newest one is damaged so."""
    start_and_kill(runs, "flipped")
    newest = RunFolder(runs.folder("flipped")).checkpoints()[0]
    whole = newest.read_bytes()
    rng = np.random.default_rng(0)
    num_refused = 0
    copy = runs.root / "copy.pt"
    for position in rng.integers(0, len(whole) * 8, _FLIPS):
        copy.write_bytes(whole)
        flip_bit(copy, int(position))
        num_refused += _is_refused(copy)
    flip_bit(newest, len(whole) // 2 * 8 + 6)
    measured: dict[str, object] = {"flips": _FLIPS, "found": num_refused}
    return _resume_damaged(runs, "bit_flip", "flipped", measured, is_well=num_refused == _FLIPS)


def truncation(runs: OurRuns) -> Outcome:
    """Load a checkpoint cut at random lengths, many times; then resume a run whose newest one is cut."""
    start_and_kill(runs, "cut")
    newest = RunFolder(runs.folder("cut")).checkpoints()[0]
    whole = newest.read_bytes()
    rng = np.random.default_rng(0)
    copy = runs.root / "copy.pt"
    num_refused = 0
    for length in (0, 1, len(whole) - 1, *rng.integers(0, len(whole), _FLIPS - 3)):
        copy.write_bytes(whole[: int(length)])
        num_refused += _is_refused(copy)
    with newest.open("r+b") as stream:
        stream.truncate(len(whole) // 2)
    return _resume_damaged(
        runs, "truncation", "cut", {"cuts": _FLIPS, "found": num_refused}, is_well=num_refused == _FLIPS
    )


def _is_refused(file: Path) -> bool:
    try:
        load_checkpoint(file)
    except YolofuseError:
        return True
    return False


def _resume_damaged(runs: OurRuns, fault: str, name: str, measured: dict[str, object], *, is_well: bool) -> Outcome:
    """Resume a run whose newest checkpoint is damaged."""
    runs.finish(name)
    events = runs.events(name, "fell_back")
    measured["fell_back events"] = len(events)
    measured["resumed from step"] = runs.events(name, "resumed")[-1].step
    measured["end"] = describe_end(runs.folder(name), runs.folder("whole"))
    is_well = is_well and len(events) == 1 and measured["end"] == "bit-identical"
    return Outcome(fault, "found; fell back to the one before and reported it" if is_well else NOT_KEPT, measured)


def disk_full(runs: OurRuns) -> Outcome:
    """Start on a disk that is too small; then on one that another process fills in mid-run and clears later."""
    with small_disk(runs.root / "small", 60) as disk:
        job = runs.start("small", f"train.run={disk / 'run'}")[0]
        measured: dict[str, object] = {"60 MB disk": f"exit {job.wait()}: {_error_text(last_line(job))}"}
        is_refused = job.code == 2 and "MiB are free" in job.output()
    with small_disk(runs.root / "large", 600) as disk:
        run, file = disk / "run", disk / "neighbour"
        job = runs.start("full", f"train.run={run}", inject=lambda rank: _fill_disk_later(file))[0]
        code = job.wait()
        measured["filled in mid-run"] = f"exit {code}: {_error_text(last_line(job))}"
        kept = [(path.name, path.stat().st_size) for path in checkpoints(run)]
        errors = checkpoint_errors(run)
        size = sum(size for _, size in kept)
        measured["kept whole"] = f"{len(kept) - len(errors)} of {len(kept)} checkpoints, {size} bytes"
        file.unlink()
        again = runs.start("full", f"train.run={run}")[0]
        again.wait()
        end = describe_end(run, runs.folder("whole")) if again.code == 0 else f"exit {again.code}"
        measured["end, with space again"] = end
        (runs.root / "full.log").write_text(job.output() + again.output())
    is_well = is_refused and code == 2 and kept and not errors and end == "bit-identical"
    names_cause = any(text in job.output() for text in ("No space left", "disk is full"))
    text = "refused before training; in mid-run ends with an error, all older checkpoints whole"
    text += "" if names_cause else ", but the error does NOT say that the disk is full"
    return Outcome("disk_full", text if is_well else NOT_KEPT, measured)


def _error_text(line: str) -> str:
    return line.removeprefix("error: ").split(": ", 1)[-1][:160]


def _fill_disk_later(file: Path) -> None:
    """Fill the disk from the second epoch on, and again whenever space becomes free, like another job would."""

    def fill_repeatedly() -> None:
        while True:
            fill(file)
            time.sleep(0.0005)

    def start_filling(context: Any, batch: Any) -> None:
        threading.Thread(target=fill_repeatedly, daemon=True).start()

    at_step(STEPS + 1, start_filling)


SCENARIOS: dict[str, Callable[[OurRuns], Outcome]] = {
    "sigkill_in_save": sigkill_in_save,
    "bit_flip": bit_flip,
    "truncation": truncation,
    "disk_full": disk_full,
}
