"""Open files of a cache folder that others may write to: links, pipes and devices are refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from yolofuse.files import open_own


def make_cache_dir(folder: Path) -> None:
    """Make a cache folder for its owner only; an existing one stays as it is."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def open_cached(path: Path) -> BinaryIO:
    """Open a cache file for reading.

    Raises:
        OSError: If it is missing, or no regular file with one name: a link, a pipe, a device.
    """
    return os.fdopen(open_own(path), "rb")


def open_partial(path: Path) -> BinaryIO:
    """Open a file for writing and create it if it is missing; its content is kept.

    Raises:
        OSError: If its name is that of a link, a pipe or a device, whose target is not overwritten.
    """
    return os.fdopen(open_own(path, os.O_RDWR | os.O_CREAT), "r+b")
