"""Lock a run's folder for one job, by a kernel lock that is released when its owner dies, even by SIGKILL."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import Timeout, UnixFileLock

from yolofuse.errors import RunError
from yolofuse.files import open_own
from yolofuse.run.records import utc_now

log = logging.getLogger("yolofuse")

LOCK_NAME = ".lock"
_TIMEOUT_S = 5.0  # the processes of a job that was just killed take a moment to exit
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of an existing run folder until the block ends or the process dies.

    On a file system without locks the block runs without one, after a warning.

    Raises:
        RunError: If another process holds it, or the file is none of a run.
    """
    path = folder / LOCK_NAME
    lock = _kernel_lock(path)
    try:  # a folder that somebody sent may have a link or a pipe by that name
        os.close(open_own(path, os.O_RDWR | os.O_CREAT))
    except OSError as error:
        raise RunError(f"{path}: cannot be locked ({error.strerror}); check it, or start a new run") from error
    try:
        lock.acquire(timeout=_TIMEOUT_S, poll_interval=0.1)
    except Timeout as error:
        raise RunError(
            f"{folder}: another job is working on this run ({_describe_owner(path)}); wait for it, stop it, or choose "
            "another train.run"
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        log.warning(
            "warning: %s: this file system has no locks (%s); make sure that no second job uses this run", path, error
        )
    try:
        with os.fdopen(open_own(path, os.O_WRONLY), "w", encoding="utf-8") as stream:
            stream.truncate()
            json.dump(_owner(), stream)
        yield
    finally:
        lock.release()


def is_locked(folder: Path) -> bool:
    """Return whether a process on this machine, or on one that shares its locks, is working on a run."""
    path = folder / LOCK_NAME
    try:
        os.close(open_own(path))
        with _kernel_lock(path).acquire(blocking=False):
            return False
    except Timeout:
        return True
    except OSError:  # none, no permission, no file of a run, or no locks on this file system
        return False


def _kernel_lock(path: Path) -> UnixFileLock:
    """Create the lock; a soft lock, a file that stays when its owner is killed, is no replacement."""
    return UnixFileLock(path, fallback_to_soft=False)


def _owner() -> dict[str, str | int]:
    owner: dict[str, str | int] = {"host": socket.gethostname(), "pid": os.getpid(), "since": utc_now()}
    job = os.environ.get("SLURM_JOB_ID")
    return owner | ({"job": job} if job else {})


def _describe_owner(path: Path) -> str:
    """Format what the lock file says about its owner."""
    try:
        with os.fdopen(open_own(path), "rb") as stream:
            owner = json.loads(stream.read(4096))
        return ", ".join(f"{key} {str(value)[:100]}" for key, value in owner.items())
    except (OSError, ValueError, AttributeError, RecursionError):
        return "owner unknown"
