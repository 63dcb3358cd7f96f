from __future__ import annotations

import numpy as np
import pytest

from tests.support.pairs import record_calls
from yolofuse.data.images import lru_reader
from yolofuse.data.images.lru_reader import LruReader
from yolofuse.data.images.read_pair import read_pair
from yolofuse.data.index.pair_set import PairSet


@pytest.mark.parametrize(("capacity", "num_decoded"), [(0, 5), (1, 4), (2, 3)])
def test_lru_reader__keeps_the_last_pairs(
    ten_pairs: PairSet, monkeypatch: pytest.MonkeyPatch, capacity: int, num_decoded: int
) -> None:
    decoded = record_calls(monkeypatch, lru_reader, "read_pair")
    reader = LruReader(ten_pairs.records, 96, capacity)
    for index in (0, 0, 1, 0, 2):
        np.testing.assert_array_equal(reader.read(index), read_pair(ten_pairs.records[index]))
    assert len(decoded) == num_decoded
