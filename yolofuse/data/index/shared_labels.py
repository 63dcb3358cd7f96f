"""Find labels and tags that sources take for different images: a label file, COCO record or row belongs to one image.

Two splits whose images have equal names, with the label folder of one of them, would else train or score by boxes of
other images. Files of one manifest are compared where it is read.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from yolofuse.data.descriptor.source import Source
from yolofuse.data.index.coco_labels import matched_records
from yolofuse.data.index.matches import NO_STAMP, Matches
from yolofuse.data.problems import Problem, ProblemKind, join_names
from yolofuse.errors import DataError, plural

_Comparison = Callable[[Source, Matches, Source, Matches], Problem | None]
_Pair = tuple[Source, Matches, int]


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
    everywhere, problems = [*sources], []
    for source, matches in parts:
        for other in everywhere:
            shared = [*_shared_files(source, other)] if other.where != source.where else []
            if not shared:
                continue
            try:
                others = matched[other.where] if other.where in matched else match(other)
                matched[other.where] = others
                problems += [problem for claims in shared if (problem := claims(source, matches, other, others))]
            except DataError:
                continue  # that source can't be read at all, which is an error of its own split
    return problems


def _shared_files(one: Source, other: Source) -> Iterator[_Comparison]:
    """Yield how to compare the labels and tags of two sources that may be of one folder or file."""
    images = [(source.rgb, source.ir, source.patterns[:2]) for source in (one, other)]
    if one.rgb is not None and images[0] == images[1]:  # a key is that of the same images
        return
    if one.tags and other.tags and one.tags.file == other.tags.file:
        yield _compare_tags
    if (one.manifest is not None and one.manifest == other.manifest) or (one.coco is None) != (other.coco is None):
        return
    first, second = (Path(os.path.realpath(source.coco or source.labels or source.root)) for source in (one, other))
    if first.is_relative_to(second) or second.is_relative_to(first):
        yield _compare_labels


def _compare_labels(one: Source, matches: Matches, other: Source, others: Matches) -> Problem | None:
    common = _of_other_images(_claims(one, matches), matches, _claims(other, others), others)
    if not common:
        return None
    i, j = common[0]
    what = "image" if one.coco else "label file"
    file = one.coco or one.root / matches.labels[i]
    return _problem(
        "shared-label", f"{plural(len(common), what)} of its labels", file, (one, matches, i), (other, others, j)
    )


def _compare_tags(one: Source, matches: Matches, other: Source, others: Matches) -> Problem | None:
    first, second = ({key: i for i, key in enumerate(each.keys)} for each in (matches, others))
    common = _of_other_images(first, matches, second, others)
    if not common or one.tags is None:
        return None
    i, j = common[0]
    what = f"{plural(len(common), 'row')} of its tags"
    return _problem("tags", what, f"{one.tags.file}: {matches.keys[i]}", (one, matches, i), (other, others, j))


def _of_other_images(
    first: Mapping[Any, int], matches: Matches, second: Mapping[Any, int], others: Matches
) -> list[tuple[int, int]]:
    """Return the positions of pairs that claim the same, and have no image in common."""
    both = sorted((first[claim], second[claim]) for claim in first.keys() & second.keys())
    return [(i, j) for i, j in both if not _images(matches, i) & _images(others, j)]


def _problem(kind: ProblemKind, what: str, file: object, one: _Pair, other: _Pair) -> Problem:
    where, names = one[0].where, [join_names([matches.rgb[i] or matches.ir[i]]) for _, matches, i in (one, other)]
    text = f"{where}: {what} are also those of other images in {other[0].where}: {file} is taken for {names[0]} and "
    return Problem(kind, where, f"{text}for {names[1]}; give each those of its own images")


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
