"""Files of a cache folder, which others may write to: no link in it is followed, and nothing is read without end."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO


def make_cache_dir(folder: Path) -> None:
    """Make a cache folder, for its owner only; one that is there already stays as it is."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def open_cached(path: Path) -> BinaryIO:
    """A cache file, to be read.

    Raises:
        OSError: If it is not there, or no plain file: a link, a pipe, a device.
    """
    return os.fdopen(_plain(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), path), "rb")


def open_partial(path: Path) -> BinaryIO:
    """A file to be filled, made if it is not there; what it holds stays.

    Raises:
        OSError: If a link, a pipe or a device of its name is in the way: what that leads to is not overwritten.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    return os.fdopen(_plain(descriptor, path), "r+b")


def _plain(descriptor: int, path: Path) -> int:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:  # a second name may be that of somebody's own file
        os.close(descriptor)
        raise OSError(f"{path} is no plain file; remove it")
    return descriptor
