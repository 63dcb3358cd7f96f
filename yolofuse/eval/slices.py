"""The same figures for parts of a split: day and night, one camera, one sequence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from yolofuse.config.schema import CocoBackend
from yolofuse.eval.coco import CocoJson, CocoMatches, CocoResult
from yolofuse.types import PairRecord

_MAX_VALUES = 12
"""A tag with more values than this, such as the scene's number, makes no table that anyone reads."""


def by_tag(
    records: Sequence[PairRecord],
    ground_truth: CocoJson,
    predictions: Sequence[Mapping[str, Any]],
    tags: Sequence[str] | None = None,
    *,
    backend: CocoBackend = "pycocotools",
) -> dict[str, CocoResult]:
    """Figures for the images that share a value of a tag, by ``"tag=value"``; nothing is detected anew.

    Images without the tag are in none of its slices.

    Args:
        records: The pairs of the split, with their tags.
        ground_truth: The split's COCO annotations.
        predictions: The COCO result rows.
        tags: Which tags. None: all that split the images into two to twelve values.
        backend: Who computes; see ``val.backend``.
    """
    return by_tag_of(CocoMatches(ground_truth, predictions, backend), records, tags)


def by_tag_of(
    matches: CocoMatches, records: Sequence[PairRecord], tags: Sequence[str] | None = None
) -> dict[str, CocoResult]:
    """:func:`by_tag` for predictions that were matched already, so that the whole and its parts share the matching."""
    image_ids: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        for tag, value in record.tags.items():
            image_ids[tag][value].append(record.image_id)
    if tags is None:
        tags = [tag for tag, values in sorted(image_ids.items()) if 2 <= len(values) <= _MAX_VALUES]
    return {
        f"{tag}={value}": matches.result(members) for tag in tags for value, members in sorted(image_ids[tag].items())
    }
