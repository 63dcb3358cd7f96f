"""Read from a file's header what its pixels mean: size, which way is up, depth; refuse what decoding would drop."""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from yolofuse.errors import DataError

MAX_PIXELS = 100_000_000
"""Most pixels of an image that is read; a file of a few hundred kilobytes can claim far more."""

_TOO_LARGE = f" is more than {MAX_PIXELS / 1e6:.0f} million pixels; cut it into tiles"
_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")  # for any suffix: PIL would start Ghostscript for an EPS
_EXIF_START = b"Exif\0\0"
_TIFF_STARTS = (b"II*\0", b"MM\0*")
_PNG_START, _PNG_DEPTH = 8, 24  # bytes before the first chunk, and before the bit depth
# TIFF tags
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _SAMPLE_FORMAT, _NODATA = (
    *(254, 256, 257, 258, 262, 274, 277, 339, 42113),
)
_COMPRESSION, _STRIPS, _TILES = 259, (273, 279), (324, 325)
_DEFLATE = (8, 32946)  # values of _COMPRESSION
_PLANAR, _SEPARATE = 284, 2  # tag, and its value for a plane per channel
_SIGNED, _FLOAT = 2, 3  # values of _SAMPLE_FORMAT
_BLACK_IS_ZERO, _RGB = 1, 2  # values of _PHOTOMETRIC
_AS_STORED = (None, 0, 1, 2, 3, 5, 6)  # others whose colours are read right: palettes, CMYK, YCbCr

DECODE_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, TypeError, KeyError, IndexError, OverflowError, struct.error),
    *(zlib.error, MemoryError, RuntimeError, Image.DecompressionBombError),
)
"""Errors that PIL raises on damaged files."""


def open_image(path: Path, content: BinaryIO | None = None) -> ImageFile.ImageFile:
    """Open a file, or its content, with PIL; pixels are not read yet.

    Raises one of ``DECODE_ERRORS`` if it is in none of the supported formats.

    Raises:
        DataError: If it is so large that PIL refuses it, or a TIFF of numbers that are not supported.
    """
    try:
        return Image.open(content or path, formats=_FORMATS)
    except UnidentifiedImageError:
        with nullcontext(content) if content else path.open("rb") as stream:
            stream.seek(0)
            head = stream.read(8)
            if head.startswith(_TIFF_STARTS):
                tags = TiffImagePlugin.ImageFileDirectory_v2(head)
                stream.seek(tags.next)
                tags.load(stream)
                _supported_bits(path, tags)
        raise
    except Image.DecompressionBombError as error:
        size = re.search(r"\d+ pixels", str(error))
        raise DataError(f"{path}: {size[0] if size else 'an image'}{_TOO_LARGE}") from None


def refuse_too_large(path: Path, size_hw: tuple[int, int]) -> None:
    """Refuse an image before memory is allocated for its pixels.

    Raises:
        DataError: If the image has more than ``MAX_PIXELS``.
    """
    height, width = size_hw
    if width * height > MAX_PIXELS:
        raise DataError(f"{path}: {width}x{height}{_TOO_LARGE}")


def exif_orientation(exif: bytes) -> int:
    """Return the orientation that an EXIF block gives, 1..8; 1, upright, where it gives none. As OpenCV reads it."""
    block = exif.removeprefix(_EXIF_START)
    order = {b"II": "<", b"MM": ">"}.get(block[:2], "<")
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", block, at)
            if tag == _ORIENTATION:
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        return 1  # a block that is cut short
    return 1


def orientation_of(image: ImageFile.ImageFile) -> int:
    """Return how an image is stored, by EXIF's number: 1 upright, 2..8 turned or mirrored; before it is loaded."""
    if image.format == "TIFF":
        value = _tags(image).get(_ORIENTATION, 1)
        return value if value in range(1, 9) else 1
    return exif_orientation(image.info.get("exif") or (_late_exif(image) if image.format == "PNG" else b""))


def _late_exif(image: ImageFile.ImageFile) -> bytes:
    """Return the EXIF block of a PNG that may follow its pixels, where PIL does not look before it reads them."""
    stream = image.fp
    assert stream is not None
    before = stream.tell()
    stream.seek(_PNG_START)
    exif = b""
    while not exif and len(head := stream.read(8)) == 8:
        length = int.from_bytes(head[:4], "big")
        if head[4:] == b"eXIf":
            exif = stream.read(length)
        else:
            stream.seek(length + 4, 1)  # a checksum ends each chunk
    stream.seek(before)
    return exif


def size_and_turn(image: ImageFile.ImageFile, upright: bool) -> tuple[tuple[int, int], int, int]:
    """Return height and width, upright or as stored, the orientation, and how what OpenCV decodes must be turned.

    OpenCV leaves pixels as they are stored if told to, but those of a TIFF it always turns. Call it before loading.
    """
    stored, (width, height) = orientation_of(image), image.size
    turn = stored if upright else 1
    if image.format == "TIFF":
        width, height = _tags(image)[_WIDTH], _tags(image)[_HEIGHT]  # PIL's size is upright in newer versions only
        turn = 1 if upright else {6: 8, 8: 6}.get(stored, stored)  # back
    return ((width, height) if upright and stored >= 5 else (height, width)), stored, turn


def turned(pixels: np.ndarray, turn: int) -> np.ndarray:
    """Turn or mirror pixels (H, W) or (H, W, C) by EXIF's number, so that what was stored by it is upright."""
    if turn >= 5:
        pixels = cv2.transpose(pixels)
    flip = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(turn)
    return pixels if flip is None else cv2.flip(pixels, flip)


