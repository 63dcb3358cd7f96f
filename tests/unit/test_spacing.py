from __future__ import annotations

import numpy as np
import pytest

from yolofuse.spacing import evenly_spaced


@pytest.mark.parametrize(("count", "most"), [(0, 3), (1, 1), (5, 1), (3, 8), (10, 4), (1000, 7), (101, 100)])
def test_evenly_spaced__spans_the_range_without_repeats(count: int, most: int) -> None:
    found = evenly_spaced(count, most)
    assert len(found) == min(count, most) == len(set(found))
    assert found == sorted(found)
    if most > 1 and count > 1:
        assert (found[0], found[-1]) == (0, count - 1)
        assert np.ptp(np.diff(found)) <= 1
