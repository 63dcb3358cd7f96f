"""Run work in forked processes, as the ranks of one job or alone: forking saves the import, longer than a tiny run."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from scripts.faults.lab import Job

_SECONDS = 200.0  # until a process that hangs fails its test


@contextmanager
def started_ranks(work: Callable[[int], object], folder: Path) -> Iterator[list[Job]]:
    """Start two ranks of one job; kill what still runs at the end of the block.

    Args:
        work: Gets the rank. An int that it returns is the exit code.
        folder: For the output of both ranks.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    job = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [
        _start(partial(work, rank), folder / f"rank{rank}.log", {**job, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in (0, 1)
    ]
    try:
        yield ranks
    finally:
        for rank in ranks:
            rank.kill()


def run_ranks(work: Callable[[int], object], folder: Path) -> tuple[list[int], str]:
    """Run two ranks of one job to their end; return their exit codes and output."""
    with started_ranks(work, folder) as ranks:
        codes = [_wait(rank) for rank in ranks]
        return codes, "\n".join(rank.output() for rank in ranks)


def run_forked(work: Callable[[], object], folder: Path) -> tuple[int, str]:
    """Run work in a process of its own; return its exit code, negative for a signal, and its output."""
    job = _start(work, folder / "process.log", {})
    try:
        return _wait(job), job.output()
    finally:
        job.kill()


def _start(work: Callable[[], object], log: Path, environment: dict[str, str]) -> Job:
    log.unlink(missing_ok=True)
    return Job(work, log, environment)


def _wait(job: Job) -> int:
    """Wait for the end of a process; one that hangs fails the test, whatever exit code it expects."""
    code = job.wait(_SECONDS)
    if code is None:
        pytest.fail(f"still running after {_SECONDS:.0f} s:\n{job.output()}")
    return code
