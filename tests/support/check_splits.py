"""Scenes and measured splits for tests of the data set check."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from yolofuse.check.pair_stats import Split, measure_pairs
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.data.index.lenient_load import load_pairs_with_problems
from yolofuse.types import ByteArray


def random_scene(seed: int, size_hw: tuple[int, int] = (260, 340)) -> ByteArray:
    """Draw overlapping rectangles of many sizes: an image with edges in all places."""
    rng = np.random.default_rng(seed)
    height, width = size_hw
    image = np.full(size_hw, 128, np.uint8)
    for _ in range(60):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        w, h = int(rng.integers(10, 80)), int(rng.integers(10, 80))
        cv2.rectangle(image, (x, y), (x + w, y + h), int(rng.integers(0, 256)), -1)
    return image


def measured_split(descriptor: Path, name: str = "train") -> Split:
    """Load and measure one split as the check does, without applying a rule."""
    loaded = load_pairs_with_problems(load_descriptor(descriptor), name, workers=1)
    stats, errors = measure_pairs(loaded.pairs.records, workers=1, where=name)
    assert not errors
    return Split(name, loaded.pairs, stats, loaded.problems, loaded.warnings)
