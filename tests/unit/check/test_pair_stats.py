"""Statistics of single pairs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.check_splits import random_scene
from tests.support.descriptors import folders, write_counts, write_descriptor
from tests.support.pairs import make_pairs, pairs_of
from yolofuse.check.pair_stats import measure, measure_pairs, pearson
from yolofuse.types import ByteArray, PairRecord


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[PairRecord]:
    """Pairs whose IR is another scene, a grey copy of RGB, an inverted copy, and constant."""

    def make_pair(index: int) -> tuple[ByteArray, ByteArray, list[tuple[int, float, float, float, float]]]:
        grey = random_scene(0, (96, 128))
        ir = (random_scene(1, (96, 128)), grey, np.uint8(255) - grey, np.full_like(grey, 77))[index]
        return np.dstack([grey, grey // 2, grey // 3]).astype(np.uint8), ir, []

    descriptor = make_pairs(tmp_path_factory.mktemp("stats"), num_train=4, num_val=0, pair_at=make_pair)
    return list(pairs_of(descriptor).records)


def test_measure__correlation_is_high_for_copies_of_either_sign(records: list[PairRecord]) -> None:
    other, copy, inverted, constant = (measure(record) for record in records)
    assert other.correlation < 0.5
    assert min(copy.correlation, copy.detail_correlation) > 0.99
    assert min(inverted.correlation, inverted.detail_correlation) > 0.99
    assert (constant.correlation, constant.ir_std, constant.ir_range) == (0.0, 0.0, 0.0)


def test_measure__colour_and_digests(records: list[PairRecord]) -> None:
    first, second, *_ = (measure(record) for record in records)
    assert first.rgb_colour > 50
    assert first.ir_colour == 0
    assert first.rgb_digest == second.rgb_digest
    assert first.ir_digest != second.ir_digest
    assert first.ir_levels == (0, 0, 0)


def test_measure__levels_of_sixteen_bits(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path, 1, 0, extra={"ir_window": [0, 65535]})
    (file,) = (tmp_path / "ir" / "train").iterdir()
    counts = np.full((64, 96), 512, np.uint16)
    counts[0, :3] = 1024, 2560, 3072
    cv2.imwrite(str(file), counts)
    (record,) = pairs_of(descriptor).records
    assert measure(record).ir_levels == (512, 3072, 512)


def test_measure__share_of_thermal_pixels_without_a_number(tmp_path: Path) -> None:
    temperatures = np.random.default_rng(0).uniform(-10, 30, (64, 96)).astype(np.float32)
    temperatures[:16] = np.nan
    write_counts(tmp_path, "pair", temperatures, ".tiff")
    (record,) = pairs_of(write_descriptor(tmp_path, {"train": folders()}, ir_window=[-10, 30])).records
    assert measure(record).ir_missing == 0.25


def test_measure_pairs__reports_what_can_not_be_read(records: list[PairRecord], tmp_path: Path) -> None:
    gone = replace(records[1], rgb=tmp_path / "gone.png")
    stats, errors = measure_pairs([records[0], gone], workers=2, where="train")
    assert [item is None for item in stats] == [False, True]
    assert len(errors) == 1
    assert "gone.png" in errors[0]


def test_pearson__is_zero_for_a_flat_image() -> None:
    rising = np.arange(9, dtype=np.float32)
    assert pearson(rising, -rising) == pytest.approx(-1)
    assert pearson(rising, np.zeros(9, np.float32)) == 0


@pytest.mark.parametrize("kind", ["swapped", "right", "8 bits in 16", "noise"])
def test_measure__bytes_that_are_swapped(tmp_path: Path, kind: str) -> None:
    descriptor = make_pairs(tmp_path, 1, 0, extra={"ir_window": {"percentiles": [1, 99], "split": "train"}})
    noise = np.random.default_rng(0).normal(0, 8, (96, 128))
    y, x = np.mgrid[:96, :128]
    counts = (7300 + 900 * (np.sin(x / 20) + np.cos(y / 20)) + noise).astype(np.uint16)
    if kind == "swapped":
        counts = counts.byteswap()
    elif kind == "8 bits in 16":
        counts = (counts // 40).astype(np.uint16) << 8
    elif kind == "noise":
        counts = np.random.default_rng(1).integers(0, 65536, counts.shape, dtype=np.uint16)
    for modality, pixels in (("ir", counts), ("rgb", np.full((96, 128, 3), 90, np.uint8))):
        assert cv2.imwrite(str(tmp_path / modality / "train" / "train_000.png"), pixels)
    assert measure(pairs_of(descriptor).records[0]).ir_swapped == (kind == "swapped")
