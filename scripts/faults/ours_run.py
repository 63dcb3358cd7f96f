"""Run this project's trainer in forked processes, and inspect the folders of the runs."""

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

import yolofuse.cli.train as cli
from scripts.faults.lab import Job, write_pairs
from yolofuse import upstream
from yolofuse.errors import YolofuseError
from yolofuse.run.records import Event, read_events
from yolofuse.run.resume_check import code_fingerprint
from yolofuse.weights import load_checkpoint

loop: Any = importlib.import_module("yolofuse.engine.train")  # Any: its functions are replaced
checkpointer: Any = importlib.import_module("yolofuse.run.checkpointer")

STEPS, EPOCHS, BATCH = 6, 3, 4
"""Budget of a run: three epochs of six steps of four pairs."""
MID = 2 * STEPS + 2
"""A step in the middle of the third epoch."""
_STATE = ("model", "ema", "ema_updates", "optimizer", "scaler")
_TIMED = {"seconds", "data_wait", "memory_gib"}


class SharedProgress:
    """Record the progress of a run in memory shared with this process, so that it outlives the run's process.

    Items:
        saving: Number of checkpoints being written.
        validating: Number of evaluations running.
        first: Steps done before the first step of this process; -1 until then.
        step: Steps done, including those of earlier processes; -1 before the first.
    """

    _FIELDS = ("saving", "validating", "first", "step")

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8 * len(self._FIELDS))
        self._values = np.frombuffer(self._memory, np.int64)
        self.reset()

    def reset(self) -> None:
        """Reset all items before a process starts."""
        self._values[:] = (0, 0, -1, -1)

    def __getitem__(self, name: str) -> int:
        return int(self._values[self._FIELDS.index(name)])

    def __setitem__(self, name: str, value: int) -> None:
        self._values[self._FIELDS.index(name)] = value

    def phase(self) -> str:
        """Return what the process was doing at its last update."""
        if self["first"] < 0:
            return "starting"
        activity = "validating" if self["validating"] else "training"
        return f"saving while {activity}" if self["saving"] else activity

    def track(self) -> None:
        """Wrap the training functions of this process so that they update the items."""
        train_step = loop.train_step

        def counted_step(context: Any, state: Any, batch: Any, number: int, *args: Any) -> Any:
            if self["first"] < 0:
                self["first"] = self["step"] = number - 1
            terms = train_step(context, state, batch, number, *args)
            self["step"] = number
            return terms

        loop.train_step = counted_step
        checkpointer.save_checkpoint = self._counted("saving", checkpointer.save_checkpoint)
        loop.evaluate_epoch = self._counted("validating", loop.evaluate_epoch)

    def _counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            self[name] += 1
            try:
                return function(*args, **options)
            finally:
                self[name] -= 1

        return counted


@dataclass
class OurRuns:
    """Start, finish and inspect runs on one small data set.

    Attributes:
        root: Folder of the data set and all runs.
        workers: Loader workers per rank.
        overrides: Overrides of every run.
    """

    root: Path
    workers: int = 0
    overrides: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.descriptor = write_pairs(self.root / "data", BATCH * STEPS, 6)
        self.config = self.root / "config.yaml"
        self.config.write_text(yaml.safe_dump(self._config_content()))
        self._jobs: list[Job] = []
        upstream.resolve_base("yolov8n")  # cached here once, as are the lazy imports of a run, before any fork
        importlib.import_module("matplotlib.pyplot")
        code_fingerprint()

    def _config_content(self) -> dict[str, dict[str, object]]:
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
        """Return the folder of a run."""
        return self.root / "runs" / name

    def start(
        self,
        name: str,
        *overrides: str,
        ranks: int = 1,
        progress: SharedProgress | None = None,
        inject: Callable[[int], object] | None = None,
        arguments: tuple[str, ...] | None = None,
    ) -> list[Job]:
        """Start or resume a run, one process per rank.

        Args:
            name: Of the run.
            *overrides: Of the config.
            ranks: Number of processes.
            progress: Where rank 0 records its progress.
            inject: Called with the rank before training, to set up a fault.
            arguments: Of the command, instead of ``--cfg FILE --auto-resume`` and the overrides of all runs.
        """
        own = arguments or ("--cfg", str(self.config), "--auto-resume", f"train.run={self.folder(name)}")
        argv = [*own, *((*self.overrides, *overrides) if arguments is None else overrides)]
        port = free_port()
        if progress is not None:
            progress.reset()

        def work(rank: int) -> int:
            if progress is not None and rank == 0:
                progress.track()
            if inject is not None:
                inject(rank)
            return cli.main(argv)

        jobs = [
            Job(lambda rank=rank: work(rank), self.log(name, rank), _environment(rank, ranks, port))  # type: ignore[misc]
            for rank in range(ranks)
        ]
        self._jobs += jobs
        return jobs

    def log(self, name: str, rank: int = 0) -> Path:
        """Return the log of a run's rank, over all its processes."""
        self.folder(name).parent.mkdir(parents=True, exist_ok=True)
        return self.folder(name).with_name(f"{name}.rank{rank}.log")

    def finish(self, name: str, *overrides: str, ranks: int = 1, progress: SharedProgress | None = None) -> float:
        """Start or resume a run and wait for its successful end; return the seconds it took."""
        started = time.monotonic()
        jobs = self.start(name, *overrides, ranks=ranks, progress=progress)
        for job in jobs:
            if job.wait() != 0:
                self.end_all()
                raise SystemExit(f"{name}: expected exit code 0, got {job.code}:\n{job.output()[-4000:]}")
        return time.monotonic() - started

    def end_all(self) -> None:
        """Kill all remaining processes and their workers."""
        for job in self._jobs:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job.pid, signal.SIGKILL)
            job.wait()
        self._jobs.clear()

    def events(self, name: str, kind: str) -> list[Event]:
        """Return the events of a kind that a run has logged."""
        return [event for event in read_events(self.folder(name))[0] if event.event == kind]


