"""Training loops that take turns: each runs in a process of its own and makes steps only while it is its turn.

On a machine that is busy at times, all of them are then slowed alike; and what one loop leaves in its process, such as
a cache or a pool of threads, does not help or hinder another. The parent talks to a worker in lines: it says ``go`` or
``quit``, the worker answers each ``go``, and its start, with one line of JSON.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import torch

_QUITS_WITHIN = 60.0  # seconds


@dataclass
class Turns:
    """The worker's side: told of each step's end, it measures a turn and then waits for the next.

    An epoch is one turn, so that whatever a loop does between epochs is not timed: first steps that only settle the
    loader's queue and the allocator, then the timed ones. The first epoch warms up.

    Attributes:
        device: Where the loop computes.
        settle: Steps of a turn before the timed ones.
        steps: Timed steps.
        say: Where answers go.
        bare: Makes the same step without a loop around it; timed too.
        about: Asked for facts when the worker is ready.
        data_s: Seconds that the loop has waited for data so far; whoever measures that adds to it.
        parts: Seconds by part of the step so far, likewise.
    """

    device: torch.device
    settle: int
    steps: int
    say: TextIO
    bare: Callable[[], None] | None = None
    about: Callable[[], dict[str, Any]] = dict
    data_s: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)
    _number: int = 0
    _is_ready: bool = False
    _resumed: float = 0.0
    _data_before: float = 0.0
    _loop: list[float] = field(default_factory=list)  # seconds of each step
    _computing: list[float] = field(default_factory=list)  # without its data
    _bare: list[float] = field(default_factory=list)

    def step_done(self) -> None:
        """Call this at the end of each step of the loop.

        Raises:
            SystemExit: When the parent has seen enough.
        """
        on_cpu = self.device.type == "cpu"
        self._number += 1
        if on_cpu or self._number in {self.settle, self.settle + self.steps}:
            self._sync()
        if self._number > self.settle:
            step_s = time.perf_counter() - self._resumed
            self._loop.append(step_s)
            self._computing.append(step_s - (self.data_s - self._data_before))
            if on_cpu:  # step by step: so close together that both see the same machine
                self._bare.append(self._time_bare(1))
        if self._number == self.settle + self.steps:
            if not on_cpu:
                self._bare = [self._time_bare(self.steps) / self.steps]
            self._answer()
        if self._number == self.settle:
            self.data_s, self.parts = 0.0, {}
            self._loop, self._computing, self._bare = [], [], []
        self._data_before = self.data_s
        self._resumed = time.perf_counter()

    def _time_bare(self, count: int) -> float:
        if self.bare is None:
            return 0.0
        self._sync()
        started = time.perf_counter()
        for _ in range(count):
            self.bare()
        self._sync()
        return time.perf_counter() - started

    def _answer(self) -> None:
        # On the CPU each step is timed to its end, so that one that was disturbed can be told from the others.
        typical = statistics.median if self.device.type == "cpu" else statistics.mean
        answer: dict[str, Any] = {
            "step_ms": 1000 * statistics.mean(self._loop),
            "data_ms": 1000 * self.data_s / self.steps,
            "computing_ms": 1000 * typical(self._computing),
            "bare_ms": 1000 * typical(self._bare),
            "parts_ms": {name: 1000 * seconds / self.steps for name, seconds in self.parts.items()},
            "peak_mib": _peak_mib(self.device),
        }
        if not self._is_ready:
            answer, self._is_ready = self.about(), True
        print(json.dumps(answer), file=self.say, flush=True)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # for whoever is next
        if sys.stdin.readline().strip() != "go":
            raise SystemExit(0)
        self._number = 0

    def _sync(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _peak_mib(device: torch.device) -> float:
    """Of the device's allocator; on the CPU, of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def answers_only() -> TextIO:
    """A stream to the parent; whatever else this process prints goes to its log."""
    stream = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return stream


class Worker:
    """The parent's side of one loop."""

    def __init__(self, name: str, command: Sequence[str], log: Path, threads: int) -> None:
        """Start it and wait until it is ready.

        Args:
            name: For messages.
            command: What to run.
            log: File for what it prints.
            threads: Of torch and OpenMP.

        Raises:
            SystemExit: If it fails; the end of its log is told.
        """
        self.name = name
        self._log = log
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                [sys.executable, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            )
        self.about = self._listen()

    def turn(self) -> dict[str, Any]:
        """Let it make its steps; returns what it measured."""
        self._tell("go")
        return self._listen()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._tell("quit")
        try:
            self._process.wait(_QUITS_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tell(self, word: str) -> None:
        assert self._process.stdin is not None
        try:
            print(word, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            self._process.wait()  # what it died of is told by whoever listens

    def _listen(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            tail = self._log.read_text(errors="replace")[-3000:]
            raise SystemExit(f"{self.name} ended with code {self._process.wait()}:\n{tail}")
        answer: dict[str, Any] = json.loads(line)
        return answer
