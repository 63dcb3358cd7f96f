"""What the fault scripts share: tiny data, processes that can be killed, full disks, damaged files, the table.

Processes are forked from one that has imported torch already, because the import takes longer than a tiny run does.
"""

from __future__ import annotations

import csv
import io
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
import yaml
from scripts.benchmarks.results_table import REPO, commit, machine

from yolofuse.errors import RunError
from yolofuse.files import save_text

TABLE = REPO / "results" / "faults.csv"
FAULTS: dict[str, tuple[str, str]] = {
    "sigkill": ("SIGKILL at any moment", "at most save_every steps lost; the end result is bit-identical"),
    "sigkill_in_save": ("SIGKILL inside a save", "the newest whole checkpoint loads"),
    "bit_flip": ("one bit of a checkpoint flipped", "found by checksum; falls back to the one before and says so"),
    "truncation": ("a checkpoint cut short", "found; falls back to the one before and says so"),
    "disk_full": ("full disk", "old checkpoints intact, clear error, space checked before training"),
    "signal": ("SIGTERM or SIGUSR1 in mid-epoch", "saved at the next step, marker left, goes on after requeue"),
    "rank_dies": ("one rank dies", "the job fails within a minute, and resumes"),
    "rank_hangs": ("a rank hangs", "a watchdog of minutes, stacks dumped"),
    "drift": ("ranks drift apart", "found by hashes of the parameters; abort naming the tensors"),
    "nan_mid": ("NaN in mid-run", "found before the update; bounded rollback"),
    "nan_first": ("NaN at the first step", "found before the update; bounded rollback"),
    "nan_resumed": ("NaN right after a resume", "found before the update; bounded rollback"),
    "oom_forward": ("out of memory in the forward pass", "micro-batch halved, accumulation doubled, on all ranks"),
    "oom_backward": ("out of memory in the backward pass", "micro-batch halved, accumulation doubled, on all ranks"),
    "worker_dies": ("a loader worker is killed", "goes on from the step, bounded retries"),
    "config_changed": ("config changed on resume", "fingerprint compared; refused unless forced"),
    "data_changed": ("data changed on resume", "fingerprint compared; refused unless forced"),
    "code_changed": ("code changed on resume", "fingerprint compared; refused unless forced"),
    "two_jobs": ("two jobs, one run folder", "a lock, one refuses"),
}
"""Every row of the table: the fault, and what is promised of this project's trainer."""

_COLUMNS = ("fault", "promise", "ours", "figures", "stock", "stock_figures", "stock_version")
Side = Literal["ours", "stock"]


@dataclass(frozen=True)
class Outcome:
    """What came of one fault.

    Attributes:
        fault: Key of the table.
        text: What happened, in a line.
        figures: What was measured, by name.
    """

    fault: str
    text: str
    figures: Mapping[str, object] = field(default_factory=dict)


def book(outcomes: Sequence[Outcome], side: Side, version: str = "", table: Path = TABLE) -> None:
    """Put outcomes into their rows of the table, beside what the other side's columns say already."""
    rows: dict[str, dict[str, str]] = {}
    if table.exists():
        with table.open(newline="") as stream:
            rows = {row["fault"]: dict(row) for row in csv.DictReader(stream)}
    about = {"date": datetime.now(timezone.utc).date().isoformat(), "commit": commit(), "machine": machine()}
    for outcome in outcomes:
        title, promise = FAULTS[outcome.fault]
        row = rows.setdefault(title, dict.fromkeys(_COLUMNS, ""))
        figures = "; ".join(f"{name} {value}" for name, value in outcome.figures.items())
        told = {"ours": outcome.text, "figures": figures} if side == "ours" else {}
        if side == "stock":
            told = {"stock": outcome.text, "stock_figures": figures, "stock_version": version}
        row.update({"fault": title, "promise": promise} | told | (about if side == "ours" or "date" not in row else {}))
    text = io.StringIO()
    writer = csv.DictWriter(text, [*_COLUMNS, *about], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows[title] for title, _ in FAULTS.values() if title in rows)
    save_text(table, text.getvalue())


