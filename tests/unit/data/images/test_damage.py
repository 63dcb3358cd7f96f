"""Damage that decoders report to nobody is refused where files are verified."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from yolofuse.data.images.decode import inspect_image
from yolofuse.data.images.header import deflated_parts, open_image
from yolofuse.errors import DataError

_HW = (96, 128)
_END = b"\xff\xd9"
_NOISE = np.random.default_rng(0).integers(0, 255, (*_HW, 3)).astype(np.uint8)
_LETTERBOXED = _NOISE.copy()
_LETTERBOXED[64:] = 128  # what decoders show where codes are missing
_SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "full colour": {"subsampling": 0},
    "optimised": {"optimize": True},
    "progressive": {"progressive": True},
    "restart markers": {"restart_marker_blocks": 4},
}


def _jpeg(pixels: np.ndarray, mode: str = "RGB", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, "JPEG", **options)
    return stream.getvalue()


def _with_thumbnail(content: bytes) -> bytes:
    """Add a segment that holds a whole JPEG, as EXIF does."""
    thumbnail = _jpeg(_NOISE[:16, :16])
    return content[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + content[2:]


def _zeroed(content: bytes, share: float) -> bytes:
    kept = int(len(content) * share)
    return content[:kept] + bytes(len(content) - kept)


def _cut(content: bytes, share: float) -> bytes:
    return content[: int(len(content) * share)] + _END


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("setting", _SETTINGS)
@pytest.mark.parametrize("pixels", [_NOISE, _LETTERBOXED, np.full_like(_NOISE, 128)], ids=["noise", "box", "grey"])
@pytest.mark.parametrize("after", [b"", bytes(3000), b"from the camera" + _END + b"."])
def test_whole_jpeg__is_accepted(tmp_path: Path, pixels: np.ndarray, setting: str, mode: str, after: bytes) -> None:
    file = tmp_path / "a.jpg"
    options = {} if mode == "L" and "subsampling" in _SETTINGS[setting] else _SETTINGS[setting]
    file.write_bytes(_jpeg(pixels, mode, **options) + after)
    assert inspect_image(file, verify=True) == (*_HW, 8, 1)


@pytest.mark.parametrize("setting", _SETTINGS)
@pytest.mark.parametrize("share", [0.6, 0.8, 0.99])
def test_jpeg_with_a_tail_of_zeros__is_refused(tmp_path: Path, setting: str, share: float) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(_zeroed(_with_thumbnail(_jpeg(_NOISE, **_SETTINGS[setting])), share))
    assert inspect_image(file, verify=False) == (*_HW, 8, 1)
    with pytest.raises(
        DataError, match=r"a\.jpg: (damaged: the end of this JPEG is missing|.*image file is truncated)"
    ):
        inspect_image(file, verify=True)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("setting", [name for name in _SETTINGS if name != "progressive"])
@pytest.mark.parametrize("share", [0.6, 0.8, 0.95])
@pytest.mark.parametrize("after", [b"", bytes(3000)])
def test_jpeg_that_was_cut_and_ended__is_refused(
    tmp_path: Path, setting: str, mode: str, share: float, after: bytes
) -> None:
    file = tmp_path / "a.jpg"
    options = {} if mode == "L" and "subsampling" in _SETTINGS[setting] else _SETTINGS[setting]
    file.write_bytes(_cut(_jpeg(_NOISE, mode, **options), share) + after)
    with pytest.raises(DataError, match=r"a\.jpg: damaged: the end of this JPEG is missing .*copy the file again"):
        inspect_image(file, verify=True)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("compression", [8, 32946])
def test_deflated_tiff__needs_its_checksums(tmp_path: Path, dtype: type, compression: int) -> None:
    file = tmp_path / "a.tif"
    options = [cv2.IMWRITE_TIFF_COMPRESSION, compression]
    assert cv2.imwrite(str(file), (_NOISE[..., 0] // 32).astype(dtype), options)
    whole = file.read_bytes()
    assert inspect_image(file, verify=True)[:2] == _HW
    with open_image(file) as image:
        first, length = next(deflated_parts(image))
    for place in (first + length - 1, first + length // 2):  # in the checksum, and in the codes
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(DataError, match=r"a\.tif: (can't be decoded, damaged|damaged: a deflated part)"):
            inspect_image(file, verify=True)
