"""Data sets that the tests of GPU augmentation share; nobody writes to them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.gpu_batches import noisy, smooth
from tests.support.pairs import LabelledPair, make_pairs, pairs_of
from yolofuse.data.index.pair_set import PairSet


@pytest.fixture(scope="session")
def png_pairs(tmp_path_factory: pytest.TempPathFactory) -> PairSet:
    return pairs_of(make_pairs(tmp_path_factory.mktemp("png"), 5, 0, pair_at=noisy))


@pytest.fixture(scope="session")
def jpeg_pairs(tmp_path_factory: pytest.TempPathFactory) -> PairSet:
    root = tmp_path_factory.mktemp("jpeg")
    return pairs_of(make_pairs(root, 5, 0, pair_at=smooth, suffixes=(".jpg", ".jpeg")))


@pytest.fixture(scope="session")
def deep_pairs(tmp_path_factory: pytest.TempPathFactory) -> PairSet:
    """Thermal counts of 16 bits."""

    def deep(index: int) -> LabelledPair:
        bgr, ir, boxes = noisy(index)
        counts = 7000 + 4 * ir.astype(np.uint16)
        return bgr, counts, boxes  # type: ignore[return-value]

    root = tmp_path_factory.mktemp("deep")
    return pairs_of(make_pairs(root, 5, 0, pair_at=deep, extra={"ir_window": [7000, 8000]}))
