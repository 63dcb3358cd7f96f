"""Rules for registration."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.check_splits import measured_split, random_scene
from tests.support.pairs import make_pairs, turned_back
from yolofuse.check.pair_stats import Split
from yolofuse.check.rules.registration import check_registration, measure_shifts
from yolofuse.types import ByteArray

SIZE_HW = (160, 220)
NUM_PAIRS, NUM_SHIFTED = 12, 4


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """Inverted IR; in the first pairs it is shifted by (20, -10) px, in the last it is another scene."""

    def make_pair(index: int) -> tuple[ByteArray, ByteArray, list[tuple[int, float, float, float, float]]]:
        scene = random_scene(index, SIZE_HW)
        ir = np.uint8(255) - scene if index < NUM_PAIRS - 1 else random_scene(1000, SIZE_HW)
        if index < NUM_SHIFTED:
            ir = np.roll(ir, (-10, 20), (0, 1))
        return cv2.cvtColor(scene, cv2.COLOR_GRAY2BGR).astype(np.uint8), ir.astype(np.uint8), []

    root = tmp_path_factory.mktemp("registration")
    return measured_split(make_pairs(root, num_train=NUM_PAIRS, num_val=0, pair_at=make_pair))


def test_check_registration__names_shifted_pairs_and_their_shift(split: Split) -> None:
    shifts = measure_shifts(split, sample=100, workers=1)
    assert [measured.index for measured in shifts] == list(range(NUM_PAIRS))
    summary, found = check_registration(split, shifts)
    assert (summary.kind, summary.severity) == ("alignment", "note")
    assert summary.text.endswith("1 not measurable")
    assert (found.kind, found.severity, found.count, found.total) == ("misaligned", "error", NUM_SHIFTED, NUM_PAIRS - 1)
    assert found.advice == "all have the same shift: move IR by -20, +10 px"
    assert "train_000 (+20, -10 px)" in found.examples
    assert len(found.images) == NUM_SHIFTED


def test_measure_shifts__of_a_sample_are_evenly_spaced(split: Split) -> None:
    assert [measured.index for measured in measure_shifts(split, sample=2, workers=1)] == [0, NUM_PAIRS - 1]


def test_check_registration__reports_when_most_pairs_are_not_measurable(split: Split) -> None:
    last = [measured for measured in measure_shifts(split, 100, 1) if measured.index == NUM_PAIRS - 1]
    assert [finding.kind for finding in check_registration(split, last)] == ["alignment", "not-measurable"]
    assert check_registration(split, []) == []


@pytest.mark.parametrize(
    ("orientation", "words"),
    [(2, "mirrored left to right"), (3, "turned by 180 degrees"), (4, "mirrored top to bottom"), (6, "turned by 90")],
)
def test_check_registration__names_a_turned_camera(tmp_path: Path, orientation: int, words: str) -> None:
    def make_pair(index: int) -> tuple[ByteArray, ByteArray, list[tuple[int, float, float, float, float]]]:
        scene = random_scene(index, (160, 160))
        ir = turned_back(np.uint8(255) - scene, orientation)
        return cv2.cvtColor(scene, cv2.COLOR_GRAY2BGR).astype(np.uint8), ir.astype(np.uint8), []

    split = measured_split(make_pairs(tmp_path, num_train=3, num_val=0, pair_at=make_pair))
    _, found = check_registration(split, measure_shifts(split, sample=3, workers=1))
    assert (found.kind, found.severity, found.count) == ("turned", "error", 3)
    assert words in found.text
