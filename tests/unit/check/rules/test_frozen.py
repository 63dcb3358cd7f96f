"""A camera that hung, whose frames were saved again and again: with other noise and compression, so other bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.check_splits import measured_split, random_scene
from tests.support.pairs import LabelledPair, make_pairs, real_data
from yolofuse.check.check import check_dataset
from yolofuse.check.rules.frozen import find_frozen
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.types import ByteArray

NUM_PAIRS, HUNG = 10, range(4, 8)


def _noisy(image: ByteArray, seed: int) -> ByteArray:
    return (image + np.random.default_rng(seed).normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8)


def _on_a_vehicle(hung: str) -> Callable[[int], LabelledPair]:
    """Return pairs of another scene each, without labels."""

    def pair(index: int) -> LabelledPair:
        seeds = {camera: HUNG[0] if camera == hung and index in HUNG else index for camera in ("rgb", "ir")}
        rgb, ir = random_scene(seeds["rgb"]), random_scene(50 + seeds["ir"])
        return np.dstack([_noisy(rgb, index)] * 3), _noisy(ir, index + 99), []

    return pair


def _on_a_pole(hung: str, *, labelled: bool = True) -> Callable[[int], LabelledPair]:
    """Return pairs at night: one background, and an object that moves and that RGB does not show."""
    rgb, background = random_scene(1), random_scene(2)

    def pair(index: int) -> LabelledPair:
        ir = background.copy()
        left = 25 * (HUNG[0] if hung == "ir" and index in HUNG else index)
        ir[100:160, left : left + 40] = 255
        box = (0, (25 * index + 20) / 340, 130 / 260, 40 / 340, 60 / 260)
        return np.dstack([_noisy(rgb, index)] * 3), _noisy(ir, index + 99), [box] * labelled

    return pair


@pytest.mark.parametrize(
    ("pair_at", "kinds"),
    [
        (_on_a_vehicle("rgb"), ["frozen-rgb"]),
        (_on_a_vehicle("ir"), ["frozen-ir"]),
        (_on_a_vehicle("none"), []),
        (_on_a_pole("ir"), ["frozen-ir"]),
        (_on_a_pole("none"), []),  # RGB is the same in all, as at night; its labels are of what IR shows
        (_on_a_pole("ir", labelled=False), []),  # nothing says that the scene has changed
    ],
)
def test_camera_that_hung__is_told(tmp_path: Path, pair_at: Callable[[int], LabelledPair], kinds: list[str]) -> None:
    split = measured_split(make_pairs(tmp_path, NUM_PAIRS, 0, pair_at=pair_at))
    found = find_frozen(split, sample=100)
    assert [(finding.kind, finding.severity, finding.count) for finding in found] == [
        (kind, "warning", len(HUNG)) for kind in kinds
    ]
    assert all(len(finding.images) == 3 for finding in found)


def test_check__names_it(tmp_path: Path) -> None:
    report = check_dataset(load_descriptor(make_pairs(tmp_path, NUM_PAIRS, 0, pair_at=_on_a_vehicle("ir"))))
    assert "frozen-ir" in [finding.kind for finding in report.findings]


@pytest.mark.parametrize("name", ["roadscene-flir", "llvip-256", "llvip-hr"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_real_pairs__no_camera_hung(name: str, split: str) -> None:
    assert find_frozen(measured_split(real_data(name) / "data.yaml", split), sample=500) == []
