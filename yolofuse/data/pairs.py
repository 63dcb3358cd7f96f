"""Match and check a whole split before epoch 0, so that a lonely or broken image can't stop epoch 37."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

import numpy as np
from tqdm import tqdm

from yolofuse.data.descriptor import DatasetDescriptor, SplitFolders
from yolofuse.data.image_io import inspect_image, strict_decoding
from yolofuse.data.labels import LabelFile, read_labels
from yolofuse.data.matching import MatchedFiles, match_files
from yolofuse.data.scan_cache import ScanResult, default_cache_dir, load_scan, save_scan, signature_of
from yolofuse.data.tags import load_tags
from yolofuse.errors import DataError, listing
from yolofuse.types import FloatArray, IntArray, PairRecord

_log = logging.getLogger(__name__)
_MAX_WARNED = 5


@dataclass(frozen=True, slots=True)
class PairSet:
    """All pairs of one split, checked.

    Boxes are one flat array, so that a hundred thousand images cost no hundred thousand small objects.

    Attributes:
        names: Class names.
        records: One per pair, sorted by key.
        scan: Sizes and boxes of all pairs.
        fingerprint: The data hash of reports: SHA-256 over keys, sizes and label contents, not over file times.
    """

    names: tuple[str, ...]
    records: Sequence[PairRecord]
    scan: ScanResult = field(repr=False)
    fingerprint: str

    def __len__(self) -> int:
        return len(self.records)

    def labels(self, index: int) -> tuple[FloatArray, IntArray]:
        """Boxes (N, 4) as ``xywhn`` and class ids (N,) of one pair: views, not to be written to."""
        span = slice(self.scan.offsets[index], self.scan.offsets[index + 1])
        return self.scan.boxes_xywhn[span], self.scan.class_ids[span]

    @property
    def num_backgrounds(self) -> int:
        """Pairs without a box."""
        return int((np.diff(self.scan.offsets) == 0).sum())


def load_pairs(
    descriptor: DatasetDescriptor,
    split: str,
    *,
    cache_dir: Path | None = None,
    verify: bool = True,
    workers: int = 2,
) -> PairSet:
    """Every pair of a split, matched by relative path and stem, with sizes and labels checked.

    Args:
        descriptor: The data set.
        split: Name of one of its splits.
        cache_dir: Folder for what the scan found. None: the user's cache folder; never the data set's.
        verify: Decode every image once.
        workers: Threads that read files; at least one is used.

    Raises:
        DataError: With every problem of the split at once.
    """
    if split not in descriptor.splits:
        raise DataError(f"{descriptor.path}: no split {split!r}; it has {', '.join(descriptor.splits)}")
    where = f"{descriptor.path} [{split}]"
    folders = descriptor.splits[split]
    pairs, problems = match_files(folders)
    if problems:
        _, of_files = _examine_all(pairs, len(descriptor.names), verify=verify, workers=workers, where=where)
        raise DataError(listing(where, problems + of_files))
    keys = [pair.key for pair in pairs]
    tags = load_tags(descriptor.tags, keys) if descriptor.tags else [{}] * len(pairs)

    cache = (cache_dir or default_cache_dir()) / f"pairs-{_folder_hash(folders)}.npz"
    signature = signature_of(pairs, len(descriptor.names))
    scan = load_scan(cache, signature, len(pairs))
    if scan is None or (verify and not scan.verified):
        scan = _scan(pairs, len(descriptor.names), verify=verify, workers=workers, where=where)
        save_scan(cache, signature, scan)

    records = _records(pairs, scan, tags)
    pair_set = PairSet(descriptor.names, records, scan, _fingerprint(keys, scan))
    counts = (len(pair_set), len(scan.class_ids), pair_set.num_backgrounds)
    _log.info("%s: %d pairs, %d boxes, %d backgrounds", where, *counts)
    return pair_set


def _examine_all(
    pairs: Sequence[MatchedFiles], num_classes: int, *, verify: bool, workers: int, where: str
) -> tuple[list[tuple[tuple[int, int], LabelFile]], list[str]]:
    """Sizes and labels of all pairs, and every problem among them."""
    # Threads, not processes: decoders release the GIL, and nothing has to be sent back and forth.
    with strict_decoding(), ThreadPoolExecutor(max(workers, 1)) as pool:
        examined = pool.map(_examine, pairs, repeat(num_classes), repeat(verify))
        # disable=None: silent when stderr is no terminal
        found = list(tqdm(examined, desc=f"checking {where}", total=len(pairs), unit="pair", delay=3, disable=None))
    return found, [problem for _, label in found for problem in label.problems]


def _scan(pairs: Sequence[MatchedFiles], num_classes: int, *, verify: bool, workers: int, where: str) -> ScanResult:
    found, problems = _examine_all(pairs, num_classes, verify=verify, workers=workers, where=where)
    if problems:
        raise DataError(listing(where, problems))
    warnings = [warning for _, label in found for warning in label.warnings]
    for warning in warnings[:_MAX_WARNED]:
        _log.warning(warning)
    if len(warnings) > _MAX_WARNED:
        _log.warning("%s: ... and %d more warnings", where, len(warnings) - _MAX_WARNED)
    boxes = [box for _, label in found for box in label.boxes_xywhn]
    return ScanResult(
        sizes_hw=np.array([size_hw for size_hw, _ in found], dtype=np.int64),
        boxes_xywhn=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        class_ids=np.array([class_id for _, label in found for class_id in label.class_ids], dtype=np.int64),
        offsets=np.cumsum([0, *(len(label.class_ids) for _, label in found)], dtype=np.int64),
        verified=verify,
    )


def _examine(pair: MatchedFiles, num_classes: int, verify: bool) -> tuple[tuple[int, int], LabelFile]:
    """Size and labels of one pair; what is wrong with its images is put among the label file's problems."""
    label = read_labels(pair.label.path, num_classes) if pair.label else LabelFile()
    sizes: list[tuple[int, int]] = []
    for stamp in (pair.rgb, pair.ir):
        try:
            sizes.append(inspect_image(stamp.path, verify))
        except DataError as error:
            label.problems.append(str(error))
    if len(sizes) == 2 and sizes[0] != sizes[1]:
        (rgb_h, rgb_w), (ir_h, ir_w) = sizes
        label.problems.append(
            f"{pair.key}: sizes differ: rgb {rgb_w}x{rgb_h}, ir {ir_w}x{ir_h}; register the pair to one size first"
        )
    return (sizes[0] if sizes else (0, 0)), label