def tell(outcome: Outcome) -> None:
    """Print an outcome as soon as it is there."""
    figures = "; ".join(f"{name} {value}" for name, value in outcome.figures.items())
    print(f"{FAULTS[outcome.fault][0]}: {outcome.text} [{figures}]", flush=True)


def write_pairs(root: Path, num_train: int, num_val: int, side: int = 64) -> Path:
    """A paired data set of noise with one bright box each; returns its descriptor.

    ``rgb.yaml`` beside it describes the RGB half for ultralytics.
    """
    splits = {}
    for split, first, count in (("train", 0, num_train), ("val", num_train, num_val)):
        for number in range(first, first + count):
            _write_pair(root, split, number, side)
        splits[split] = {"rgb": f"images/{split}", "ir": f"ir/{split}", "labels": f"labels/{split}"}
    stock = {"path": str(root), "train": "images/train", "val": "images/val", "names": {0: "person"}}
    (root / "rgb.yaml").write_text(yaml.safe_dump(stock))
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
            raise RunError(f"{file}: cannot be written")
    label = root / "labels" / split / f"{number:04d}.txt"
    label.parent.mkdir(parents=True, exist_ok=True)
    box = ((x0 + box_w / 2) / side, (y0 + box_h / 2) / side, box_w / side, box_h / side)
    label.write_text("0 " + " ".join(f"{value:.8f}" for value in box) + "\n")


class Job:
    """A forked process that leads a group of its own, with what it prints in a file."""

    def __init__(self, work: Callable[[], object], log: Path, environment: Mapping[str, str] | None = None) -> None:
        """Fork; the child works, and ends without returning here.

        Args:
            work: What the child does. An int that it returns is the exit code.
            log: File that gets stdout and stderr.
            environment: More variables for the child.
        """
        self.log = log
        self.started = time.monotonic()
        self.code: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            _become(work, log, environment or {})

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def wait(self, seconds: float = 120.0) -> int | None:
        """The exit code; None if it still runs after that time."""
        end = time.monotonic() + seconds
        while self.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        return self.code

    def wait_for(self, is_there: Callable[[], bool], seconds: float = 120.0) -> bool:
        """Wait until something is there, or the process ended, or the time is over; whether it is there."""
        end = time.monotonic() + seconds
        while not is_there() and self.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        return is_there()

    def send(self, number: int) -> None:
        """Send a signal to this process alone."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL to the whole group, workers included, and wait for the end."""
        with suppress(ProcessLookupError):  # the group is gone already
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def said(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def _become(work: Callable[[], object], log: Path, environment: Mapping[str, str]) -> None:
    """Be the child: never returns."""
    code = 1
    try:
        os.setsid()
        stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for number in (1, 2):
            os.dup2(stream, number)
        os.environ.update(environment)
        result = work()
        code = result if isinstance(result, int) else 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # whatever it was is told in the log, and the parent sees the code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[Path]:
    """A file system of that size at ``folder``, gone afterwards. Needs root."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)], check=True)  # noqa: S607
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)  # noqa: S607


def fill(file: Path) -> int:
    """Write to ``file`` until the disk is full; returns the bytes that went in."""
    written = 0
    with file.open("ab", buffering=0) as stream:
        for block in (1 << 20, 1 << 12, 1):
            with suppress(OSError):  # that is what full means
                while True:
                    written += stream.write(b"\0" * block)
    return written


def flip_bit(file: Path, position: int) -> None:
    """Turn one bit of a file over; ``position`` counts bits from its beginning."""
    with file.open("r+b") as stream:
        stream.seek(position // 8)
        byte = stream.read(1)[0]
        stream.seek(position // 8)
        stream.write(bytes([byte ^ (1 << position % 8)]))


def difference(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> float:
    """The largest difference between two sets of weights of the same names; NaN where one has NaN."""
    return float(torch.stack([(a[name].double() - b[name].double()).abs().max() for name in a]).max())


def quiet_parent() -> None:
    """Make this process fit to be forked: one thread in every library, so that no lock is held elsewhere."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
