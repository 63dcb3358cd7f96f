"""Anchors and boxes: the share that can be matched, and anchors fitted to boxes."""

from __future__ import annotations

import numpy as np
import pytest

from yolofuse.engine.anchor_fit import best_possible_recall, fit_anchors
from yolofuse.errors import ConfigError


def test_recall__counts_boxes_within_a_ratio_of_four() -> None:
    anchors = np.array([[10.0, 10.0], [40.0, 20.0]])
    sides = np.array([[10, 10], [39, 39], [2.6, 10], [2.4, 10], [10, 41], [159, 79], [161, 79]], dtype=float)
    assert best_possible_recall(anchors, sides) == pytest.approx(4 / 7)
    assert best_possible_recall(anchors, np.zeros((0, 2))) == 1.0


def test_fit__finds_the_sizes_that_boxes_have() -> None:
    rng = np.random.default_rng(0)
    sizes = np.array([(4, 8), (10, 5), (16, 16), (20, 40), (45, 30), (60, 60), (120, 60), (90, 180), (200, 210)], float)
    sides = (sizes[rng.integers(9, size=3000)] * rng.uniform(0.97, 1.03, (3000, 2))).astype(float)
    anchors = np.array(fit_anchors(sides, levels=3))
    assert anchors.shape == (3, 3, 2)
    assert (np.diff(anchors.prod(axis=2).flatten()) > 0).all()
    np.testing.assert_allclose(anchors.reshape(9, 2), sizes[np.argsort(sizes.prod(axis=1))], rtol=0.05)
    assert best_possible_recall(anchors.reshape(9, 2), sides) == 1.0


def test_fit__of_too_few_boxes_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 9 different sizes"):
        fit_anchors(np.ones((50, 2)), levels=3)
