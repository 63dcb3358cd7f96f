"""Open files of a cache folder that others may write to: links, pipes and devices are refused."""

from __future__ import annotations

import math
import os
import stat
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np


def make_cache_dir(folder: Path) -> None:
    """Make a cache folder for its owner only; an existing one stays as it is."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def open_cached(path: Path) -> BinaryIO:
    """Open a cache file for reading.

    Raises:
        OSError: If it is missing, or no regular file: a link, a pipe, a device.
    """
    return os.fdopen(_require_regular(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), path), "rb")


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
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    return os.fdopen(_require_regular(descriptor, path), "r+b")


def _require_regular(descriptor: int, path: Path) -> int:
    """Return the descriptor of a regular file with one name; close any other and refuse it."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:  # a hard link may share somebody's own file
        os.close(descriptor)
        raise OSError(f"{path} is no plain file; remove it")
    return descriptor
