"""Tiny runs of this project's trainer in forked processes, and what is left of them in their folders."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import mmap
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from scripts.faults.lab import Job, write_pairs

import yolofuse.cli.train as cli
from yolofuse import upstream
from yolofuse.errors import YolofuseError
from yolofuse.run.records import Event, read_events
from yolofuse.run.resume_check import code_fingerprint
from yolofuse.weights import load_checkpoint

loop: Any = importlib.import_module("yolofuse.engine.train")  # whose functions are replaced, which types forbid
saver: Any = importlib.import_module("yolofuse.run.checkpointer")

STEPS, EPOCHS, BATCH = 6, 3, 4
"""Of the runs: six steps of four pairs in each of three epochs."""
_RESUMED = ("model", "ema", "ema_updates", "optimizer", "scaler")
_TIMED = {"seconds", "data_wait"}


class TensorLog:
    """What a run notes of itself in memory that outlives its process, since it is shared with this one.

    Attributes:
        saving: Checkpoints that are being written.
        validating: Evaluations that are going on.
        first: Steps that had been made when the process began with its first; -1 before that.
        step: Steps that have been made, those of the processes before included; -1 before the first.
    """

    _FIELDS = ("saving", "validating", "first", "step")

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8 * len(self._FIELDS))
        self._values = np.frombuffer(self._memory, np.int64)
        self.reset()

    def reset(self) -> None:
        """Begin anew, before a process starts."""
        self._values[:] = (0, 0, -1, -1)

    def __getitem__(self, name: str) -> int:
        return int(self._values[self._FIELDS.index(name)])

    def __setitem__(self, name: str, value: int) -> None:
        self._values[self._FIELDS.index(name)] = value

    def phase(self) -> str:
        """What the process was doing when it last noted anything."""
        if self["first"] < 0:
            return "starting"
        doing = "validating" if self["validating"] else "training"
        return f"saving while {doing}" if self["saving"] else doing

    def watch(self) -> None:
        """Have this process's training note what it does."""
        take_step = loop._step

        def counted(run: Any, *args: Any, **options: Any) -> None:
            if self["first"] < 0:
                self["first"] = self["step"] = run.progress.step
            take_step(run, *args, **options)
            self["step"] = run.progress.step

        loop._step = counted
        saver.save_checkpoint = self._noting("saving", saver.save_checkpoint)
        loop._evaluate_if_due = self._noting("validating", loop._evaluate_if_due)

    def _noting(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **options: Any) -> Any:
            self[name] += 1
            try:
                return function(*args, **options)
            finally:
                self[name] -= 1

        return noted


@dataclass
class Runs:
    """A data set and the runs on it.

    Attributes:
        root: Folder of everything.
        workers: Loader processes of a rank.
        options: Overrides of every run.
    """

    root: Path
    workers: int = 0
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.descriptor = write_pairs(self.root / "data", BATCH * STEPS, 6)
        self.config = self.root / "config.yaml"
        self.config.write_text(yaml.safe_dump(self._content()))
        self._jobs: list[Job] = []
        upstream.resolve_base("yolov8n")  # its catalogue, and libraries that a run imports late, are read once, here
        importlib.import_module("matplotlib.pyplot")
        code_fingerprint()

    def _content(self) -> dict[str, dict[str, object]]:
        return {
            "data": {
                "descriptor": str(self.descriptor),
                "workers": self.workers,
                "cache_dir": str(self.root / "cache"),
            },
            "model": {"base": "yolov8n", "cut": "mid"},
            "train": {
                "run": str(self.root / "run"),
                "epochs": EPOCHS,
                "batch": BATCH,
                "nominal_batch": BATCH,
                "imgsz": 64,
                "warmup_epochs": 1,
                "close_mosaic": 1,
                "save_every": 2,
                "device": "cpu",
                "precision": "fp32",
                "monitor_steps": 0,
            },
            "val": {"batch": 2, "precision": "fp32"},
        }

    def folder(self, name: str) -> Path:
        """Folder of a run."""
        return self.root / "runs" / name

    def start(
        self,
        name: str,
        *options: str,
        ranks: int = 1,
        ledger: TensorLog | None = None,
        act: Callable[[int], object] | None = None,
        arguments: tuple[str, ...] | None = None,
    ) -> list[Job]:
        """Begin a run or go on with it, one process for each rank.

        Args:
            name: Of the run.
            *options: Overrides.
            ranks: How many processes.
            ledger: What rank 0 is to note.
            act: Called with the rank before training, to hang a fault on it.
            arguments: Of the command, instead of ``--cfg FILE --auto-resume`` and overrides.
        """
        said = arguments or ("--cfg", str(self.config), "--auto-resume", f"train.run={self.folder(name)}")
        argv = [*said, *((*self.options, *options) if arguments is None else options)]
        port = free_port()
        if ledger is not None:
            ledger.reset()

        def work(rank: int) -> int:
            if ledger is not None and rank == 0:
                ledger.watch()
            if act is not None:
                act(rank)
            return cli.main(argv)

        jobs = [
            Job(lambda rank=rank: work(rank), self.log(name, rank), _environment(rank, ranks, port))  # type: ignore[misc]
            for rank in range(ranks)
        ]
        self._jobs += jobs
        return jobs

    def log(self, name: str, rank: int = 0) -> Path:
        """What a run's rank printed, over all its processes."""
        self.folder(name).parent.mkdir(parents=True, exist_ok=True)
        return self.folder(name).with_name(f"{name}.rank{rank}.log")

    def finish(self, name: str, *options: str, ranks: int = 1, ledger: TensorLog | None = None) -> float:
        """Let a run go on to its end; returns the seconds it took."""
        started = time.monotonic()
        jobs = self.start(name, *options, ranks=ranks, ledger=ledger)
        for job in jobs:
            if job.wait() != 0:
                self.end_all()
                raise SystemExit(f"{name}: should end well, but ended with {job.code}:\n{job.said()[-4000:]}")
        return time.monotonic() - started

    def end_all(self) -> None:
        """Kill whatever is left of all processes and their workers."""
        for job in self._jobs:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job.pid, signal.SIGKILL)
            job.wait()
        self._jobs.clear()

    def events(self, name: str, kind: str) -> list[Event]:
        """Events of a kind that a run noted."""
        return [event for event in read_events(self.folder(name))[0] if event.event == kind]


