"""Find what two splits have in common and should not: images, and labels of other images."""

from __future__ import annotations

import numpy as np

from yolofuse.data.index.pair_set import PairSet
from yolofuse.errors import plural

_FEW = 3  # pairs whose boxes may be the same by chance
_MOST = 0.5  # of the pairs with boxes that have a name in both splits


def describe_overlap(train: PairSet, other: PairSet, names: tuple[str, str]) -> list[str]:
    """Say how many pairs of a split training has seen, and how many have labels that are those of training pairs.

    Args:
        train: The training pairs.
        other: Those that are evaluated.
        names: Of the two splits.
    """
    found = []
    if number := len(_common_images(train, other)):
        text = f"{number} of {plural(len(other), 'pair')} of {names[1]} have an image that {names[0]} has, too"
        found.append(f"{text}: their score measures memory; keep each scene in one split")
    if keys := equal_labels(train, other):
        text = f"{plural(len(keys), 'pair')} of {names[1]}, such as {keys[0]}, have other images than the pairs of "
        found.append(f"{text}{names[0]} of their name, and the same boxes; whose labels are these?")
    return found


def equal_labels(train: PairSet, other: PairSet) -> list[str]:
    """Return the keys of pairs whose boxes are those of the equally named pairs of another split, with other images.

    Empty where they are few, most of such pairs have boxes of their own, or images were not verified.
    """
    if not (train.scan.verified and other.scan.verified):
        return []
    seen = {*_common_images(train, other).tolist()}
    keys = other.keys
    of_other = {key: i for i, key in enumerate(keys) if i not in seen and _boxes(other, i)}
    both = [(i, of_other[key]) for i, key in enumerate(train.keys) if key in of_other and _boxes(train, i)]
    equal = [keys[j] for i, j in both if _boxes(train, i) == _boxes(other, j)]
    return sorted(equal) if len(equal) >= max(_FEW, _MOST * len(both)) else []


def _boxes(pairs: PairSet, index: int) -> bytes:
    boxes_xywhn, class_ids = pairs.labels(index)
    return boxes_xywhn.tobytes() + class_ids.tobytes()


def _common_images(train: PairSet, other: PairSet) -> np.ndarray:
    """Return the positions of pairs with an image whose bytes another split has; none unless both were verified."""
    is_seen = np.isin(other.scan.content, train.scan.content) & (other.scan.content > 0)
    return np.flatnonzero(is_seen.any(axis=1))