def _records(pairs: Sequence[MatchedFiles], scan: ScanResult, tags: Sequence[Mapping[str, str]]) -> list[PairRecord]:
    return [
        PairRecord(
            image_id=number,
            key=pair.key,
            rgb=pair.rgb.path,
            ir=pair.ir.path,
            label=pair.label.path if pair.label else None,
            size_hw=(int(height), int(width)),
            tags=words,
        )
        for number, (pair, (height, width), words) in enumerate(zip(pairs, scan.sizes_hw, tags, strict=True), start=1)
    ]


def _folder_hash(folders: SplitFolders) -> str:
    names = "\0".join(os.fspath(folder.resolve()) for folder in (folders.rgb, folders.ir, folders.labels))
    return hashlib.sha256(names.encode()).hexdigest()[:20]


def _fingerprint(keys: Sequence[str], scan: ScanResult) -> str:
    digest = hashlib.sha256("\n".join(keys).encode())
    # Fixed byte order: the hash is compared between machines.
    for array, layout in ((scan.sizes_hw, "<i8"), (scan.offsets, "<i8"), (scan.class_ids, "<i8")):
        digest.update(array.astype(layout).tobytes())
    digest.update(scan.boxes_xywhn.astype("<f4").tobytes())
    return digest.hexdigest()