def _environment(rank: int, ranks: int, port: int) -> dict[str, str]:
    """What torchrun tells a process."""
    if ranks == 1:
        return {}
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "MASTER_PORT": port}
    return {"MASTER_ADDR": "127.0.0.1"} | {name: str(value) for name, value in told.items()}


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def checkpoints(folder: Path) -> list[Path]:
    """Every checkpoint of a run; one of two names of the same file."""
    files = sorted((folder / "weights").glob("*.pt"))
    return list({file.stat().st_ino: file for file in files}.values())


def damaged(folder: Path) -> list[str]:
    """What is wrong with those of a run's checkpoints that do not load."""
    problems = []
    for file in checkpoints(folder):
        try:
            load_checkpoint(file)
        except YolofuseError as error:
            problems.append(str(error))
    return problems


def state_hash(folder: Path) -> str:
    """SHA-256 over all that a run ends with: weights, EMA, optimizer, losses and scores of every epoch."""
    content = load_checkpoint(folder / "weights" / "last.pt")
    progress = content["progress"]
    history = [{name: value for name, value in row.items() if name not in _TIMED} for row in progress["history"]]
    digest = hashlib.sha256()
    for part in _bytes([*(content[name] for name in _RESUMED), history, progress["best_ap"], progress["best_epoch"]]):
        digest.update(part)
    return digest.hexdigest()


def _bytes(value: Any) -> Iterator[bytes]:
    """A nested structure as bytes, tensors by their exact content."""
    if isinstance(value, torch.Tensor):
        yield f"{value.dtype}{tuple(value.shape)}".encode()
        yield value.detach().contiguous().numpy().tobytes()
    elif isinstance(value, dict):
        for name, item in value.items():
            yield repr(name).encode()
            yield from _bytes(item)
    elif isinstance(value, list | tuple):
        yield f"{len(value)}".encode()
        for item in value:
            yield from _bytes(item)
    else:
        yield repr(value).encode()


def told(text: str) -> None:
    """A line of progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def at_step(step: int, action: Callable[[Any, Any], object]) -> None:
    """Have this process's training do something right before a step, with its session and batch."""
    take_step = loop._step

    def struck(run: Any, batch: Any, *args: Any, **options: Any) -> None:
        if run.progress.step == step:
            action(run.session, batch)
        take_step(run, batch, *args, **options)

    loop._step = struck


def send_self(number: signal.Signals) -> Callable[[Any, Any], object]:
    """An action: a signal to this process."""
    return lambda session, batch: os.kill(os.getpid(), number)


def last_line(job: Job) -> str:
    """The end of what a process said, or the line that tells its error, in a line."""
    lines = [line.strip() for line in job.said().splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:")]
    return (errors or lines or ["nothing said"])[-1][:200]
