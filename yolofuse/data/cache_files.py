"""Open and lock files of a cache folder that others may write to: links, pipes and devices are refused."""

from __future__ import annotations

import fcntl
import logging
import os
import stat
import time
from pathlib import Path
from typing import BinaryIO

_log = logging.getLogger(__name__)
_TOLD_AFTER_S = 5.0
_LOCK_LIMIT_S = 3600.0  # longer than the largest cache takes to write
_POLL_S = 0.1


def make_cache_dir(folder: Path) -> None:
    """Make a cache folder for its owner only; an existing one stays as it is."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def open_cached(path: Path) -> BinaryIO:
    """Open a cache file for reading.

    Raises:
        OSError: If it is missing, or no regular file: a link, a pipe, a device.
    """
    return os.fdopen(_require_regular(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), path), "rb")


def open_partial(path: Path) -> BinaryIO:
    """Open a file for writing and create it if it is missing; its content is kept.

    Raises:
        OSError: If its name is that of a link, a pipe or a device, whose target is not overwritten.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    return os.fdopen(_require_regular(descriptor, path), "r+b")


def lock_cached(file: BinaryIO, path: Path) -> None:
    """Lock a file of the cache until it is closed; log it if another process holds the lock.

    Raises:
        OSError: If it still does after an hour.
    """
    started, told = time.monotonic(), False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            waited = time.monotonic() - started
        if waited > _LOCK_LIMIT_S:
            raise OSError(f"another process has locked it for {waited / 60:.0f} minutes; fuser {path} names it")
        if waited > _TOLD_AFTER_S and not told:
            _log.warning("%s: another process is writing it or has locked it (fuser names it); waiting", path)
            told = True
        time.sleep(_POLL_S)


def _require_regular(descriptor: int, path: Path) -> int:
    """Return the descriptor of a regular file with one name; close any other and refuse it."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:  # a hard link may share somebody's own file
        os.close(descriptor)
        raise OSError(f"{path} is no plain file; remove it")
    return descriptor
