from __future__ import annotations

import pytest

from yolofuse.nn import GatedFusion


@pytest.mark.parametrize(("reduction", "hidden"), [(4, 16), (2, 32), (64, 8)])
def test_gated__reduction_sets_the_hidden_width(reduction: int, hidden: int) -> None:
    assert GatedFusion(64, reduction).gate.squeeze.out_channels == hidden
    assert GatedFusion(64).gate.squeeze.out_channels == 16


def test_gated__reduction_must_be_positive() -> None:
    with pytest.raises(ValueError, match="reduction: must be at least 1"):
        GatedFusion(64, reduction=0)