def depth_of(path: Path, image: ImageFile.ImageFile) -> int:
    """Return bits per channel as stored: 8, 16 or 32. PIL opens some deep files as if they had 8.

    Raises:
        DataError: If it is a TIFF whose values OpenCV would take for others: signed, scaled, inverted, or in planes.
    """
    bits = 16 if image.mode.startswith("I;16") else 8
    if image.format == "PNG":
        with path.open("rb") as stream:
            bits = stream.read(_PNG_DEPTH + 1)[-1]
    elif image.format == "TIFF":
        tags = _tags(image)
        bits = _supported_bits(path, tags)
        meaning = tags.get(_PHOTOMETRIC)
        if bits > 8 and meaning not in (_BLACK_IS_ZERO, _RGB):
            raise DataError(
                f"{path}: a TIFF of {bits} bits with PhotometricInterpretation {meaning} (0: white is zero), which "
                "would be read as if black were zero; store it so"
            )
        if meaning not in _AS_STORED:
            raise DataError(
                f"{path}: a TIFF with PhotometricInterpretation {meaning} (8: CIELab), which would be read as other "
                "colours; store it as RGB or grey"
            )
        if bits > 8 and tags.get(_PLANAR) == _SEPARATE and tags.get(_SAMPLES, 1) > 1:
            raise DataError(
                f"{path}: a TIFF of {bits} bits with a plane per channel (PlanarConfiguration 2), which would be read "
                "as other numbers; store one channel, or the channels of each pixel together"
            )
    return 8 if bits <= 8 else 16 if bits <= 16 else 32


def _supported_bits(path: Path, tags: Mapping[int, Any]) -> int:
    """Return the bits of a TIFF's numbers; refuse, by their name, those that are not supported."""
    stored, kinds = tags.get(_BITS, 8), tags.get(_SAMPLE_FORMAT, 1)
    bits = max(stored) if isinstance(stored, tuple) else int(stored)
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    if _SIGNED in kinds or (bits > 8 and (bits, _FLOAT in kinds) not in {(16, False), (32, True)}):
        kind = f"signed {bits}-bit integers" if _SIGNED in kinds else f"unsigned {bits}-bit integers"
        kind = f"{bits}-bit floating-point numbers" if _FLOAT in kinds else kind
        raise DataError(f"{path}: {kind} are not supported; store 8 or 16 unsigned bits, or 32-bit floating point")
    return bits


def nodata_of(image: ImageFile.ImageFile) -> float:
    """Return the value that stands for "not measured" by a TIFF's tag GDAL_NODATA; NaN where there is none."""
    try:
        return float(str(_tags(image).get(_NODATA, "nan")).strip("\0 "))
    except ValueError:
        return math.nan  # the tag is text, and may be empty


def deflated_parts(image: ImageFile.ImageFile) -> Iterator[tuple[int, int]]:
    """Yield place and length in bytes of each strip or tile of a TIFF that is deflated."""
    tags = _tags(image)
    if tags.get(_COMPRESSION) in _DEFLATE:
        places, lengths = _STRIPS if _STRIPS[0] in tags else _TILES
        yield from zip(tags.get(places, ()), tags.get(lengths, ()), strict=True)


def refuse_dropped(path: Path, image: ImageFile.ImageFile) -> None:
    """Refuse an image of which decoding would drop something: further pictures, or a channel that is not opaque.

    An opaque alpha channel is accepted, and so are previews: smaller pictures of an MPO, pages of a TIFF marked as
    reduced copies. Pixels are read only where there is a further channel. Call it before loading.

    Raises:
        DataError: If something would be dropped.
    """
    if getattr(image, "is_animated", False):
        with open_image(path) as other:  # seeking changes what is known of the first picture
            count = int(getattr(other, "n_frames", 1))
            if not all(_is_preview(other, number, image.size) for number in range(1, count)):
                raise DataError(
                    f"{path}: holds {count} pictures (pages, frames or views), and only the first would be read; store "
                    "each as a file of its own"
                )
    if not _is_opaque(path, image):
        raise DataError(
            f"{path}: has a further channel that is not opaque throughout (transparency, or another camera's image), "
            "and it would be dropped; store the image without it, and a thermal channel as a file of its own"
        )


def _is_preview(image: ImageFile.ImageFile, number: int, first_wh: tuple[int, int]) -> bool:
    if image.format == "TIFF":
        image.seek(number)
        return bool(_tags(image).get(_SUBFILE, 0) & 1)
    if image.format != "MPO":
        return False
    try:
        image.seek(number)
    except DECODE_ERRORS:  # a program that cut the others off may have left the list of them
        return True
    return image.size[0] < first_wh[0] and image.size[1] < first_wh[1]


def _is_opaque(path: Path, image: ImageFile.ImageFile) -> bool:
    """Return whether there is no further channel, or only one that is at full scale (a BMP's spare byte: or 0)."""
    if image.has_transparency_data:
        if image.mode.startswith("I"):  # a value of 16 bits that stands for transparent
            return False
        return image.convert("RGBA").getchannel("A").getextrema() == (255, 255)
    if image.format == "BMP":
        _, _, offset, arguments = image.tile[0]
        order = arguments[0] if isinstance(arguments, tuple) else ""
        if "X" not in order:
            return True
        spare = np.fromfile(path, np.uint8, 4 * image.width * image.height, offset=offset)[order.index("X") :: 4]
        return bool((spare == 0).all() or (spare == 255).all())
    if image.format == "TIFF" and _tags(image).get(_SAMPLES, 1) > len(image.getbands()):
        pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is None or pixels.ndim != 3 or pixels.shape[2] != 4:
            return False
        return bool(pixels[..., 3].min() == (255 if pixels.dtype == np.uint8 else 65535))
    return True


def _tags(image: ImageFile.ImageFile) -> Mapping[int, Any]:
    """Return the tags of a TIFF."""
    return getattr(image, "tag_v2", {})
