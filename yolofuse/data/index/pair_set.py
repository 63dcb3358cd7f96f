"""Load all pairs of a split: matched and checked before epoch 0, so that no broken image stops epoch 37."""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from yolofuse.data.descriptor.source import DatasetDescriptor, Source
from yolofuse.data.index.border import describe_border
from yolofuse.data.index.manifest import tag_codes
from yolofuse.data.index.name_patterns import find_crossed_folders
from yolofuse.data.index.pair_table import PairTable, TextColumn, WindowBits
from yolofuse.data.index.scan import Parts, listed_pairs, match_source, scan_split
from yolofuse.data.index.scan_cache import (
    CachedScan,
    cache_name,
    default_cache_dir,
    files_signature,
    load_scan,
    save_scan,
)
from yolofuse.data.index.scan_result import ScanResult
from yolofuse.data.index.shared_labels import find_shared_labels
from yolofuse.data.index.tags import load_tags
from yolofuse.data.index.thermal_window import find_shallow, percentile_window
from yolofuse.data.pair_formats import Overlay
from yolofuse.data.problems import Problem
from yolofuse.errors import DataError, listing, plural
from yolofuse.types import FloatArray, IntArray, Modality, PairFormat, PairRecord

_log = logging.getLogger(__name__)
_MAX_WARNED = 5
_MAX_OVERLAYS = 1000
_NO_TAGS: Mapping[str, str] = {}
Windows = Mapping[str, tuple[float, float]]
"""Thermal windows computed from percentiles, by ``IrWindow.name``."""


@dataclass(frozen=True, slots=True)
class PairSet:
    """All pairs of one split, checked.

    Boxes are one flat array and records a table: 100,000 images would otherwise be millions of small objects.
    """

    names: tuple[str, ...]  # of the classes
    records: Sequence[PairRecord]  # one per pair, in the order of sources and keys
    sizes_hw: IntArray = field(repr=False)  # int32 (N, 2): height and width of each pair's frame in pixels
    scan: ScanResult = field(repr=False)  # sizes and boxes of all pairs
    fingerprint: str  # the data hash of reports: SHA-256 over keys, sizes and label contents, not over file times
    ir_windows: Windows = field(default_factory=dict)  # those that were computed; a checkpoint stores them
    content_hash: str = ""  # SHA-256 over the bytes of all images; empty unless they were verified
    files_hash: str = ""  # over names and stamps of the files; caches of their pixels are named by it
    num_missing: Mapping[Modality, int] = field(default_factory=dict)  # pairs without an image, by camera; empty: none
    formats: tuple[PairFormat, ...] = ()  # without repetition
    window_bits: WindowBits = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def keys(self) -> list[str]:
        """Names of the pairs, without making their records."""
        records = self.records
        return [*records.keys] if isinstance(records, PairTable) else [record.key for record in records]

    @property
    def overlays(self) -> list[Overlay]:
        """How the images of its pairs lie on each other, each way once; empty if there are too many ways to keep."""
        if not isinstance(self.records, PairTable):
            return []
        found = self.records.overlays()
        return found if len(found) <= _MAX_OVERLAYS else []

    def size_hw(self, index: int) -> tuple[int, int]:
        """Return height and width of a pair's frame in pixels, without making its record."""
        height, width = self.sizes_hw[index].tolist()
        return height, width

    def labels(self, index: int) -> tuple[FloatArray, IntArray]:
        """Return the boxes to detect in one pair, (N, 4) as ``xywhn``, and their class ids (N,); views, read-only."""
        return self._boxes(index, crowd=False)

    def ignored(self, index: int) -> tuple[FloatArray, IntArray]:
        """Return the regions to ignore in one pair, (N, 4) as ``xywhn``, and their class ids (N,)."""
        return self._boxes(index, crowd=True)

    def _boxes(self, index: int, *, crowd: bool) -> tuple[FloatArray, IntArray]:
        span = slice(self.scan.offsets[index], self.scan.offsets[index + 1])
        boxes_xywhn, class_ids, is_crowd = self.scan.boxes_xywhn[span], self.scan.class_ids[span], self.scan.crowd[span]
        if not crowd and not is_crowd.any():
            return boxes_xywhn, class_ids
        kept = is_crowd == crowd
        return boxes_xywhn[kept], class_ids[kept]

    @property
    def num_boxes(self) -> int:
        """Number of boxes to detect, without regions to ignore."""
        return int((~self.scan.crowd).sum())

    @property
    def num_backgrounds(self) -> int:
        """Number of pairs without a box to detect."""
        return len(self) - len(np.unique(self.class_counts()[0]))

    def class_counts(self) -> tuple[IntArray, IntArray, IntArray]:
        """Count the boxes to detect by pair and class: positions, class ids and counts (M,), none of them 0."""
        kept = ~self.scan.crowd
        of_pair = np.repeat(np.arange(len(self)), np.diff(self.scan.offsets))[kept]
        keys, counts = np.unique(of_pair * len(self.names) + self.scan.class_ids[kept], return_counts=True)
        return keys // len(self.names), keys % len(self.names), counts


