"""Rules for the pixels of single pairs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.support.check_splits import measured_split
from tests.support.pairs import make_pairs, real_data
from yolofuse.check.pair_stats import PairStats, Split, measure
from yolofuse.check.rules.pixels import check_pixels, is_copy
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.data.index.lenient_load import load_pairs_with_problems


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    return measured_split(make_pairs(tmp_path_factory.mktemp("pixels"), 2, 0))


GOOD: dict[str, Any] = {
    "rgb_std": 50.0, "ir_std": 50.0, "ir_range": 200.0, "rgb_clipped": 0.0, "ir_clipped": 0.0, "rgb_colour": 30.0,
    "ir_colour": 0.0, "correlation": 0.3, "detail_correlation": 0.1, "ir_levels": (0, 0, 0),
    "ir_missing": 0.0, "ir_swapped": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({}, []),
        ({"correlation": 0.99, "detail_correlation": 0.99}, ["ir-is-rgb"]),
        ({"correlation": 0.99, "detail_correlation": 0.99, "rgb_colour": 0.0}, ["rgb-is-ir"]),
        ({"correlation": 0.96, "detail_correlation": 0.99}, []),
        ({"rgb_colour": 0.0, "ir_colour": 30.0}, ["swapped"]),
        ({"rgb_colour": 0.0}, ["rgb-grey"]),
        ({"ir_colour": 30.0}, ["ir-coloured"]),
        ({"ir_std": 0.0}, ["dead-ir"]),
        ({"ir_std": 0.5, "ir_levels": (700, 790, 1)}, ["dead-ir"]),
        ({"ir_std": 0.5, "ir_levels": (0, 0, 0), "ir_clipped": 1.0}, ["dead-ir"]),
        ({"ir_std": 0.5, "ir_levels": (700, 790, 1), "ir_clipped": 1.0}, ["outside-ir"]),
        ({"ir_std": 9.0, "ir_levels": (700, 9000, 1), "ir_clipped": 0.995}, ["outside-ir"]),
        ({"rgb_std": 0.0}, ["dead-rgb"]),
        ({"ir_range": 10.0}, ["poor-ir"]),
        ({"ir_clipped": 0.6, "rgb_clipped": 0.6}, ["clipped-ir", "clipped-rgb"]),
        ({"ir_missing": 0.78}, ["missing-ir"]),
        ({"ir_levels": (256, 65280, 256)}, ["shallow-ir"]),
        ({"ir_levels": (0, 65535, 1)}, []),
        ({"ir_levels": (28, 65279, 1), "ir_swapped": True}, ["swapped-bytes"]),
    ],
)
def test_check_pixels__names_the_error(split: Split, changes: dict[str, Any], kinds: list[str]) -> None:
    first = split.stats[0]
    assert isinstance(first, PairStats)
    changed = replace(split, stats=[replace(first, **(GOOD | changes)), None])
    findings = check_pixels(changed)
    assert [finding.kind for finding in findings] == kinds
    assert all((finding.count, finding.total) == (1, 1) and finding.images for finding in findings)


@pytest.mark.parametrize(("num_good", "severity"), [(0, "warning"), (1, "note")])
def test_check_pixels__clipped_thermal_images_are_a_warning_where_they_are_most(
    split: Split, num_good: int, severity: str
) -> None:
    first, second = split.stats
    assert isinstance(first, PairStats)
    assert isinstance(second, PairStats)
    clipped, good = replace(first, **(GOOD | {"ir_clipped": 0.6})), replace(second, **GOOD)
    (finding,) = check_pixels(replace(split, stats=[clipped, good if num_good else None]))
    assert (finding.kind, finding.severity) == ("clipped-ir", severity)


def test_check_pixels__eight_bits_in_sixteen_are_named(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path, 4, 0, extra={"ir_window": [0, 65535]})
    for number, file in enumerate(sorted((tmp_path / "ir").rglob("*.png"))):
        grey = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        assert grey is not None
        deep = grey.astype(np.uint16) * 257
        if number == 0:
            deep[0, 0] += 1  # real 16-bit counts
        cv2.imwrite(str(file), deep)
    found = next(finding for finding in check_pixels(measured_split(descriptor)) if finding.kind == "shallow-ir")
    assert (found.count, found.total) == (3, 4)


@pytest.mark.real
def test_is_copy__near_infrared_is_no_copy_of_rgb() -> None:
    descriptor = load_descriptor(real_data("mini/vedai") / "data.yaml")
    for split in descriptor.splits:
        for record in load_pairs_with_problems(descriptor, split).pairs.records:
            assert not is_copy(measure(record))
