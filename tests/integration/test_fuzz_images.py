"""Fuzz image files: each is refused by name, or read by the training reader at the inspected size."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from tests.support.fuzzing import EDITS, FUZZ, Edit, damaged, nothing_written, within_limits
from yolofuse.data.images.decode import decode, inspect_image
from yolofuse.data.images.read_pair import read_pair
from yolofuse.errors import DataError
from yolofuse.types import PairFormat, PairRecord

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # warnings of PIL about damaged files
_HW = (24, 40)
_NOISE = np.random.default_rng(0).integers(0, 255, (*_HW, 3), np.uint8)


def _saved(mode: str, kind: str, **options: Any) -> bytes:
    """Encode noise in a PIL mode and format."""
    stream = io.BytesIO()
    Image.fromarray(_NOISE).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def _coded(suffix: str, dtype: type[np.generic], channels: int = 1) -> bytes:
    """Encode noise of a depth with OpenCV."""
    noise = _NOISE[..., :channels] if channels > 1 else _NOISE[..., 0]
    done, coded = cv2.imencode(suffix, noise.astype(dtype))
    assert done
    return coded.tobytes()


def _tiff(bits: int, photometric: int = 1, sample_format: int = 1, channels: int = 1) -> bytes:
    """Encode noise as an uncompressed TIFF of any layout, also of those that few programs write."""
    height, width = _HW
    row = (width * bits * channels + 7) // 8
    pixels = np.random.default_rng(bits).integers(0, 255, row * height, np.uint8).tobytes()
    depths = struct.pack(f"<{channels}H", *[bits] * channels)
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, channels, bits), (259, 3, 1, 1)]
    tags += [(262, 3, 1, photometric), (273, 4, 1, 0), (277, 3, 1, channels), (278, 4, 1, height)]
    tags += [(279, 4, 1, len(pixels)), (339, 3, 1, sample_format)]
    after = 8 + 2 + 12 * len(tags) + 4
    values = {258: after if channels > 2 else bits | bits << 16 if channels == 2 else bits, 273: after + len(depths)}
    entries = b"".join(struct.pack("<HHII", tag, kind, n, values.get(tag, value)) for tag, kind, n, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + depths + pixels


_TURNED = Image.Exif()
_TURNED[0x0112] = 6  # EXIF orientation: rotated by 90 degrees
_FLIPPED, _SMALLER, _SMALL_PAGE = (Image.fromarray(pixels) for pixels in (_NOISE[::-1], _NOISE[:5, :7], _NOISE[:5, :7]))

READ: dict[str, bytes] = {
    "jpeg": _saved("RGB", "JPEG"),
    "jpeg-grey": _saved("L", "JPEG"),
    "jpeg-cmyk": _saved("CMYK", "JPEG"),
    "jpeg-progressive": _saved("RGB", "JPEG", progressive=True),
    "jpeg-turned": _saved("RGB", "JPEG", exif=_TURNED),
    "mpo": _saved("RGB", "MPO", save_all=True, append_images=[_SMALLER]),
    "png": _saved("RGB", "PNG"),
    "png-1-bit": _saved("1", "PNG"),
    "png-grey-alpha": _saved("LA", "PNG"),
    "png-palette": _saved("P", "PNG", transparency=3),
    "png-rgba": _saved("RGBA", "PNG"),
    "png-16": _coded(".png", np.uint16),
    "png-16-rgb": _coded(".png", np.uint16, 3),
    "bmp": _saved("RGB", "BMP"),
    "bmp-1-bit": _saved("1", "BMP"),
    "bmp-palette": _saved("P", "BMP"),
    "tiff": _saved("RGB", "TIFF"),
    "tiff-big": _saved("RGB", "TIFF", big_tiff=True),
    "tiff-lzw": _saved("RGB", "TIFF", compression="tiff_lzw"),
    "tiff-jpeg": _saved("RGB", "TIFF", compression="jpeg"),
    "tiff-fax": _saved("1", "TIFF", compression="group4"),
    "tiff-cmyk": _saved("CMYK", "TIFF"),
    "tiff-turned": _saved("RGB", "TIFF", tiffinfo={0x0112: 6}),
    "tiff-16": _coded(".tiff", np.uint16),
    "tiff-float": _coded(".tiff", np.float32),
    "tiff-white-is-zero": _tiff(8, photometric=0),
    "webp": _saved("RGB", "WEBP"),
    "webp-lossless": _saved("RGBA", "WEBP", lossless=True),
    "webp-turned": _saved("RGB", "WEBP", exif=_TURNED),
}

# PIL reads all of these, some by starting another program; OpenCV, which training uses, does not, or only a part.
REFUSED: dict[str, bytes] = {
    "tiff-zstd": _saved("RGB", "TIFF", compression="zstd"),
    "tiff-lzma": _saved("L", "TIFF", compression="lzma"),
    "tiff-2-bit": _tiff(2),
    "tiff-4-bit": _tiff(4),
    "tiff-signed-8": _coded(".tiff", np.int8),
    "tiff-signed-16": _coded(".tiff", np.int16),
    "tiff-32-bit-integers": _coded(".tiff", np.int32),
    "tiff-pages": _saved("RGB", "TIFF", save_all=True, append_images=[_SMALL_PAGE]),
    "png-animated": _saved("RGB", "PNG", save_all=True, append_images=[_FLIPPED]),
    "webp-animated": _saved("RGB", "WEBP", save_all=True, append_images=[_FLIPPED]),
    "tiff-double": _coded(".tiff", np.float64),
    "gif": _saved("P", "GIF"),
    "ppm": _saved("RGB", "PPM"),
    "tga": _saved("RGB", "TGA"),
    "ico": _saved("RGB", "ICO"),
    "eps": _saved("RGB", "EPS"),
    "qoi": _saved("RGB", "QOI"),
    "too-wide": _saved("1", "PNG")[:16] + struct.pack(">II", 10**9, 1) + _saved("1", "PNG")[24:],
    "no-size": _saved("1", "PNG")[:16] + struct.pack(">II", 0, 0) + _saved("1", "PNG")[24:],
    "nothing": b"",
}


def _inspect_and_read(file: Path) -> None:
    """Inspect a file; if it passes, it must be readable as either modality, at full and reduced size."""
    info = inspect_image(file, verify=True)
    window = (0.0, 255.0) if info.bits > 8 else None
    bits: Any = 8 if info.bits == 8 else 16
    record = PairRecord(1, "a", file, file, None, info[:2], info[:2], PairFormat(ir_window=window, bits=bits))
    if info.bits > 8:  # thermal only: training refuses deep visible images
        deep = decode(file, "ir", 1, info[:2])
        assert deep.shape == info[:2]
        assert deep.dtype == (np.uint16 if info.bits == 16 else np.float32)
        return
    assert read_pair(record).shape == (*info[:2], 4)
    half = (max(info.height // 2, 1), max(info.width // 2, 1))
    assert read_pair(record, half).shape == (*half, 4)


@pytest.mark.parametrize("name", READ)
def test_kind__is_read_at_its_size(tmp_path: Path, name: str) -> None:
    file = tmp_path / "a.png"  # the suffix does not matter
    file.write_bytes(READ[name])
    assert inspect_image(file, verify=True)[:2] == (_HW[::-1] if "turned" in name else _HW)
    _inspect_and_read(file)


@pytest.mark.parametrize("name", REFUSED)
def test_kind__unsupported_by_training_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(REFUSED[name])
    with within_limits("a.png"), pytest.raises(DataError, match=r"a\.png: "):
        inspect_image(file, verify=True)


def test_eps__starts_no_other_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(REFUSED["eps"])
    monkeypatch.setattr("subprocess.Popen", lambda *args, **kwargs: pytest.fail("a program was started"))
    with pytest.raises(DataError, match="no image"):
        inspect_image(file, verify=True)


@FUZZ
@given(name=st.sampled_from(sorted(READ)), edits=EDITS)
@example(name="png-grey-alpha", edits=[("cut", 0.5, b"")])
@example(name="tiff", edits=[("put", 0.0, b"II*\0\xff\xff\xff\xff")])
def test_damaged_image__is_refused_or_read_whole(
    tmp_path_factory: pytest.TempPathFactory, name: str, edits: list[Edit]
) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzzed.png"
    file.write_bytes(damaged(READ[name], edits))
    with within_limits("fuzzed.png", seconds=20):  # a header may claim a hundred million pixels
        _inspect_and_read(file)


@pytest.mark.parametrize("name", sorted(READ))
def test_cut_image__is_refused_or_read_whole(tmp_path: Path, name: str) -> None:
    file = tmp_path / "a.png"
    content = READ[name]
    for length in range(0, len(content), max(len(content) // 40, 1)):
        file.write_bytes(content[:length])
        with within_limits("a.png"), nothing_written(tmp_path):
            _inspect_and_read(file)


_NO_FILE: dict[str, Callable[[Path], object]] = {
    "folder": lambda file: file.mkdir(),
    "link to itself": lambda file: file.symlink_to(file.name),
    "dangling link": lambda file: file.symlink_to("nowhere"),
    "missing": lambda file: None,
}


@pytest.mark.parametrize("name", _NO_FILE)
def test_no_file__is_refused_by_name(tmp_path: Path, name: str) -> None:
    file = tmp_path / "a.png"
    _NO_FILE[name](file)
    with pytest.raises(DataError, match=r"a\.png"):
        inspect_image(file, verify=True)
    with pytest.raises(DataError, match=r"a\.png"):
        decode(file, "ir", 1, _HW)


def test_unsupported_depth__is_refused_at_reduced_size(tmp_path: Path) -> None:
    file = tmp_path / "a.tiff"
    file.write_bytes(_coded(".tiff", np.int8))  # as without data.verify
    with pytest.raises(DataError, match=r"a\.tiff: int8 pixels are not supported"):
        decode(file, "ir", 2, _HW)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root can read every file")
def test_image__without_permission_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(READ["png"])
    file.chmod(0)
    with pytest.raises(DataError, match=r"a\.png"):
        inspect_image(file, verify=True)
