"""What a header says about pixels is applied as OpenCV does, and what decoding would drop is refused by name."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from tests.support.pairs import exif_of, save_stored, turned_back
from yolofuse.data.images.decode import decode, inspect_image
from yolofuse.data.images.header import exif_orientation, open_image
from yolofuse.errors import DataError
from yolofuse.types import Modality

_HW = (24, 40)
_Y, _X = np.mgrid[: _HW[0], : _HW[1]]
_GREY = (_Y * 5 + _X * 3).astype(np.uint8)
_RGB = np.dstack([_GREY, _GREY[::-1], _GREY[:, ::-1]])
_SECOND = (_X * 6).astype(np.uint8)  # a channel or a picture with content of its own
_OPAQUE = np.full_like(_GREY, 255)


def _saved(pixels: np.ndarray, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, kind, **options)
    return stream.getvalue()


def _tiff(pixels: np.ndarray, bits: int, photometric: int, **more: int) -> bytes:
    """Encode pixels as an uncompressed TIFF of one strip, with further tags ``t338`` and so on."""
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    coded = np.ascontiguousarray(pixels).tobytes()
    tags = {256: _HW[1], 257: _HW[0], 258: bits, 259: 1, 262: photometric, 273: 0, 277: samples, 278: _HW[0]}
    tags |= {279: len(coded)} | {int(name[1:]): value for name, value in more.items()}
    end = 8 + 2 + 12 * len(tags) + 4
    depths = struct.pack(f"<{samples}H", *[bits] * samples) if samples > 2 else b""
    tags[273] = end + len(depths)
    if depths:
        tags[258] = end
    entries = [struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, tags[tag]) for tag in sorted(tags)]
    if depths:
        entries[2] = struct.pack("<HHII", 258, 3, samples, end)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(entries) + bytes(4) + depths + coded


def _late_exif(orientation: int) -> bytes:
    """Encode a PNG whose EXIF block follows its pixels, where exiftool writes it."""
    content, body = _saved(_RGB, "PNG"), b"eXIf" + exif_of(orientation).tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return content[:-12] + chunk + content[-12:]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
@pytest.mark.parametrize("modality", ["rgb", "ir"])
def test_orientation__is_applied_as_opencv_does_or_ignored(
    tmp_path: Path, suffix: str, orientation: int, modality: Modality
) -> None:
    file = tmp_path / f"a{suffix}"
    save_stored(file, _RGB if modality == "rgb" else _GREY, orientation)
    assert inspect_image(file, verify=True) == (*_HW, 8, orientation)
    flag = cv2.IMREAD_COLOR if modality == "rgb" else cv2.IMREAD_GRAYSCALE
    np.testing.assert_array_equal(decode(file, modality, 1, _HW), cv2.imdecode(np.fromfile(file, np.uint8), flag))
    assert decode(file, modality, 4, _HW).shape[:2] == (6, 10)
    stored_hw = _HW[::-1] if orientation >= 5 else _HW
    assert inspect_image(file, verify=True, orientation="ignore") == (*stored_hw, 8, orientation)
    stored = decode(file, modality, 1, stored_hw, "ignore")
    pixels = turned_back(_RGB[..., ::-1] if modality == "rgb" else _GREY, orientation)
    np.testing.assert_allclose(stored.astype(int), pixels, atol=3 if suffix == ".jpg" else 0)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_orientation__of_thermal_counts_is_applied(tmp_path: Path, dtype: Any, orientation: int) -> None:
    counts = _GREY.astype(dtype) * 100
    save_stored(tmp_path / "a.tiff", counts, orientation)
    np.testing.assert_array_equal(decode(tmp_path / "a.tiff", "ir", 1, _HW), counts)


def test_orientation__after_the_pixels_of_a_png_is_found(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(_late_exif(6))
    for verify in (False, True):
        assert inspect_image(file, verify) == (*_HW[::-1], 8, 6)
    np.testing.assert_array_equal(decode(file, "rgb", 1, _HW[::-1]), cv2.imread(str(file)))


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (exif_of(6).tobytes(), 6),
        (b"MM\0*" + struct.pack(">IHHHIHH", 8, 1, 274, 3, 1, 8, 0), 8),
        (exif_of(9).tobytes(), 1),
        (exif_of(0).tobytes(), 1),
        (exif_of(6).tobytes()[:20], 1),
        (b"Exif\0\0II*\0\xff\xff\xff\xff", 1),
        (b"Exif\0\0no exif", 1),
        (b"", 1),
    ],
)
def test_exif_orientation__is_1_where_there_is_no_valid_one(block: bytes, expected: int) -> None:
    assert exif_orientation(block) == expected


def _bmp32(spare: np.ndarray) -> bytes:
    """Encode a BMP of 32 bits, whose fourth byte has no meaning."""
    head = struct.pack("<2sIHHI", b"BM", 54 + 4 * _GREY.size, 0, 0, 54)
    head += struct.pack("<IiiHHIIiiII", 40, _HW[1], _HW[0], 1, 32, 0, 4 * _GREY.size, 0, 0, 0, 0)
    return head + np.dstack([_RGB[::-1, :, ::-1], spare[::-1]]).tobytes()


_RGBA, _RGBX = np.dstack([_RGB, _SECOND]), np.dstack([_RGB, _OPAQUE])
_OTHER, _PREVIEW = Image.fromarray(_RGB[::-1]), Image.fromarray(_RGB[::2, ::2])
_INDEXED = (_GREY // 4).astype(np.uint8)

DROPPED: dict[str, tuple[bytes, str]] = {
    "png-rgba": (_saved(_RGBA, "PNG"), "a further channel"),
    "png-grey-alpha": (_saved(np.dstack([_GREY, _SECOND]), "PNG"), "a further channel"),
    "png-transparent-grey": (_saved(_GREY, "PNG", transparency=30), "a further channel"),
    "png-transparent-colour": (_saved(_RGB, "PNG", transparency=tuple(map(int, _RGB[3, 3]))), "a further channel"),
    "png-transparent-palette": (_saved(_GREY, "PNG", transparency=30), "a further channel"),
    "png-transparent-16-bit": (_saved(_GREY.astype(np.uint16), "PNG", transparency=30), "a further channel"),
    "png-fully-transparent": (_saved(np.dstack([_RGB, _GREY * 0]), "PNG"), "a further channel"),
    "webp-rgba": (_saved(_RGBA, "WEBP", lossless=True), "a further channel"),
    "bmp-spare-byte": (_bmp32(_SECOND), "a further channel"),
    "bmp-rgba": (cv2.imencode(".bmp", _RGBA)[1].tobytes(), "a further channel"),
    "tiff-rgba": (_saved(_RGBA, "TIFF"), "a further channel"),
    "tiff-unspecified": (_tiff(_RGBA, 8, 2, t338=0), "a further channel"),
    "tiff-five": (_tiff(np.dstack([_RGBA, _OPAQUE]), 8, 2, t338=0), "(a further channel|can't be decoded)"),
    "png-frames": (_saved(_RGB, "PNG", save_all=True, append_images=[_OTHER]), "holds 2 pictures"),
    "webp-frames": (_saved(_RGB, "WEBP", save_all=True, append_images=[_OTHER]), "holds 2 pictures"),
    "tiff-pages": (_saved(_RGB, "TIFF", save_all=True, append_images=[_OTHER, _PREVIEW]), "holds 3 pictures"),
    "mpo-views": (_saved(_RGB, "MPO", save_all=True, append_images=[_PREVIEW, _OTHER]), "holds 3 pictures"),
    "tiff-16-bit-white-is-zero": (_tiff(_GREY.astype("<u2") * 100, 16, 0), "white is zero"),
    "tiff-float-white-is-zero": (_tiff(_GREY.astype("<f4"), 32, 0, t339=3), "white is zero"),
    "tiff-cielab": (_tiff(_RGB, 8, 8), "PhotometricInterpretation 8 .*other colours"),
    "tiff-12-bit": (_tiff(np.zeros((_HW[0], _HW[1] * 3 // 2), np.uint8), 12, 1), "unsigned 12-bit integers"),
    "tiff-half-float": (_tiff(_GREY.astype("<f2"), 16, 1, t339=3), "16-bit floating-point numbers are not supported"),
    "tiff-double": (_tiff(_GREY.astype("<f8"), 64, 1, t339=3), "64-bit floating-point numbers are not supported"),
    "tiff-signed": (_tiff(_GREY, 8, 1, t339=2), "signed 8-bit integers"),
}


@pytest.mark.parametrize(("bits", "dtype"), [(16, "<u2"), (8, "u1")])
def test_tiff_of_planes__is_refused_beyond_8_bits(tmp_path: Path, bits: int, dtype: str) -> None:
    file, planes, size = (
        tmp_path / "a.tiff",
        _RGB.transpose(2, 0, 1).astype(dtype) * (bits // 8),
        _GREY.size * bits // 8,
    )
    tags: Any = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in {256: _HW[1], 257: _HW[0], 258: (bits,) * 3, 259: 1, 262: 2, 277: 3, 278: _HW[0], 284: 2}.items():
        tags[tag] = value
    tags[279] = (size,) * 3
    tags[273] = (0, size, 2 * size)  # after the tags
    file.write_bytes(b"II*\0" + struct.pack("<I", 8) + tags.tobytes(8) + planes.tobytes())
    if bits == 8:
        assert inspect_image(file, verify=True) == (*_HW, 8, 1)
        np.testing.assert_array_equal(decode(file, "rgb", 1, _HW), _RGB[..., ::-1])
        return
    for verify in (False, True):
        with pytest.raises(DataError, match=r"a TIFF of 16 bits with a plane per channel \(PlanarConfiguration 2\)"):
            inspect_image(file, verify)


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize("name", DROPPED)
def test_content_that_would_be_dropped__is_refused_by_name(tmp_path: Path, name: str, verify: bool) -> None:
    content, message = DROPPED[name]
    file = tmp_path / "a.png"
    file.write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.png: .*{message}"):
        inspect_image(file, verify)


def _palette() -> bytes:
    image = Image.fromarray(_INDEXED, "L").convert("P")
    image.putpalette(bytes(range(255, -1, -1)) + bytes(512))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def _with_reduced_page() -> bytes:
    info = Image.Exif()
    info[254] = 1  # NewSubfileType: a reduced copy
    page = _PREVIEW.copy()
    page.encoderinfo = {"tiffinfo": info}
    return _saved(_RGB, "TIFF", save_all=True, append_images=[page])


KEPT: dict[str, Callable[[], bytes]] = {
    "png-opaque": lambda: _saved(_RGBX, "PNG"),
    "png-grey-opaque": lambda: _saved(np.dstack([_GREY, _OPAQUE]), "PNG"),
    "png-unused-transparent-colour": lambda: _saved(_RGB, "PNG", transparency=(1, 2, 3)),
    "png-palette": _palette,
    "webp-opaque": lambda: _saved(_RGBX, "WEBP", lossless=True),
    "bmp-unused-spare-byte": lambda: _bmp32(_GREY * 0),
    "bmp-opaque": lambda: cv2.imencode(".bmp", _RGBX)[1].tobytes(),
    "tiff-opaque": lambda: _saved(_RGBX, "TIFF"),
    "tiff-unspecified-opaque": lambda: _tiff(_RGBX, 8, 2, t338=0),
    "tiff-white-is-zero": lambda: _tiff(255 - _GREY, 8, 0),
    "tiff-reduced-page": _with_reduced_page,
    "mpo-preview": lambda: _saved(_RGB, "MPO", save_all=True, append_images=[_PREVIEW], quality=100, subsampling=0),
    "mpo-cut": lambda: _saved(_RGB, "MPO", save_all=True, append_images=[_OTHER])[:-400],
    "jpeg-cmyk": lambda: _cmyk("JPEG", quality=100),
    "tiff-cmyk": lambda: _cmyk("TIFF"),
}


def _cmyk(kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(_RGB).convert("CMYK").save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("name", KEPT)
def test_content_that_is_whole__is_read_as_pil_shows_it(tmp_path: Path, name: str) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(KEPT[name]())
    assert inspect_image(file, verify=True) == (*_HW, 8, 1)
    with open_image(file) as image:
        shown = np.asarray(image.convert("RGB"))
    np.testing.assert_allclose(decode(file, "rgb", 1, _HW)[..., ::-1].astype(int), shown, atol=2)
    luma = shown @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(decode(file, "ir", 1, _HW), luma, atol=3)
