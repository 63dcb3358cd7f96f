"""Data sets that several test files of the data loading share; nobody writes to them."""

from __future__ import annotations

import pytest

from tests.support.pairs import make_pairs, pairs_of, random_pair
from yolofuse.data.dataset import EvalDataset
from yolofuse.data.index.pair_set import PairSet


@pytest.fixture(scope="session")
def ten_pairs(tmp_path_factory: pytest.TempPathFactory) -> PairSet:
    """Ten pairs of 64 x 96, JPEG and PNG."""
    return pairs_of(make_pairs(tmp_path_factory.mktemp("ten_pairs"), 10, 0, suffixes=(".jpg", ".png")))


@pytest.fixture(scope="session")
def two_shapes(tmp_path_factory: pytest.TempPathFactory) -> EvalDataset:
    """Nine pairs of two shapes, in mixed order."""
    root = tmp_path_factory.mktemp("two_shapes")
    pairs = make_pairs(root, 9, 0, pair_at=lambda index: random_pair(index, (32 if index % 2 else 64, 64)))
    return EvalDataset(pairs_of(pairs), 64)
