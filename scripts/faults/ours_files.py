"""Kills inside a save, damaged checkpoints and full disks: what they do to this project's runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from signal import SIGKILL
from typing import Any

import numpy as np
from scripts.faults.lab import Job, Outcome, fill, flip_bit, small_disk
from scripts.faults.ours_run import STEPS, Runs, at_step, checkpoints, damaged, last_line, send_self, state_hash

from yolofuse.errors import YolofuseError
from yolofuse.run.checkpointer import AsyncCheckpointer, newest_checkpoint
from yolofuse.run.folder import RunFolder
from yolofuse.weights import load_checkpoint

_SAVE_KILLS = 50
_FLIPS = 100
_MID = 2 * STEPS + 2


def killed(runs: Runs, name: str, step: int = _MID + 1) -> None:
    """A run killed before a step, with several checkpoints saved."""
    job = runs.start(name, act=lambda rank: at_step(step, send_self(SIGKILL)))[0]
    if job.wait() != -SIGKILL:
        raise SystemExit(f"{name}: should be killed, but ended with {job.code}:\n{job.said()[-3000:]}")
    job.kill()


def compared(runs: Runs, name: str) -> str:
    """Whether a run ended as the undisturbed one did."""
    same = state_hash(runs.folder(name)) == state_hash(runs.folder("whole"))
    return "bit-identical" if same else "DIFFERENT"


def sigkill_in_save(runs: Runs) -> Outcome:
    """Kill a loop of saves of a real state, each under a new name as in training."""
    content = load_checkpoint(runs.folder("whole") / "weights" / "last.pt")
    rng, marker = np.random.default_rng(0), runs.root / "saved"
    loaded, most_partial, bad = 0, 0, 0
    folder = RunFolder(runs.root / "saves")
    folder.last.parent.mkdir(parents=True)

    def save_on(first: int) -> None:
        saver = AsyncCheckpointer(folder, keep=3)
        for step in range(first, 1 << 30):
            saver.save_last(content, step)
            saver.flush()
            marker.touch()

    for trial in range(_SAVE_KILLS):
        marker.unlink(missing_ok=True)
        job = Job(partial(save_on, 1 + trial * 100), runs.root / "saves.log")
        if not job.wait_for(marker.exists):
            raise SystemExit(f"the loop of saves does not run:\n{job.said()[-3000:]}")
        marker.unlink()
        started = time.perf_counter()
        job.wait_for(marker.exists)
        time.sleep(rng.uniform(0, time.perf_counter() - started))
        job.kill()
        bad += len(damaged(folder.path))
        newest, _ = newest_checkpoint(folder)
        loaded += newest is not None
        most_partial = max(most_partial, len(list(folder.last.parent.glob(".*.part"))))
    figures = {
        "kills": _SAVE_KILLS,
        "newest loads": loaded,
        "damaged files": bad,
        "unfinished files left over all": most_partial,
    }
    is_well = loaded == _SAVE_KILLS and not bad
    return Outcome("sigkill_in_save", "every checkpoint loads after every kill" if is_well else "NOT kept", figures)


def bit_flip(runs: Runs) -> Outcome:
    """Load a checkpoint with a bit flipped anywhere, many times; then go on with a run whose newest one has it."""
    killed(runs, "flipped")
    newest = RunFolder(runs.folder("flipped")).checkpoints()[0]
    whole = newest.read_bytes()
    rng = np.random.default_rng(0)
    found = 0
    copy = runs.root / "copy.pt"
    for position in rng.integers(0, len(whole) * 8, _FLIPS):
        copy.write_bytes(whole)
        flip_bit(copy, int(position))
        found += _is_refused(copy)
    flip_bit(newest, len(whole) // 2 * 8 + 6)
    figures: dict[str, object] = {"flips": _FLIPS, "found": found}
    return _gone_on(runs, "bit_flip", "flipped", figures, is_well=found == _FLIPS)


def truncation(runs: Runs) -> Outcome:
    """Load a checkpoint cut at any length, many times; then go on with a run whose newest one is cut."""
    killed(runs, "cut")
    newest = RunFolder(runs.folder("cut")).checkpoints()[0]
    whole = newest.read_bytes()
    rng = np.random.default_rng(0)
    copy = runs.root / "copy.pt"
    found = 0
    for length in (0, 1, len(whole) - 1, *rng.integers(0, len(whole), _FLIPS - 3)):
        copy.write_bytes(whole[: int(length)])
        found += _is_refused(copy)
    with newest.open("r+b") as stream:
        stream.truncate(len(whole) // 2)
    return _gone_on(runs, "truncation", "cut", {"cuts": _FLIPS, "found": found}, is_well=found == _FLIPS)


def _is_refused(file: Path) -> bool:
    try:
        load_checkpoint(file)
    except YolofuseError:
        return True
    return False


def _gone_on(runs: Runs, fault: str, name: str, figures: dict[str, object], *, is_well: bool) -> Outcome:
    """Go on with a run whose newest checkpoint was damaged."""
    runs.finish(name)
    events = runs.events(name, "fell_back")
    figures["fell_back events"] = len(events)
    figures["went on from step"] = runs.events(name, "resumed")[-1].step
    figures["end"] = compared(runs, name)
    is_well = is_well and len(events) == 1 and figures["end"] == "bit-identical"
    return Outcome(fault, "found; fell back to the one before and said so" if is_well else "NOT kept", figures)


def disk_full(runs: Runs) -> Outcome:
    """Too small a disk at the start; then one that a neighbour fills in mid-run, keeps full, and clears again."""
    with small_disk(runs.root / "small", 60) as disk:
        job = runs.start("small", f"train.run={disk / 'run'}")[0]
        figures: dict[str, object] = {"60 MB disk": f"exit {job.wait()}: {_after_colon(last_line(job))}"}
        began = job.code == 2 and "MiB are free" in job.said()
    with small_disk(runs.root / "large", 600) as disk:
        run, file = disk / "run", disk / "neighbour"
        act = partial(_neighbour, file=file)
        job = runs.start("full", f"train.run={run}", act=lambda rank: act())[0]
        code = job.wait()
        figures["filled in mid-run"] = f"exit {code}: {_after_colon(last_line(job))}"
        kept = [(path.name, path.stat().st_size) for path in checkpoints(run)]
        bad = damaged(run)
        size = sum(size for _, size in kept)
        figures["kept whole"] = f"{len(kept) - len(bad)} of {len(kept)} checkpoints, {size} bytes"
        file.unlink()
        again = runs.start("full", f"train.run={run}")[0]
        again.wait()
        same = again.code == 0 and state_hash(run) == state_hash(runs.folder("whole"))
        figures["end, with room again"] = "bit-identical" if same else f"exit {again.code}, DIFFERENT"
        (runs.root / "full.log").write_text(job.said() + again.said())
    is_well = began and code == 2 and kept and not bad and same
    says_why = any(words in job.said() for words in ("No space left", "disk is full"))
    text = "refused before training; in mid-run ends with an error, all older checkpoints whole"
    text += "" if says_why else ", but the error does NOT say that the disk is full"
    return Outcome("disk_full", text if is_well else "NOT kept", figures)


def _after_colon(line: str) -> str:
    return line.removeprefix("error: ").split(": ", 1)[-1][:160]


def _neighbour(file: Path) -> None:
    """Another job takes all space of the disk from the second epoch on, and whatever becomes free."""

    def take() -> None:
        while True:
            fill(file)
            time.sleep(0.0005)

    def begin(session: Any, batch: Any) -> None:
        threading.Thread(target=take, daemon=True).start()

    at_step(STEPS + 1, begin)


SCENARIOS: dict[str, Callable[[Runs], Outcome]] = {
    "sigkill_in_save": sigkill_in_save,
    "bit_flip": bit_flip,
    "truncation": truncation,
    "disk_full": disk_full,
}
