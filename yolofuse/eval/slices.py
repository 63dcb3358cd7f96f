"""Compute metrics of parts of a split: day and night, one camera, one sequence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from yolofuse.eval.coco import CocoMatches, CocoResult
from yolofuse.types import PairRecord

_MAX_VALUES = 12
"""A tag with more values than this, such as a scene number, makes a table too long to read."""


def evaluate_slices(matches: CocoMatches, records: Sequence[PairRecord]) -> dict[str, CocoResult]:
    """Compute the metrics of the images that share a value of a tag, by ``"tag=value"``.

    Tags that split the images into two to twelve values count. Nothing is detected or matched again. Images without
    the tag are in none of its slices.

    Args:
        matches: The matched predictions of the split.
        records: The pairs of the split, with their tags.
    """
    image_ids: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        for tag, value in record.tags.items():
            image_ids[tag][value].append(record.image_id)
    return {
        f"{tag}={value}": matches.result(members)
        for tag, by_value in sorted(image_ids.items())
        if 2 <= len(by_value) <= _MAX_VALUES
        for value, members in sorted(by_value.items())
    }
