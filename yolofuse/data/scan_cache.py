"""Keep what a scan of a split found, outside the data set and without pickle."""

from __future__ import annotations

import hashlib
import logging
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from yolofuse.data.matching import Matches, stamp
from yolofuse.data.scan import ScanResult
from yolofuse.data.sources import Source
from yolofuse.files import replacing

_FORMAT = 2  # raise it whenever what a scan finds or how it is stored changes
# Whatever an archive with a wrong byte makes the libraries raise: encrypted, of an unknown method, absurdly large, ...
_DAMAGE = (
    *(OSError, ValueError, KeyError, EOFError, IndexError, TypeError, AttributeError, OverflowError, MemoryError),
    *(RuntimeError, SyntaxError, struct.error, zlib.error, zipfile.BadZipFile),
)
_DTYPES = {
    "rgb_hw": np.int32,
    "ir_hw": np.int32,
    "ir_bits": np.uint8,
    "boxes_xywhn": np.float32,
    "class_ids": np.int64,
    "crowd": np.bool_,
    "offsets": np.int64,
    "verified": np.bool_,
    "listed": np.int64,
}
_log = logging.getLogger(__name__)


def default_cache_dir() -> Path:
    """``$YOLOFUSE_CACHE``, or ``yolofuse`` in the user's cache folder."""
    if given := os.environ.get("YOLOFUSE_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "yolofuse"


def signature_of(parts: Iterable[tuple[Source, Matches]]) -> str:
    """A hash over the name, size and time of every file that a split depends on, and over how it is read."""
    digest = hashlib.sha256(f"{_FORMAT}\n".encode())
    for source, matches in parts:
        settings = (source.names, source.class_map, source.frame, source.resize, source.affine, source.ir_window)
        digest.update(repr((source.prefix, *settings)).encode(errors="surrogateescape"))
        for file in source.files():
            digest.update(f"{file.name}\0{stamp(file)}\n".encode(errors="surrogateescape"))
        for column in (matches.keys, matches.rgb, matches.ir, matches.labels):
            digest.update("\n".join(column).encode(errors="surrogateescape") + b"\0")
        digest.update(np.ascontiguousarray(matches.stamps, "<i8").tobytes())
    return digest.hexdigest()


def place_of(sources: Iterable[Source]) -> str:
    """A name for a split's cache file: a hash over where its files are."""
    names = [
        os.fspath(path.resolve())
        for source in sources
        for path in (source.root, source.rgb, source.ir, source.labels, *source.files())
        if path is not None
    ]
    return hashlib.sha256("\0".join(names).encode(errors="surrogateescape")).hexdigest()[:20]


def load_scan(path: Path, signature: str) -> tuple[ScanResult, np.ndarray] | None:
    """The scan kept at ``path`` and the positions that COCO files chose among the matched pairs.

    None if there is no scan, it is of other files, or it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if str(arrays["signature"]) != signature:
                return None
            found = {name: arrays[name].astype(dtype) for name, dtype in _DTYPES.items()}
        listed = found.pop("listed")
        scan = ScanResult(**{**found, "verified": bool(found["verified"])})
        return (scan, listed) if scan.is_consistent(len(listed)) else None
    except FileNotFoundError:
        return None
    except _DAMAGE as error:
        _log.warning("%s: cache can't be used and is made again (%s)", path, error)
        return None


def save_scan(path: Path, signature: str, scan: ScanResult, listed: np.ndarray) -> None:
    """Keep a scan; a cache that can't be written is only worth a warning."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as stream:  # several ranks may write at once: each writes whole files
            columns: dict[str, Any] = {field.name: np.asarray(getattr(scan, field.name)) for field in fields(scan)}
            np.savez(stream, signature=np.array(signature), listed=listed, **columns)
    except OSError as error:
        _log.warning("%s: cache can't be written (%s)", path, error)