def load_pairs(
    descriptor: DatasetDescriptor,
    split: str,
    *,
    cache_dir: Path | None = None,
    verify: bool = True,
    workers: int = 2,
    ir_windows: Windows | None = None,
    allow_missing: bool = False,
    needs: Modality | None = None,
) -> PairSet:
    """Load all pairs of a split, with sizes, bit depths and labels checked.

    Args:
        descriptor: The data set.
        split: Name of one of its splits.
        cache_dir: Folder for the scan cache. None: the user's cache folder; never the data set's.
        verify: Decode every image once.
        workers: Threads that read files; at least one is used.
        ir_windows: Windows that need not be computed, for instance those of a checkpoint.
        allow_missing: Keep pairs without one of the images, for which black stands.
        needs: A camera without whose image a pair is left out even then.

    Raises:
        DataError: With every problem of the split at once.
    """
    where = f"{descriptor.path} [{split}]"
    parts = match_split(descriptor, split, allow_missing=allow_missing)
    if needs is not None:
        parts = _with_image(parts, needs, where)
    cache_dir = cache_dir or default_cache_dir()
    cache = cache_dir / f"pairs-{cache_name([source for source, _ in parts])}.npz"
    signature = files_signature(parts)
    kept = None if any(matches.problems for _, matches in parts) else load_scan(cache, signature)
    if kept is not None and not kept.fits(sum(len(matches) for _, matches in parts), len(descriptor.names)):
        _log.warning("%s: cache can't be used and is rebuilt (implausible values)", cache)
        kept = None
    if kept is None or (verify and not kept.result.verified):
        scan = scan_split(parts, verify=verify, workers=workers, where=where)
        if scan.problems:
            raise DataError(listing(where, [*map(str, scan.problems)]))
        kept = CachedScan(scan.result, scan.listed, [*map(str, scan.warnings)])
        save_scan(cache, signature, kept)
    _log_warnings(kept.warnings, where)
    result, chosen = kept.result, select_pairs(parts, kept.listed)
    tags, tag_problems = collect_tags(chosen)
    if tag_problems:
        raise DataError(listing(where, [*map(str, tag_problems)]))
    windows = compute_windows(chosen, cache_dir, ir_windows or {})
    pair_set = build_pair_set(descriptor.names, chosen, result, tags, windows)
    if shallow := find_shallow(pair_set.window_bits):
        raise DataError(listing(where, [*map(str, shallow)]))
    if over_border := describe_border(result, pair_set.sizes_hw):
        _log.warning("warning: %s: %s", where, over_border)
    counts = {"pair": len(pair_set), "box": pair_set.num_boxes, "background": pair_set.num_backgrounds}
    _log.info("%s: %s", where, ", ".join(plural(count, noun) for noun, count in counts.items()))
    if missing := pair_set.num_missing:
        numbers = (plural(missing["rgb"], "pair"), missing["ir"])
        _log.warning("%s: black stands for %s without a visible and %d without a thermal image", where, *numbers)
    return pair_set


def match_split(descriptor: DatasetDescriptor, split: str, *, allow_missing: bool = False) -> Parts:
    """Return the sources of a split, each with its matched pairs.

    Raises:
        DataError: If there is no such split, or a manifest or list can't be read at all.
    """
    if split not in descriptor.splits:
        raise DataError(f"{descriptor.path}: no split {split!r}; it has {', '.join(descriptor.splits)}")
    splits = descriptor.splits
    if allow_missing:
        splits = {name: tuple(map(_allow_missing, sources)) for name, sources in splits.items()}
    parts = [(source, match_source(source)) for source in splits[split]]
    sources = [*itertools.chain.from_iterable(splits.values())]
    for source, matches in parts:
        matches.problems += find_crossed_folders(source, sources)
    if shared := find_shared_labels(parts, sources, match_source):
        parts[0][1].problems += shared
    return parts


def _allow_missing(source: Source) -> Source:
    return replace(source, allow_missing=True, window_sources=tuple(map(_allow_missing, source.window_sources)))


def _with_image(parts: Parts, modality: Modality, where: str) -> Parts:
    """Return the pairs that have an image of a camera, and tell how many have not."""
    have = np.concatenate([matches.has(modality) for _, matches in parts])
    if not have.all():
        _log.warning("%s: left out: %s", where, plural(int((~have).sum()), "pair", f"without an {modality} image"))
    return select_pairs(parts, np.flatnonzero(have))


def select_pairs(parts: Parts, positions: IntArray) -> Parts:
    """Return the pairs at positions that are counted over all sources."""
    bounds = np.cumsum([0, *(len(matches) for _, matches in parts)])
    return [
        (source, matches.only((positions[(positions >= a) & (positions < b)] - a).tolist()))
        for (source, matches), (a, b) in zip(parts, itertools.pairwise(bounds), strict=True)
    ]


