"""Cameras whose images are one pair early or late, on a fixed background."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.check_splits import measured_split
from tests.support.pairs import LabelledPair, make_pairs, random_pair
from yolofuse.check.check import check_dataset
from yolofuse.check.rules.timing import check_timing
from yolofuse.data.descriptor.load import load_descriptor

NUM_PAIRS = 24


@pytest.mark.parametrize(
    ("rgb", "ir", "told"),
    [
        (0, 0, []),
        (0, 1, ["IR images of the pair before"]),
        (-1, 0, ["RGB images of the pair after"]),
        (1, 1, ["RGB images of the pair before", "IR images of the pair before"]),
        (0, 5, []),  # other scenes, which the measure can't tell from noise
    ],
)
def test_images_of_a_neighbour__are_told(tmp_path: Path, rgb: int, ir: int, told: list[str]) -> None:
    def pair_at(index: int) -> LabelledPair:
        return random_pair(index + rgb + 5)[0], random_pair(index + ir + 5)[1], random_pair(index + 5)[2]

    split = measured_split(make_pairs(tmp_path, NUM_PAIRS, 0, pair_at=pair_at))
    found = check_timing(split, sample=500, workers=1)
    assert [finding.kind for finding in found] == ["late-images"] * len(told)
    assert [finding.text.partition(" in the ")[2].partition(",")[0] for finding in found] == told


def test_few_pairs__are_not_judged(tmp_path: Path) -> None:
    descriptor = make_pairs(
        tmp_path, 8, 0, pair_at=lambda i: (random_pair(i)[0], random_pair(i + 1)[1], random_pair(i)[2])
    )
    assert check_timing(measured_split(descriptor), sample=500, workers=1) == []


def test_check__names_late_images(tmp_path: Path) -> None:
    def late(index: int) -> LabelledPair:
        return random_pair(index)[0], random_pair(index + 1)[1], random_pair(index)[2]

    report = check_dataset(load_descriptor(make_pairs(tmp_path, NUM_PAIRS, 0, pair_at=late)))
    assert "late-images" in [finding.kind for finding in report.findings]
