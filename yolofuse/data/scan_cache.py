"""Keep what a scan of a split found, outside the data set and without pickle."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yolofuse.data.matching import MatchedFiles
from yolofuse.types import FloatArray, IntArray

_FORMAT = 1  # raise it whenever what a scan finds or how it is stored changes
_DAMAGE = (OSError, ValueError, KeyError, EOFError, IndexError, TypeError, AttributeError, zipfile.BadZipFile)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What the files of a split hold, pairs in the order of their keys.

    Attributes:
        sizes_hw: int64 (N, 2), pixels.
        boxes_xywhn: float32 (M, 4), all boxes of all pairs one after another.
        class_ids: int64 (M,).
        offsets: int64 (N + 1,): the boxes of pair i are ``offsets[i]:offsets[i + 1]``.
        verified: Whether every image was decoded.
    """

    sizes_hw: IntArray
    boxes_xywhn: FloatArray
    class_ids: IntArray
    offsets: IntArray
    verified: bool

    def is_consistent(self, num_pairs: int) -> bool:
        """Whether the arrays fit each other and a split of ``num_pairs``."""
        return (
            self.sizes_hw.shape == (num_pairs, 2)
            and self.offsets.shape == (num_pairs + 1,)
            and self.boxes_xywhn.shape == (int(self.offsets[-1]), 4)
            and self.class_ids.shape == (int(self.offsets[-1]),)
        )


def default_cache_dir() -> Path:
    """``$YOLOFUSE_CACHE``, or ``yolofuse`` in the user's cache folder."""
    if given := os.environ.get("YOLOFUSE_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "yolofuse"


def signature_of(pairs: Iterable[MatchedFiles], num_classes: int) -> str:
    """A hash over name, size and time of every file of both modalities and the labels."""
    digest = hashlib.sha256(f"{_FORMAT} {num_classes}\n".encode())
    for pair in pairs:
        for name, size, mtime_ns in pair.stamps():
            digest.update(f"{name}\0{size}\0{mtime_ns}\n".encode())
    return digest.hexdigest()


def load_scan(path: Path, signature: str, num_pairs: int) -> ScanResult | None:
    """The scan kept at ``path``, or None if there is none, it is of other files, or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if str(arrays["signature"]) != signature:
                return None
            scan = ScanResult(
                sizes_hw=arrays["sizes_hw"].astype(np.int64),
                boxes_xywhn=arrays["boxes_xywhn"].astype(np.float32),
                class_ids=arrays["class_ids"].astype(np.int64),
                offsets=arrays["offsets"].astype(np.int64),
                verified=bool(arrays["verified"]),
            )
    except FileNotFoundError:
        return None
    except _DAMAGE as error:
        _log.warning("%s: cache can't be used and is made again (%s)", path, error)
        return None
    return scan if scan.is_consistent(num_pairs) else None


def save_scan(path: Path, signature: str, scan: ScanResult) -> None:
    """Keep a scan; a cache that can't be written is only worth a warning."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as stream:
            np.savez(
                stream,
                signature=np.array(signature),
                sizes_hw=scan.sizes_hw,
                boxes_xywhn=scan.boxes_xywhn,
                class_ids=scan.class_ids,
                offsets=scan.offsets,
                verified=np.array(scan.verified),
            )
        Path(stream.name).replace(path)  # several ranks may write at once: each writes whole files
    except OSError as error:
        _log.warning("%s: cache can't be written (%s)", path, error)
