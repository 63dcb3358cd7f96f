"""Features of pairs, and the search for the most similar one."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.check_splits import random_scene
from yolofuse.check import near_duplicates
from yolofuse.check.near_duplicates import dct_features, mirror_features, nearest
from yolofuse.types import FloatArray


def _random_features(count: int, seed: int) -> FloatArray:
    return np.stack(
        [
            dct_features(random_scene(seed + number, (64, 96)), random_scene(seed + number + 5000, (64, 96)))
            for number in range(count)
        ]
    )


def test_nearest__agrees_with_all_products_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "_ROWS", 7)
    monkeypatch.setattr(near_duplicates, "_COLUMNS", 11)
    queries, among = _random_features(20, 0), _random_features(45, 1000)
    found = nearest(queries, among)
    both = np.stack([queries @ among.T, mirror_features(queries) @ among.T])
    assert np.array_equal(found.index, both.max(axis=0).argmax(axis=1))
    assert np.allclose(found.score, both.max(axis=(0, 2)), atol=1e-6)


def test_nearest__leaves_out_the_query_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "_COLUMNS", 11)
    among = _random_features(30, 0)
    rows = np.arange(0, 30, 3)
    assert not (nearest(among[rows], among, rows).index == rows).any()


def test_mirror_features__are_those_of_the_mirror_image() -> None:
    rgb, ir = random_scene(0), random_scene(1)
    expected = dct_features(np.ascontiguousarray(rgb[:, ::-1]), np.ascontiguousarray(ir[:, ::-1]))
    assert np.allclose(mirror_features(dct_features(rgb, ir)[None])[0], expected, atol=1e-3)
