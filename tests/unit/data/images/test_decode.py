from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ImageFile

from yolofuse.data.images import header
from yolofuse.data.images.decode import decode, inspect_image, reduction_for, strict_decoding
from yolofuse.errors import DataError

_HW = (24, 40)


def _write(file: Path, dtype: type[np.generic] = np.uint8, channels: int = 3) -> Path:
    noise = np.random.default_rng(0).integers(0, 255, (*_HW, channels)).astype(dtype)
    assert cv2.imwrite(str(file), noise)
    return file


@pytest.mark.parametrize(
    ("name", "dtype", "bits"),
    [("a.jpg", np.uint8, 8), ("a.png", np.uint8, 8), ("a.png", np.uint16, 16), ("a.tiff", np.float32, 32)],
)
def test_inspect_image__returns_size_and_depth(tmp_path: Path, name: str, dtype: type[np.generic], bits: int) -> None:
    file = _write(tmp_path / name, dtype, channels=1)
    for verify in (False, True):
        assert inspect_image(file, verify) == (*_HW, bits, 1)
    assert decode(file, "ir", 1, _HW).dtype == dtype


def test_inspect_image__only_verify_finds_a_truncated_file(tmp_path: Path) -> None:
    file = _write(tmp_path / "a.png")
    file.write_bytes(file.read_bytes()[:-200])
    assert inspect_image(file, verify=False)[:2] == _HW
    with strict_decoding(), pytest.raises(DataError, match=r"a\.png: can't be decoded, damaged or no image"):
        inspect_image(file, verify=True)


def test_strict_decoding__restores_the_setting_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with strict_decoding():
        assert not ImageFile.LOAD_TRUNCATED_IMAGES
    assert ImageFile.LOAD_TRUNCATED_IMAGES


def test_inspect_image__too_many_pixels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header, "MAX_PIXELS", _HW[0] * _HW[1] - 1)
    with pytest.raises(DataError, match=re.escape("a.png: 40x24")):
        inspect_image(_write(tmp_path / "a.png"), verify=False)


def test_decode__rgb_is_bgr_and_ir_one_channel(tmp_path: Path) -> None:
    pixels = np.full((*_HW, 3), (10, 20, 30), np.uint8)
    file = tmp_path / "a.png"
    assert cv2.imwrite(str(file), pixels)
    np.testing.assert_array_equal(decode(file, "rgb", 1, _HW), pixels)
    assert decode(file, "ir", 4, _HW).shape == (6, 10)


def test_decode__another_size_than_paired_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="its size changed since it was paired; start again"):
        decode(_write(tmp_path / "a.png"), "rgb", 1, (24, 41))


@pytest.mark.parametrize(("scale", "reduction"), [(2.0, 1), (0.51, 1), (0.5, 2), (0.3, 2), (0.25, 4), (0.01, 8)])
def test_reduction_for__never_magnifies(scale: float, reduction: int) -> None:
    assert reduction_for(scale, (64, 96)) == reduction


@pytest.mark.parametrize(("size_hw", "reduction"), [((64, 100), 4), ((62, 96), 2), ((63, 96), 1), ((64, 97), 1)])
def test_reduction_for__divides_both_sides(size_hw: tuple[int, int], reduction: int) -> None:
    assert reduction_for(0.01, size_hw) == reduction
