"""Keep what a scan of a split found, outside the data set and without pickle."""

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

from yolofuse.data.cache_files import make_cache_dir, open_cached
from yolofuse.data.descriptor.source import Source
from yolofuse.data.index.match_files import Matches, stamp
from yolofuse.data.index.scan_result import ScanResult
from yolofuse.data.strict_json import parse_json
from yolofuse.files import replacing
from yolofuse.types import IntArray

_FORMAT = 3  # raise it whenever what a scan finds or how it is stored changes
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
        root = os.path.realpath(source.root)  # copies may have the same names, sizes and times
        digest.update(repr((root, source.prefix, *settings)).encode(errors="surrogateescape"))
        for file in source.files():
            digest.update(f"{file.name}\0{stamp(file)}\n".encode(errors="surrogateescape"))
        for column in (matches.keys, matches.rgb, matches.ir, matches.labels):
            digest.update("\n".join(column).encode(errors="surrogateescape") + b"\0")
        digest.update(np.ascontiguousarray(matches.stamps, "<i8").tobytes())
    return digest.hexdigest()


def place_of(sources: Sequence[Source]) -> str:
    """A name for a split's cache file: a hash over where its files are."""
    names = [
        os.fspath(path.resolve())
        for source in sources
        for path in (source.root, source.rgb, source.ir, source.labels, *source.files())
        if path is not None
    ]
    names += [source.manifest_split or "" for source in sources]  # one manifest may serve all splits
    return hashlib.sha256("\0".join(names).encode(errors="surrogateescape")).hexdigest()[:20]


class KeptScan(NamedTuple):
    """A scan from the cache.

    Attributes:
        result: What was found.
        listed: Positions that COCO files chose among the matched pairs.
        warnings: What was warned of; it is still true.
    """

    result: ScanResult
    listed: IntArray
    warnings: list[str]

    def fits(self, num_pairs: int, num_classes: int) -> bool:
        """Whether a scan of so many matching pairs and classes can have found it."""
        inside = (self.listed >= 0) & (self.listed < num_pairs)
        return bool(inside.all() and (np.diff(self.listed) > 0).all() and self.result.is_plausible(num_classes))


def load_scan(path: Path, signature: str) -> KeptScan | None:
    """The scan kept at ``path``; None if there is none, it is of other files, or it is damaged."""
    try:
        with open_cached(path) as file, np.load(file, allow_pickle=False) as arrays:
            _refuse_packed(arrays.zip)
            if str(arrays["signature"]) != signature:
                return None
            warnings = [str(text) for text in parse_json(str(arrays["warnings"]))]
            found = {name: arrays[name].astype(dtype) for name, dtype in _DTYPES.items()}
        listed = found.pop("listed")
        scan = ScanResult(**{**found, "verified": bool(found["verified"])})
        if not scan.is_consistent(len(listed)):
            raise ValueError("its columns do not fit each other")
        return KeptScan(scan, listed, warnings)
    except FileNotFoundError:
        return None
    except _DAMAGE as error:
        _log.warning("%s: cache can't be used and is made again (%s)", path, error)
        return None


def _refuse_packed(archive: zipfile.ZipFile) -> None:
    """Ours is stored as it is; one that was packed may become a thousand times larger. Raises ValueError."""
    if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
        raise ValueError("compressed, so not ours")


def save_scan(path: Path, signature: str, kept: KeptScan) -> None:
    """Keep a scan; a cache that can't be written is only worth a warning."""
    try:
        make_cache_dir(path.parent)
        with replacing(path) as stream:  # several ranks may write at once: each writes whole files
            columns: dict[str, Any] = {f.name: np.asarray(getattr(kept.result, f.name)) for f in fields(kept.result)}
            warnings = np.array(json.dumps(kept.warnings))
            np.savez(stream, signature=np.array(signature), listed=kept.listed, warnings=warnings, **columns)
    except OSError as error:
        _log.warning("%s: cache can't be written (%s)", path, error)
