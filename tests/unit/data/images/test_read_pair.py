from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.pairs import Picture, make_pairs, pairs_of
from yolofuse.data.images.read_pair import (
    PAD,
    fitted_hw,
    luma_and_ir,
    pad_value,
    read_pair,
    read_thumbnail,
    to_bytes,
    training_hw,
)
from yolofuse.data.index.pair_set import PairSet


@pytest.mark.parametrize("size_hw", [(64, 96), (48, 80)])
@pytest.mark.parametrize("reduction", [2, 4, 8])
@pytest.mark.parametrize("suffixes", [(".jpg", ".jpg"), (".png", ".png"), (".jpg", ".png")])
def test_read_pair__reduced_size_is_the_mean_of_blocks(
    tmp_path: Path, size_hw: tuple[int, int], reduction: int, suffixes: tuple[str, str]
) -> None:
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    ramp = (x * 2 + y).astype(np.uint8)
    picture: Picture = (np.repeat(ramp[..., None], 3, axis=2), ramp, [])
    record = pairs_of(make_pairs(tmp_path, 1, 0, picture=lambda index: picture, suffixes=suffixes)).records[0]
    small = read_pair(record, (size_hw[0] // reduction, size_hw[1] // reduction))
    assert small.shape == (size_hw[0] // reduction, size_hw[1] // reduction, 4)
    # Pixel i of the small image is the mean of its block of file pixels.
    blocks = ramp.astype(float).reshape(small.shape[0], reduction, -1, reduction).mean(axis=(1, 3))
    for channel in (0, 3):
        assert np.abs(small[..., channel] - blocks).max() < 4


@pytest.mark.parametrize(
    ("size_hw", "expected"),
    [((64, 96), (64, 96)), ((120, 256), (60, 128)), ((1024, 1280), (128, 160)), ((97, 300), (97, 300))],
)
def test_training_hw__reduces_by_whole_factors_only(size_hw: tuple[int, int], expected: tuple[int, int]) -> None:
    assert training_hw(size_hw, 128) == expected


@pytest.mark.parametrize(("size_hw", "expected"), [((64, 96), (32, 48)), ((20, 30), (20, 30)), ((1, 480), (1, 48))])
def test_fitted_hw__never_enlarges(size_hw: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fitted_hw(size_hw, 48) == expected


def test_read_thumbnail__is_the_pair_in_8_bits(ten_pairs: PairSet) -> None:
    record = ten_pairs.records[3]
    np.testing.assert_array_equal(read_thumbnail(record, 200), read_pair(record))
    assert read_thumbnail(record, 48).shape == (32, 48, 4)


def test_luma_and_ir__splits_a_pair(ten_pairs: PairSet) -> None:
    pixels = read_thumbnail(ten_pairs.records[0], 96)
    luma, ir = luma_and_ir(pixels)
    np.testing.assert_allclose(luma, pixels[..., :3] @ [0.299, 0.587, 0.114], atol=1)
    np.testing.assert_array_equal(ir, pixels[..., 3])
    assert ir.flags.c_contiguous


def test_to_bytes__keeps_the_level_of_both_depths() -> None:
    deep = np.full((2, 2, 4), pad_value(np.dtype(np.uint16)), np.uint16)
    assert (to_bytes(deep) == PAD).all()
    shallow = np.full((2, 2, 4), PAD, np.uint8)
    assert to_bytes(shallow) is shallow
