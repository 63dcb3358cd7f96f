"""Provide what all fault tests share: tiny data, processes that can be killed, full disks, damaged files.

Processes are forked from one that has already imported torch, because the import takes longer than a tiny run.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml

from yolofuse.errors import RunError


def write_pairs(root: Path, num_train: int, num_val: int, side: int = 64) -> Path:
    """Write pairs of noise with one bright box each; return the descriptor.

    ``rgb.yaml`` beside it describes the RGB half for ultralytics.
    """
    splits = {}
    for split, first, count in (("train", 0, num_train), ("val", num_train, num_val)):
        for number in range(first, first + count):
            _write_pair(root, split, number, side)
        splits[split] = {"rgb": f"images/{split}", "ir": f"ir/{split}", "labels": f"labels/{split}"}
    rgb_half = {"path": str(root), "train": "images/train", "val": "images/val", "names": {0: "person"}}
    (root / "rgb.yaml").write_text(yaml.safe_dump(rgb_half))
    descriptor = root / "data.yaml"
    descriptor.write_text(yaml.safe_dump({"root": ".", "names": {0: "person"}, "splits": splits}))
    return descriptor


def _write_pair(root: Path, split: str, number: int, side: int) -> None:
    rng = np.random.default_rng(number)
    bgr = rng.integers(0, 90, (side, side, 3), dtype=np.uint8)
    ir = rng.integers(0, 90, (side, side), dtype=np.uint8)
    box_w, box_h = (int(rng.integers(side // 4, side // 2)) for _ in range(2))
    x0, y0 = int(rng.integers(0, side - box_w)), int(rng.integers(0, side - box_h))
    bgr[y0 : y0 + box_h, x0 : x0 + box_w] = (40, 200, 255)
    ir[y0 : y0 + box_h, x0 : x0 + box_w] = 230
    for kind, pixels in (("images", bgr), ("ir", ir)):
        file = root / kind / split / f"{number:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(file), pixels):
            raise RunError(f"{file}: cannot write the image")
    label = root / "labels" / split / f"{number:04d}.txt"
    label.parent.mkdir(parents=True, exist_ok=True)
    box = ((x0 + box_w / 2) / side, (y0 + box_h / 2) / side, box_w / side, box_h / side)
    label.write_text("0 " + " ".join(f"{value:.8f}" for value in box) + "\n")


class Job:
    """Run a function in a forked process that leads its own process group; its output goes to a file."""

    def __init__(self, work: Callable[[], object], log: Path, environment: Mapping[str, str] | None = None) -> None:
        """Fork; the child runs ``work`` and exits.

        Args:
            work: Function to run. An int that it returns is the exit code.
            log: File for stdout and stderr.
            environment: Additional variables for the child.
        """
        self.log = log
        self.started = time.monotonic()
        self.code: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            _run_child(work, log, environment or {})

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while the process runs."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def wait(self, seconds: float = 120.0) -> int | None:
        """Wait for the end; return the exit code, or None if the process still runs after that time."""
        end = time.monotonic() + seconds
        while self.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        return self.code

    def wait_for(self, condition: Callable[[], bool], seconds: float = 120.0) -> bool:
        """Wait until a condition holds, the process ends or the time is over; return whether the condition holds."""
        end = time.monotonic() + seconds
        while not condition() and self.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        return condition()

    def send(self, number: int) -> None:
        """Send a signal to this process alone."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL to the whole group, including loader workers, and wait for the end."""
        with suppress(ProcessLookupError):  # the group has ended
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def output(self) -> str:
        """Return what the process has printed so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def kill_in_save(save_repeatedly: Callable[[], object], saved: Path, log: Path, rng: np.random.Generator) -> None:
    """Start a process that saves in a loop, and kill it at a random moment of its second save.

    Args:
        save_repeatedly: Touches ``saved`` after every save.
        saved: The file that tells of a finished save.
        log: Output of the process.
        rng: Draws the moment, from the time that a save takes.
    """
    saved.unlink(missing_ok=True)
    job = Job(save_repeatedly, log)
    if not job.wait_for(saved.exists):
        raise SystemExit(f"the saving process does not start:\n{job.output()[-3000:]}")
    saved.unlink()
    started = time.perf_counter()
    job.wait_for(saved.exists)
    time.sleep(rng.uniform(0, time.perf_counter() - started))
    job.kill()


@contextmanager
def labels_edited(labels: Path, backup: Path) -> Iterator[None]:
    """Change every second label file of the training split, and restore all of them at the end of the block."""
    shutil.copytree(labels, backup)
    try:
        for file in sorted((labels / "train").glob("*.txt"))[::2]:
            file.write_text("0 0.5 0.5 0.1 0.1\n")
        yield
    finally:
        shutil.rmtree(labels)
        backup.rename(labels)


def _run_child(work: Callable[[], object], log: Path, environment: Mapping[str, str]) -> None:
    """Run ``work`` in the forked child, and exit: it never returns."""
    code = 1
    try:
        os.setsid()
        stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for number in (1, 2):
            os.dup2(stream, number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
        os.environ.update(environment)
        result = work()
        code = result if isinstance(result, int) else 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # any error goes to the log; the parent gets the exit code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[Path]:
    """Mount a file system of that size at ``folder``, and unmount it afterwards. Needs root."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)], check=True)  # noqa: S607
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)  # noqa: S607


def fill(file: Path) -> int:
    """Write to ``file`` until the disk is full; return the number of bytes written."""
    written = 0
    with file.open("ab", buffering=0) as stream:
        for block in (1 << 20, 1 << 12, 1):
            with suppress(OSError):  # the disk is full
                while True:
                    written += stream.write(b"\0" * block)
    return written


def flip_bit(file: Path, position: int) -> None:
    """Flip one bit of a file; ``position`` counts bits from its start."""
    with file.open("r+b") as stream:
        stream.seek(position // 8)
        byte = stream.read(1)[0]
        stream.seek(position // 8)
        stream.write(bytes([byte ^ (1 << position % 8)]))


def difference(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> float:
    """Return the largest difference between two sets of weights of equal names; NaN if one has NaN."""
    return float(torch.stack([(a[name].double() - b[name].double()).abs().max() for name in a]).max())


def limit_threads() -> None:
    """Use one thread in every library: forking is then safe, since no other thread can hold a lock."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