def _environment(rank: int, ranks: int, port: int) -> dict[str, str]:
    """Return the variables that torchrun sets for a process."""
    if ranks == 1:
        return {}
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "MASTER_PORT": port}
    return {"MASTER_ADDR": "127.0.0.1"} | {name: str(value) for name, value in numbers.items()}


def free_port() -> int:
    """Return a free TCP port of this machine."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def checkpoints(folder: Path) -> list[Path]:
    """Return all checkpoints of a run; of hard links to one file, only one."""
    files = sorted((folder / "weights").glob("*.pt"))
    return list({file.stat().st_ino: file for file in files}.values())


def checkpoint_errors(folder: Path) -> list[str]:
    """Return the errors of the checkpoints of a run that do not load."""
    problems = []
    for file in checkpoints(folder):
        try:
            load_checkpoint(file)
        except YolofuseError as error:
            problems.append(str(error))
    return problems


def state_hash(folder: Path) -> str:
    """Return the SHA-256 of a run's final state: weights, EMA, optimizer, losses and metrics of every epoch."""
    content = load_checkpoint(folder / "weights" / "last.pt")
    progress = content["progress"]
    history = [{name: value for name, value in row.items() if name not in _TIMED} for row in progress["history"]]
    digest = hashlib.sha256()
    for chunk in _to_bytes([*(content[name] for name in _STATE), history, progress["best_ap"], progress["best_epoch"]]):
        digest.update(chunk)
    return digest.hexdigest()


def _to_bytes(value: Any) -> Iterator[bytes]:
    """Yield a nested structure as bytes, tensors by their exact content."""
    if isinstance(value, torch.Tensor):
        yield f"{value.dtype}{tuple(value.shape)}".encode()
        yield value.detach().contiguous().numpy().tobytes()
    elif isinstance(value, dict):
        for name, item in value.items():
            yield repr(name).encode()
            yield from _to_bytes(item)
    elif isinstance(value, list | tuple):
        yield f"{len(value)}".encode()
        for item in value:
            yield from _to_bytes(item)
    else:
        yield repr(value).encode()


def describe_end(folder: Path, reference: Path) -> str:
    """Return whether a run has ended in the same state as another one."""
    return "bit-identical" if state_hash(folder) == state_hash(reference) else "DIFFERENT"


def log_progress(text: str) -> None:
    """Print a line to stderr."""
    print(text, file=sys.stderr, flush=True)


def at_step(step: int, action: Callable[[Any, Any], object]) -> None:
    """Call ``action(context, batch)`` right before a step of this process's training; steps count from 0."""
    train_step = loop.train_step

    def hooked_step(context: Any, state: Any, batch: Any, number: int, *args: Any) -> Any:
        if number == step + 1:
            action(context, batch)
        return train_step(context, state, batch, number, *args)

    loop.train_step = hooked_step


def send_self(number: signal.Signals) -> Callable[[Any, Any], object]:
    """Return an action that sends a signal to this process."""
    return lambda context, batch: os.kill(os.getpid(), number)


def last_line(job: Job) -> str:
    """Return the last error line that a process has printed, or else its last line."""
    lines = [line.strip() for line in job.output().splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:")]
    return (errors or lines or ["no output"])[-1][:200]
