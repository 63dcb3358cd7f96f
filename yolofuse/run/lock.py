"""One run folder, one job: a lock that the kernel lets go of when its owner dies, however it dies."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from yolofuse.errors import RunError

log = logging.getLogger("yolofuse")

LOCK_NAME = ".lock"
_PATIENCE = 5.0  # seconds: the processes of a job that was just killed take a moment to go


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder, which must exist, until the block ends or the process dies.

    Raises:
        RunError: If another process has it.
    """
    path = folder / LOCK_NAME
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    # A forked loader worker would hold the lock for as long as it outlives a killed parent.
    parent = os.getpid()
    os.register_at_fork(after_in_child=lambda: _close_in_child(handle, parent))
    try:
        _acquire(handle, path)
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(_owner()).encode(), 0)
        _held[handle] = parent
        yield
    finally:
        _held.pop(handle, None)
        os.close(handle)


_held: dict[int, int] = {}


def _close_in_child(handle: int, parent: int) -> None:
    if _held.get(handle) == parent:
        del _held[handle]
        os.close(handle)


def is_locked(folder: Path) -> bool:
    """Whether a process of this machine, or of one that shares its locks, is working on a run."""
    try:
        handle = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no locks on this file system
        return False
    finally:
        os.close(handle)
    return False


def _acquire(handle: int, path: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise RunError(
                    f"{path.parent}: another job is working on this run ({_told(handle)}); wait for it or end it, or "
                    "choose another train.run"
                ) from error
            time.sleep(0.1)
        except OSError as error:
            log.warning("warning: %s: this file system has no locks (%s): see that no second job runs", path, error)
            return


def _owner() -> dict[str, str | int]:
    owner: dict[str, str | int] = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    job = os.environ.get("SLURM_JOB_ID")
    return owner | ({"job": job} if job else {})


def _told(handle: int) -> str:
    """Who says to own the lock, in words."""
    try:
        owner = json.loads(os.pread(handle, 4096, 0))
        return ", ".join(f"{key} {str(value)[:100]}" for key, value in owner.items())
    except (ValueError, AttributeError):
        return "which has not said who it is"
