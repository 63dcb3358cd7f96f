from __future__ import annotations

import pytest
import torch

from yolofuse.nn import AttentionFusion


@pytest.mark.parametrize("kernel_size", [1, 3, 7])
def test_attention__options_keep_the_shape(kernel_size: int) -> None:
    block = AttentionFusion(16, reduction=2, kernel_size=kernel_size)
    assert block.spatial.kernel_size == (kernel_size, kernel_size)
    assert block.channel.squeeze.out_channels == 8
    rgb, ir = torch.randn(2, 2, 16, 5, 6).unbind(0)
    assert block(rgb, ir).shape == rgb.shape


@pytest.mark.parametrize("kernel_size", [0, -1, 2, 33])
def test_attention__kernel_must_be_odd_and_small(kernel_size: int) -> None:
    with pytest.raises(ValueError, match="kernel_size: must be odd"):
        AttentionFusion(16, kernel_size=kernel_size)
