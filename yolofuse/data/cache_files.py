"""Open and lock files of a cache folder that others may write to: links, pipes and devices are refused."""

from __future__ import annotations

import fcntl
import logging
import math
import os
import time
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

from yolofuse.files import open_own

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
        OSError: If it is missing, or no regular file with one name: a link, a pipe, a device.
    """
    return os.fdopen(open_own(path), "rb")


def check_arrays(archive: zipfile.ZipFile) -> None:
    """Check that the arrays of an ``.npz`` are as large as they claim, before memory is allocated for them.

    Raises:
        ValueError: If one is compressed, or its shape needs more bytes than the file holds.
    """
    for entry in archive.infolist():
        if entry.compress_type != zipfile.ZIP_STORED:
            raise ValueError("compressed, so not written by yolofuse")  # and may expand a thousandfold
        with archive.open(entry) as stream:
            is_first = np.lib.format.read_magic(stream) == (1, 0)
            read_header = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
            shape, _, dtype = read_header(stream)
        if math.prod(shape) * max(dtype.itemsize, 1) > entry.file_size:
            raise ValueError(f"{entry.filename} claims {math.prod(shape):.3g} values")


def open_partial(path: Path) -> BinaryIO:
    """Open a file for writing and create it if it is missing; its content is kept.

    Raises:
        OSError: If its name is that of a link, a pipe or a device, whose target is not overwritten.
    """
    return os.fdopen(open_own(path, os.O_RDWR | os.O_CREAT), "r+b")


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
