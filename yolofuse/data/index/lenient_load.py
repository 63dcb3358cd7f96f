"""Load a split with its errors, for the data check; training would refuse it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from yolofuse.data.descriptor.source import DatasetDescriptor
from yolofuse.data.index.pair_set import (
    PairSet,
    build_pair_set,
    collect_tags,
    compute_windows,
    match_split,
    select_pairs,
)
from yolofuse.data.index.scan import scan_split
from yolofuse.data.index.scan_cache import default_cache_dir
from yolofuse.data.index.thermal_window import find_shallow
from yolofuse.data.problems import Problem
from yolofuse.errors import DataError, listing

_ANY_COUNTS = (0.0, 65535.0)  # thermal window where percentiles can't be computed


@dataclass(frozen=True, slots=True)
class LenientPairs:
    """The usable pairs of a split, and what is wrong with the others."""

    pairs: PairSet  # those without an error
    problems: Sequence[Problem]  # errors that must be fixed before training
    warnings: Sequence[Problem]  # oddities that need no fix


def load_pairs_with_problems(
    descriptor: DatasetDescriptor, split: str, *, cache_dir: Path | None = None, workers: int = 2
) -> LenientPairs:
    """Load the pairs of a split that have no error, and all errors. Every image is decoded.

    Raises:
        DataError: If a manifest, a list or a COCO file can't be read at all, or no pair is without an error.
    """
    where = f"{descriptor.path} [{split}]"
    scan = scan_split(match_split(descriptor, split), verify=True, workers=workers, where=where)
    if not len(scan.good):
        raise DataError(listing(f"{where}: no pair is without an error", [*map(str, scan.problems)]))
    parts = select_pairs(scan.parts, scan.good)
    tags, tag_problems = collect_tags(parts)
    problems = [*scan.problems, *tag_problems]
    windows = {window.name: _ANY_COUNTS for source, _ in parts if (window := source.ir_window) and window.name}
    try:
        windows = compute_windows(parts, cache_dir or default_cache_dir(), {})
    except DataError as error:  # errors of the training images are reported with that split
        problems.append(Problem("window", where, str(error)))
    pairs = build_pair_set(descriptor.names, parts, scan.result.only(scan.good), tags, windows)
    if _ANY_COUNTS not in windows.values():
        problems += find_shallow(pairs.window_bits)
    return LenientPairs(pairs, problems, scan.warnings)