def _log_warnings(warnings: Sequence[str], where: str) -> None:
    for warning in warnings[:_MAX_WARNED]:
        _log.warning("%s", warning)
    if len(warnings) > _MAX_WARNED:
        _log.warning("%s: ... and %d more", where, len(warnings) - _MAX_WARNED)


def collect_tags(parts: Parts) -> tuple[list[Mapping[str, str]], list[Problem]]:
    """Return the tags of all pairs of a split, from manifests and tag files, and the problems of those files."""
    tags: list[Mapping[str, str]] = []
    problems: list[Problem] = []
    for source, matches in parts:
        found: Sequence[Mapping[str, str]] = matches.tags or [_NO_TAGS] * len(matches)
        if source.tags is not None:
            from_file, file_problems = load_tags(source.tags, matches.keys)
            problems += file_problems
            found = [{**one, **two} for one, two in zip(found, from_file, strict=True)] if matches.tags else from_file
        tags += found
    return tags, problems


def compute_windows(parts: Parts, cache_dir: Path, known: Windows) -> dict[str, tuple[float, float]]:
    """Return the thermal window of each source that defines it by percentiles, unless ``known`` has it.

    Raises:
        DataError: If an image can't be read, or all pixels are equal.
    """
    windows: dict[str, tuple[float, float]] = {}
    matched = {source.where: matches for source, matches in parts}
    for source, _ in parts:
        window = source.ir_window
        if window is None or window.percentile_of is None or window.name in windows:
            continue
        if window.name in known:
            windows[window.name] = known[window.name]
        else:
            over = [(other, matched.get(other.where) or listed_pairs(other)) for other in source.window_sources]
            windows[window.name] = percentile_window(window, over, cache_dir)
    return windows


def build_pair_set(
    names: tuple[str, ...],
    parts: Parts,
    scan: ScanResult,
    tags: Sequence[Mapping[str, str]],
    windows: Windows,
) -> PairSet:
    """Build the pair set from sources, their scan, each pair's tags and the computed windows."""
    codes, pool = tag_codes(tags)
    bits: Literal[8, 16] = 16 if (scan.ir_bits > 8).any() else 8
    table = PairTable(
        keys=TextColumn(source.prefix + key for source, matches in parts for key in matches.keys),
        rgb=TextColumn(name for _, matches in parts for name in matches.rgb),
        ir=TextColumn(name for _, matches in parts for name in matches.ir),
        labels=TextColumn(name for _, matches in parts for name in matches.labels),
        rgb_hw=scan.rgb_hw,
        ir_hw=scan.ir_hw,
        source=np.repeat(np.arange(len(parts), dtype=np.int32), [len(matches) for _, matches in parts]),
        roots=tuple(source.root for source, _ in parts),
        formats=tuple(_format(source, bits, windows) for source, _ in parts),
        tag_code=codes,
        tags=pool,
    )
    missing: dict[Modality, int] = {"rgb": table.num_missing("rgb"), "ir": table.num_missing("ir")}
    return PairSet(
        names=names,
        records=table,
        sizes_hw=table.sizes_hw,
        scan=scan,
        fingerprint=_fingerprint(table, scan),
        content_hash=hashlib.sha256(scan.content.astype("<u8").tobytes()).hexdigest() if scan.verified else "",
        ir_windows=windows,
        files_hash=files_signature(parts),
        num_missing=missing if any(missing.values()) else {},
        formats=tuple(dict.fromkeys(table.formats)),
        window_bits=table.window_bits(scan.ir_bits),
    )


def _format(source: Source, bits: Literal[8, 16], windows: Windows) -> PairFormat:
    window = source.ir_window
    counts = None
    if window is not None:
        counts = (window.low, window.high) if window.percentile_of is None else windows[window.name]
    return PairFormat(source.frame, source.affine, counts, bits, source.orientation, source.stacked)


def _fingerprint(table: PairTable, scan: ScanResult) -> str:
    digest = hashlib.sha256()
    for index in range(len(table)):
        digest.update((("\n" if index else "") + table.keys[index]).encode(errors="surrogateescape"))
    # Fixed byte order: the hash is compared between machines.
    for array, layout in ((table.sizes_hw, "<i8"), (scan.offsets, "<i8"), (scan.class_ids, "<i8")):
        digest.update(array.astype(layout).tobytes())
    digest.update(scan.boxes_xywhn.astype("<f4").tobytes())
    # Hashes of data sets without such regions, with upright and all images stay as they were before these were read.
    if scan.crowd.any():
        digest.update(scan.crowd.tobytes())
    is_applied = np.array([form.orientation == "apply" for form in table.formats], bool)[table.source]
    if (turns := np.where(is_applied[:, None], scan.orientation, 1)).any(where=turns > 1):
        digest.update(turns.tobytes())
    if table.num_missing("rgb") or table.num_missing("ir"):
        digest.update("".join(str(record.missing) for record in table).encode())
    return digest.hexdigest()
