"""The comparison of an export's final boxes with torch's candidates: ties may fall either way, nothing else may."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from yolofuse.backends import NmsLimits
from yolofuse.exporters.self_check import TOLERANCES, Difference, compare_nms

# x1, y1, x2, y2, score, class; the first two overlap by .82 and score the same, the third overlaps the second alone
FIRST = [0, 0, 100, 100, 0.9, 0]
SECOND = [10, 0, 110, 100, 0.9, 0]
THIRD = [50, 0, 150, 100, 0.8, 0]
OTHER_CLASS = [0, 0, 100, 100, 0.7, 1]
CANDIDATES = [FIRST, SECOND, THIRD, OTHER_CLASS]


def compare(found: list[list[float]], max_det: int = 10) -> Difference:
    limits = NmsLimits(conf=0.25, iou=0.4, max_det=max_det)
    rows: Tensor = torch.tensor(found).reshape(-1, 6)
    return compare_nms(torch.tensor(CANDIDATES), rows, limits, TOLERANCES["fp32"])


@pytest.mark.parametrize("found", [[FIRST, THIRD, OTHER_CLASS], [SECOND, OTHER_CLASS]], ids=["first", "second"])
def test_nms__of_two_equal_scores_may_keep_either(found: list[list[float]]) -> None:
    assert compare(found) == Difference(0.0, 0.0, len(found), 0, "")


@pytest.mark.parametrize(
    ("found", "lost"),
    [
        ([SECOND], 1),  # the box of another class
        ([FIRST, OTHER_CLASS], 1),  # the third overlaps the first by a third alone
        ([FIRST, SECOND, THIRD, OTHER_CLASS], 2),  # the first and the third overlap the second
        ([THIRD, OTHER_CLASS], 2),  # the first, and the second, since the third scores less
        ([SECOND, OTHER_CLASS, [300, 0, 400, 100, 0.9, 0]], 1),  # no candidate
        ([[*SECOND[:4], 0.5, 0], OTHER_CLASS], 4),  # another score: no candidate, and the three others score more
        ([], 4),
    ],
)
def test_nms__that_is_wrong_loses_boxes(found: list[list[float]], lost: int) -> None:
    assert compare(found).lost == lost


def test_nms__difference_of_boxes_and_scores_is_that_of_their_candidates() -> None:
    found = compare([[10.25, 0, 110, 100, 0.895, 0], OTHER_CLASS])
    assert (found.px, found.score, found.lost) == pytest.approx((0.25, 0.005, 0), abs=1e-6)


def test_nms__may_leave_out_what_max_det_cuts_off() -> None:
    assert compare([FIRST, OTHER_CLASS], max_det=1).lost == 0
