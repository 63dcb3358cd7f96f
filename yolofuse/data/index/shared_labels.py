"""Find labels that sources take for different images: a label file, or a record of a COCO file, belongs to one image.

Two splits whose images have equal names, with the label folder of one of them, would else train or score by boxes of
other images. Files of one manifest are compared where it is read.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from yolofuse.data.descriptor.source import Source
from yolofuse.data.index.coco_labels import matched_records
from yolofuse.data.index.matches import NO_STAMP, Matches
from yolofuse.data.problems import Problem, join_names
from yolofuse.errors import DataError, plural


def find_shared_labels(
    parts: Sequence[tuple[Source, Matches]], sources: Iterable[Source], match: Callable[[Source], Matches]
) -> list[Problem]:
    """Return a problem for each source of a split whose labels are those of other images elsewhere.

    Args:
        parts: The sources of a split with their pairs.
        sources: Those of all splits.
        match: Finds the pairs of a source that is not among ``parts``.
    """
    matched = {source.where: matches for source, matches in parts}
    all_sources = {source.where: source for source in sources} | {source.where: source for source, _ in parts}
    problems = []
    for source, matches in parts:
        for other in all_sources.values():
            if other.where == source.where or not _may_share(source, other):
                continue
            try:
                others = matched[other.where] if other.where in matched else match(other)
                matched[other.where] = others
                problems += _compare(source, matches, other, others)
            except DataError:
                continue  # that source can't be read at all, which is an error of its own split
    return problems


def _may_share(one: Source, other: Source) -> bool:
    """Return whether labels of one source may also be labels of other images in the other."""
    if one.manifest is not None and one.manifest == other.manifest:
        return False
    images = [(source.rgb, source.ir, source.patterns[:2]) for source in (one, other)]
    if one.rgb is not None and images[0] == images[1]:  # a label's name is that of the same images
        return False
    if (one.coco is None) != (other.coco is None):
        return False
    first, second = map(_place_of_labels, (one, other))
    return first.is_relative_to(second) or second.is_relative_to(first)


def _place_of_labels(source: Source) -> Path:
    return Path(os.path.realpath(source.coco or source.labels or source.root))


def _compare(one: Source, matches: Matches, other: Source, others: Matches) -> list[Problem]:
    """Compare the labels of two sources, and report those of pairs that have no image in common."""
    first, second = _claims(one, matches), _claims(other, others)
    both = [
        (first[label], second[label])
        for label in first.keys() & second.keys()
        if not _images(matches, first[label]) & _images(others, second[label])
    ]
    if not both:
        return []
    i, j = min(both)
    labels = one.coco or one.root / matches.labels[i]
    what = plural(len(both), "image") if one.coco else plural(len(both), "label file")
    text = (
        f"{one.where}: {what} of its labels are also those of other images in {other.where}: {labels} is taken for "
        f"{join_names([matches.rgb[i] or matches.ir[i]])} and for {join_names([others.rgb[j] or others.ir[j]])}; "
        "give each the labels of its own images"
    )
    return [Problem("shared-label", one.where, text)]


def _claims(source: Source, matches: Matches) -> dict[Any, int]:
    """Return the position of the pair that each label file or record of a COCO file belongs to."""
    if source.coco is not None:
        return matched_records(source.coco, matches)
    real = functools.cache(os.path.realpath)
    has_lines = matches.stamps[:, 2, 0] > 0
    files = [(i, source.root / name) for i, name in enumerate(matches.labels) if name and has_lines[i]]
    return {(real(file.parent), file.name): i for i, file in files}


def _images(matches: Matches, position: int) -> set[tuple[int, ...]]:
    return {tuple(stamp) for stamp in matches.stamps[position, :2].tolist()} - {NO_STAMP}
