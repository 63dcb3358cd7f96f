"""A split as it is, faults and all: what a check reads where training would refuse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from yolofuse.data.descriptor.source import DatasetDescriptor, Source
from yolofuse.data.index.match_files import Matches, names_of
from yolofuse.data.index.pair_set import PairSet, assemble, match_split, select, tags_of, windows_of
from yolofuse.data.index.scan import scan_split
from yolofuse.data.index.scan_cache import default_cache_dir
from yolofuse.data.problems import Problem
from yolofuse.errors import DataError, listing

_ANY_COUNTS = (0.0, 65535.0)
"""Shown instead of percentiles that can't be computed."""


@dataclass(frozen=True, slots=True)
class LenientPairs:
    """A split as it is, faults and all.

    Attributes:
        pairs: Those without a fault.
        problems: What must be mended before training.
        warnings: What changes nothing.
    """

    pairs: PairSet
    problems: Sequence[Problem]
    warnings: Sequence[Problem]


def load_pairs_with_problems(
    descriptor: DatasetDescriptor, split: str, *, cache_dir: Path | None = None, workers: int = 2
) -> LenientPairs:
    """A split as it is: the pairs without a fault, and every fault. Every image is decoded.

    Raises:
        DataError: If a manifest, a list or a COCO file can't be read at all, or no pair is without a fault.
    """
    where = f"{descriptor.path} [{split}]"
    scan = scan_split(match_split(descriptor, split), verify=True, workers=workers, where=where)
    if not len(scan.good):
        raise DataError(listing(where, [*names_of(scan.problems), "no pair is without a fault"]))
    parts = select(scan.parts, scan.good)
    tags, faults = tags_of(parts)
    windows = dict.fromkeys({name for name in map(_computed_window, parts) if name}, _ANY_COUNTS)
    try:
        windows = windows_of(parts, cache_dir or default_cache_dir(), {})
    except DataError as error:  # what is wrong with the images of train is found where train is looked at
        faults = [*faults, Problem("bit-depth", where, str(error))]
    pairs = assemble(descriptor.names, parts, scan.result.only(scan.good), tags, windows)
    return LenientPairs(pairs, [*scan.problems, *faults], scan.warnings)


def _computed_window(part: tuple[Source, Matches]) -> str:
    """Name of the percentiles that a source asks for; empty where it asks for none."""
    window = part[0].ir_window
    return window.name if window is not None and window.percentile_of is not None else ""
