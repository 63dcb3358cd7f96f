"""Alternate between training loops: each runs in its own process and makes steps only during its turn.

A busy machine then slows all loops equally, and what one loop leaves in its process, such as a cache or a thread pool,
does not affect another. The parent and a worker exchange lines: the parent sends ``go`` or ``quit``; the worker
answers each ``go``, and its start, with one line of JSON.
"""

from __future__ import annotations

import json
import os
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

from scripts.benchmarks.measure import peak_mib, synchronize
from scripts.paths import REPO

_QUIT_TIMEOUT_S = 60.0


@dataclass
class Turns:
    """Time a worker's turns: called after each step, it measures a turn, sends the answer and waits for the next.

    An epoch is one turn, so that work between epochs is not timed: first untimed steps that settle the loader's queue
    and the allocator, then the timed ones. The first epoch warms up.

    Attributes:
        device: Device of the loop.
        settle: Untimed steps at the start of a turn.
        steps: Timed steps of a turn.
        answers: Stream to the parent.
        bare_step: Computes the same step without a loop around it; timed as well.
        facts: Called once when the worker is ready; the first answer.
        data_s: Seconds that the loop has waited for data so far; the worker adds to it.
        parts: Seconds by part of the step so far; the worker adds to it.
    """

    device: torch.device
    settle: int
    steps: int
    answers: TextIO
    bare_step: Callable[[], None] | None = None
    facts: Callable[[], dict[str, Any]] = dict
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
        """Record the end of a step; call this after each step of the loop.

        Raises:
            SystemExit: When the parent sends ``quit``.
        """
        on_cpu = self.device.type == "cpu"
        self._number += 1
        if on_cpu or self._number in {self.settle, self.settle + self.steps}:
            synchronize(self.device)
        if self._number > self.settle:
            step_s = time.perf_counter() - self._resumed
            self._loop.append(step_s)
            self._computing.append(step_s - (self.data_s - self._data_before))
            if on_cpu:  # right after the step, so that both see the same load of the machine
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
        if self.bare_step is None:
            return 0.0
        synchronize(self.device)
        started = time.perf_counter()
        for _ in range(count):
            self.bare_step()
        synchronize(self.device)
        return time.perf_counter() - started

    def _answer(self) -> None:
        # On the CPU every step is timed separately, so that the median ignores disturbed ones.
        typical = statistics.median if self.device.type == "cpu" else statistics.mean
        answer: dict[str, Any] = {
            "step_ms": 1000 * statistics.mean(self._loop),
            "data_ms": 1000 * self.data_s / self.steps,
            "computing_ms": 1000 * typical(self._computing),
            "bare_ms": 1000 * typical(self._bare),
            "parts_ms": {name: 1000 * seconds / self.steps for name, seconds in self.parts.items()},
            "peak_mib": peak_mib(self.device),
        }
        if not self._is_ready:
            answer, self._is_ready = self.facts(), True
        print(json.dumps(answer), file=self.answers, flush=True)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # for the loop that runs next
        if sys.stdin.readline().strip() != "go":
            raise SystemExit(0)
        self._number = 0


def take_stdout() -> TextIO:
    """Return a stream to the parent, and redirect everything else that this process prints to stderr."""
    stream = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return stream


class Worker:
    """Control the process of one loop from the parent.

    Attributes:
        name: For messages.
        facts: The worker's first answer.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path, threads: int) -> None:
        """Start the process and wait until it is ready.

        Args:
            name: For messages.
            command: Arguments of Python: what to run.
            log: File for stderr.
            threads: Threads of torch and OpenMP.

        Raises:
            SystemExit: If it fails; the message has the end of its log.
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
                cwd=REPO,
                env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            )
        self.facts = self._read_answer()

    def turn(self) -> dict[str, Any]:
        """Run one turn; return its measurements."""
        self._send("go")
        return self._read_answer()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._send("quit")
        try:
            self._process.wait(_QUIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, command: str) -> None:
        assert self._process.stdin is not None
        try:
            print(command, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            self._process.wait()  # _read_answer reports why it ended

    def _read_answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            tail = self._log.read_text(errors="replace")[-3000:]
            raise SystemExit(f"{self.name} ended with code {self._process.wait()}:\n{tail}")
        answer: dict[str, Any] = json.loads(line)
        return answer
