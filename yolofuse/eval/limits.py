"""Say what AP cannot show of a split: classes without a box, and more objects in an image than are counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from yolofuse.errors import plural
from yolofuse.types import IntArray

MAX_COUNTED = 100
"""cocoapi evaluates the best detections of each image and class up to this number; it never matches the others."""

_USUAL_CONF = 0.01


class _Labels(Protocol):
    """The boxes of a split, as a ``PairSet`` holds them."""

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def num_boxes(self) -> int: ...

    def class_counts(self) -> tuple[IntArray, IntArray, IntArray]: ...


def absent_classes(pairs: _Labels) -> list[str]:
    """Return the classes without a box in a split: they have no AP."""
    present = set(pairs.class_counts()[1].tolist())
    return [name for class_id, name in enumerate(pairs.names) if class_id not in present]


def crowded_classes(pairs: _Labels) -> list[str]:
    """Describe each class of which images hold more objects than cocoapi counts detections, and what that costs."""
    _, class_ids, counts = pairs.class_counts()
    texts = []
    for class_id in np.unique(class_ids[counts > MAX_COUNTED]).tolist():
        objects = counts[class_ids == class_id]
        crowded = objects[objects > MAX_COUNTED]
        num_found, num_objects = int(np.minimum(objects, MAX_COUNTED).sum()), int(objects.sum())
        best_ap = (100 * num_found // num_objects + 1) / 101  # precision 1 at the recalls 0, 0.01, ... that it reaches
        texts.append(
            f"{pairs.names[class_id]}: more than {MAX_COUNTED} objects in {plural(len(crowded), 'pair')} (up to "
            f"{crowded.max()}); cocoapi counts {MAX_COUNTED} detections of an image and class, so even a perfect "
            f"detector has an AP of {best_ap:.3f}"
        )
    return texts


def conf_limit(conf: float) -> list[str]:
    """Say that a threshold lowers AP, if it is not the usual, low one."""
    if conf <= _USUAL_CONF:
        return []
    return [f"scores of {conf:g} and less are left out (conf), so AP is lower than that of all detections"]


def score_limits(pairs: _Labels, max_det: int, conf: float) -> list[str]:
    """Return sentences about what the metrics of a split do not show.

    Args:
        pairs: The split.
        max_det: Detections that are kept of an image, see ``val.max_det``.
        conf: Score above which they are kept, see ``val.conf``.
    """
    if not pairs.num_boxes:
        return ["the split has no box: its AP is undefined"]
    absent = absent_classes(pairs)
    texts = [f"no box, so no AP: {', '.join(absent)}"] if absent else []
    texts += crowded_classes(pairs)
    texts += conf_limit(conf)
    of_pair, _, counts = pairs.class_counts()
    objects = np.bincount(of_pair, counts)
    if (cut := objects > max_det).any():
        texts.append(
            f"more objects than val.max_det: {max_det} in {plural(int(cut.sum()), 'pair')} (up to "
            f"{objects.max():.0f}); raise it"
        )
    return texts
