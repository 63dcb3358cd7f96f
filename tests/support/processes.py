"""Run work in forked processes, as the ranks of one job or alone: forking saves the import, longer than a tiny run."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.faults.lab import Job

_SECONDS = 200.0  # until a process that hangs fails its test


@contextmanager
def started_ranks(work: Callable[[int], object], folder: Path, **environment: str) -> Iterator[list[Job]]:
    """Start two ranks of one job; kill what still runs at the end of the block.

    Args:
        work: Gets the rank. An int that it returns is the exit code.
        folder: For the output of both ranks.
        environment: Additional variables of both ranks.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    job = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), **environment}
    ranks = [_start(_call(work, rank), folder / f"rank{rank}.log", {**job, **_names(rank)}) for rank in (0, 1)]
    try:
        yield ranks
    finally:
        for rank in ranks:
            rank.kill()


def run_ranks(work: Callable[[int], object], folder: Path, **environment: str) -> tuple[list[int | None], str]:
    """Run two ranks of one job to their end; return their exit codes and output."""
    with started_ranks(work, folder, **environment) as ranks:
        codes = [rank.wait(_SECONDS) for rank in ranks]
        return codes, "\n".join(rank.output() for rank in ranks)


def run_forked(work: Callable[[], object], folder: Path) -> tuple[int | None, str]:
    """Run work in a process of its own; return its exit code, negative for a signal, and its output."""
    job = _start(work, folder / "process.log", {})
    try:
        return job.wait(_SECONDS), job.output()
    finally:
        job.kill()


def _names(rank: int) -> dict[str, str]:
    return {"RANK": str(rank), "LOCAL_RANK": str(rank)}


def _call(work: Callable[[int], object], rank: int) -> Callable[[], object]:
    return lambda: work(rank)


def _start(work: Callable[[], object], log: Path, environment: dict[str, str]) -> Job:
    log.unlink(missing_ok=True)
    return Job(work, log, environment)
