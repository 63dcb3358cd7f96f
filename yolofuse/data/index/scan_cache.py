"""Cache the scan of a split, outside the data set and without pickle."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from yolofuse.data.cache_files import check_arrays, make_cache_dir, open_cached
from yolofuse.data.descriptor.source import Source
from yolofuse.data.index.matches import Matches, stamp_of
from yolofuse.data.index.scan_result import ScanResult
from yolofuse.data.strict_json import parse_json
from yolofuse.files import replacing, user_cache_dir
from yolofuse.types import IntArray

_FORMAT = 8  # increase it when the content of a scan, its storage, or what verifying finds changes
# All that libraries raise for an archive with a wrong byte: encrypted, of an unknown method, absurdly large, ...
_DAMAGE = (
    *(OSError, ValueError, KeyError, EOFError, IndexError, TypeError, AttributeError, OverflowError, MemoryError),
    *(RuntimeError, SyntaxError, struct.error, zlib.error, zipfile.BadZipFile),
)
_DTYPES = {
    "rgb_hw": np.int32,
    "ir_hw": np.int32,
    "ir_bits": np.uint8,
    "orientation": np.uint8,
    "boxes_xywhn": np.float32,
    "class_ids": np.int64,
    "crowd": np.bool_,
    "offsets": np.int64,
    "content": np.uint64,
    "verified": np.bool_,
    "listed": np.int64,
}
_log = logging.getLogger(__name__)


def default_cache_dir() -> Path:
    """Return ``$YOLOFUSE_CACHE``, or ``yolofuse`` in the user's cache folder."""
    if given := os.environ.get("YOLOFUSE_CACHE"):
        return Path(given)
    return user_cache_dir()


def files_signature(parts: Iterable[tuple[Source, Matches]]) -> str:
    """Return a hash over name and stamp of every file that a split depends on, and over how it is read."""
    digest = hashlib.sha256(f"{_FORMAT}\n".encode())
    for source, matches in parts:
        read_by = (source.frame, source.resize, source.affine, source.ir_window, source.orientation)
        settings = (source.names, source.class_map, *read_by)
        root = os.path.realpath(source.root)  # copies may have the same names, sizes and times
        more = (*("stacked",) * source.stacked, *source.manifest_rows)  # signatures of other sources stay as they were
        digest.update(repr((root, source.prefix, *settings, *more)).encode(errors="surrogateescape"))
        for file in source.files():
            digest.update(f"{file.name}\0{stamp_of(file)}\n".encode(errors="surrogateescape"))
        for column in (matches.keys, matches.rgb, matches.ir, matches.labels):
            digest.update("\n".join(column).encode(errors="surrogateescape") + b"\0")
        digest.update(np.ascontiguousarray(matches.stamps, "<i8").tobytes())
    return digest.hexdigest()


def cache_name(sources: Sequence[Source]) -> str:
    """Return the name of a split's cache file: a hash over the paths of its files."""
    names = [
        os.fspath(path.resolve())
        for source in sources
        for path in (source.root, source.rgb, source.ir, source.labels, *source.files())
        if path is not None
    ]
    names += [source.manifest_split or "" for source in sources]  # all splits may share one manifest
    names += [pattern for source in sources for pattern in source.patterns if pattern]
    return hashlib.sha256("\0".join(names).encode(errors="surrogateescape")).hexdigest()[:20]


class CachedScan(NamedTuple):
    """A scan from the cache."""

    result: ScanResult
    listed: IntArray  # positions of the pairs that COCO files list, among the matched pairs
    warnings: list[str]  # to be logged again

    def fits(self, num_pairs: int, num_classes: int) -> bool:
        """Return whether a scan of so many matched pairs and classes can have produced it."""
        inside = (self.listed >= 0) & (self.listed < num_pairs)
        return bool(inside.all() and (np.diff(self.listed) > 0).all() and self.result.is_plausible(num_classes))


def load_scan(path: Path, signature: str) -> CachedScan | None:
    """Load the scan at ``path``; None if there is none, it is of other files, or it is damaged."""
    try:
        with open_cached(path) as file, np.load(file, allow_pickle=False) as arrays:
            check_arrays(arrays.zip)
            if str(arrays["signature"]) != signature:
                return None
            warnings = [str(text) for text in parse_json(str(arrays["warnings"]))]
            found = {name: arrays[name].astype(dtype) for name, dtype in _DTYPES.items()}
        listed = found.pop("listed")
        scan = ScanResult(**{**found, "verified": bool(found["verified"])})
        if not scan.is_consistent(len(listed)):
            raise ValueError("its columns do not fit each other")
        return CachedScan(scan, listed, warnings)
    except FileNotFoundError:
        return None
    except _DAMAGE as error:
        _log.warning("%s: cache can't be used and is rebuilt (%s)", path, error)
        return None


def save_scan(path: Path, signature: str, kept: CachedScan) -> None:
    """Save a scan; a cache that can't be written is only a warning."""
    try:
        make_cache_dir(path.parent)
        with replacing(path) as stream:  # several ranks may write at once: each writes whole files
            columns: dict[str, Any] = {f.name: np.asarray(getattr(kept.result, f.name)) for f in fields(kept.result)}
            warnings = np.array(json.dumps(kept.warnings))
            np.savez(stream, signature=np.array(signature), listed=kept.listed, warnings=warnings, **columns)
    except OSError as error:
        _log.warning("%s: cache can't be written (%s)", path, error)
