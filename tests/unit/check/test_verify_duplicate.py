"""Classification of similar pairs by their pixels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.support.check_splits import random_scene
from tests.support.pairs import make_pairs, pairs_of
from yolofuse.check.verify_duplicate import classify_duplicate
from yolofuse.types import ByteArray, PairRecord

SIZE_HW = (160, 220)


def _changed(image: ByteArray, number: int) -> ByteArray:
    """Return the image itself, mirrored, as a brighter and smaller copy, or with an object that moved in."""
    if number == 1:
        return np.ascontiguousarray(image[:, ::-1])
    if number == 2:
        small = cv2.resize(image, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
        return cv2.convertScaleAbs(small, alpha=1.1, beta=5).astype(np.uint8)
    if number == 3:
        moved = image.copy()
        inside = moved[60:96, 95:121]
        inside[:] = np.where(inside > 128, 20, 235)
        return moved
    return image


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[PairRecord]:
    """A scene as it is, mirrored, copied, and with a new object; then another scene."""

    def make_pair(index: int) -> tuple[ByteArray, ByteArray, list[tuple[int, float, float, float, float]]]:
        seed = 10 if index == 4 else 0
        grey, ir = (_changed(random_scene(seed + plus, SIZE_HW), index) for plus in (0, 1))
        return cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR).astype(np.uint8), ir, []

    descriptor = make_pairs(tmp_path_factory.mktemp("duplicates"), num_train=5, num_val=0, pair_at=make_pair)
    return list(pairs_of(descriptor).records)


@pytest.mark.parametrize(
    ("number", "flipped", "kind"),
    [(0, False, "copy"), (1, False, "other"), (1, True, "copy"), (2, False, "copy"), (3, False, "view"),
     (4, False, "other")],
    ids=["itself", "mirrored", "mirrored back", "brighter and smaller", "a new object", "another scene"],
)  # fmt: skip
def test_classify_duplicate(records: list[PairRecord], number: int, flipped: bool, kind: str) -> None:
    assert classify_duplicate(records[0], records[number], flipped=flipped) == kind
