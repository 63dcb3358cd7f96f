"""A split as it is, faults and all: what a check reads where training would refuse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from yolofuse.data.matching import names_of
from yolofuse.data.pairs import PairSet, assemble, match_split, select, tags_of, windows_of
from yolofuse.data.problems import Problem
from yolofuse.data.scan import scan_split
from yolofuse.data.scan_cache import default_cache_dir
from yolofuse.data.sources import DatasetDescriptor
from yolofuse.errors import DataError, listing


@dataclass(frozen=True, slots=True)
class Survey:
    """A split as it is, faults and all.

    Attributes:
        pairs: Those without a fault.
        problems: What must be mended before training.
        warnings: What changes nothing.
    """

    pairs: PairSet
    problems: Sequence[Problem]
    warnings: Sequence[Problem]


def survey(descriptor: DatasetDescriptor, split: str, *, cache_dir: Path | None = None, workers: int = 2) -> Survey:
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
    windows = windows_of(parts, cache_dir or default_cache_dir(), {})
    pairs = assemble(descriptor.names, parts, scan.result.only(scan.good), tags, windows)
    return Survey(pairs, [*scan.problems, *faults], scan.warnings)
