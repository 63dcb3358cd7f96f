"""Read one image file: size and depth from its header, a check for damage, and its pixels at a reduced size."""

from __future__ import annotations

import io
import re
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from yolofuse.errors import DataError
from yolofuse.types import Modality

RawArray = npt.NDArray[Any]
"""Pixels as stored: uint8, uint16 or float32."""

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
_JPEG_START = b"\xff\xd8"
_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")  # for any suffix: PIL would start Ghostscript for an EPS
MAX_PIXELS = 100_000_000
"""Most pixels of an image that is read; a file of a few hundred kilobytes can claim far more."""

_TOO_LARGE = f" is more than {MAX_PIXELS / 1e6:.0f} million pixels; cut it into tiles"
_LARGE_PIXELS = 16_000_000  # larger images are decoded by one thread at a time, to bound memory
_BITS_PER_SAMPLE, _SAMPLE_FORMAT, _ORIENTATION = 258, 339, 274  # TIFF tags
_IS_FLOAT = 3  # a TIFF's sample format
_PNG_DEPTH_OFFSET = 24  # byte of the bit depth: 8 of signature, 8 of chunk head, 8 of width and height

DECODE_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, TypeError, KeyError, IndexError, OverflowError, struct.error),
    *(zlib.error, MemoryError, RuntimeError, Image.DecompressionBombError),
)
"""Errors that PIL raises on damaged files."""

# EXIF orientation is ignored in both modalities: IR files rarely have one, and labels refer to stored pixels.
_READ_FLAGS = {  # colour and grey
    1: (cv2.IMREAD_COLOR, cv2.IMREAD_GRAYSCALE),
    2: (cv2.IMREAD_REDUCED_COLOR_2, cv2.IMREAD_REDUCED_GRAYSCALE_2),
    4: (cv2.IMREAD_REDUCED_COLOR_4, cv2.IMREAD_REDUCED_GRAYSCALE_4),
    8: (cv2.IMREAD_REDUCED_COLOR_8, cv2.IMREAD_REDUCED_GRAYSCALE_8),
}


class ImageInfo(NamedTuple):
    """Size and depth from an image's header."""

    height: int
    width: int
    bits: int  # per channel: 8, 16 or, for floating point, 32


def inspect_image(path: Path, verify: bool) -> ImageInfo:
    """Return size in stored pixels and depth from the header; with ``verify`` decode the whole file once.

    Raises:
        DataError: If the file is no image, too large, of an unsupported depth, or (with ``verify``) damaged.
    """
    try:
        with open_image(path) as image:
            width, height = image.size
            refuse_too_large(path, (height, width))
            bits = _depth(path, image)
            if verify and bits == 8:
                # A JPEG at an eighth of its size: every encoded bit is still read, the costly rest is left out.
                image.draft("L", (max(width // 8, 1), max(height // 8, 1)))
                with _large_image_lock((height, width)):
                    image.load()
            is_jpeg = image.format in ("JPEG", "MPO")
    except DECODE_ERRORS as error:
        raise DataError(f"{path}: can't be decoded, damaged or no image ({error})") from None
    if verify and not is_jpeg:  # PIL supports few deep formats, and OpenCV fewer compressions than PIL
        decode(path, "ir", 1, (height, width))
    return ImageInfo(height, width, bits)


def refuse_too_large(path: Path, size_hw: tuple[int, int]) -> None:
    """Refuse an image before memory is allocated for its pixels.

    Raises:
        DataError: If the image has more than ``MAX_PIXELS``.
    """
    height, width = size_hw
    if width * height > MAX_PIXELS:
        raise DataError(f"{path}: {width}x{height}{_TOO_LARGE}")


def open_image(path: Path, content: BinaryIO | None = None) -> Image.Image:
    """Open a file, or its content, with PIL; pixels are not read yet.

    Raises one of ``DECODE_ERRORS`` if it is in none of the supported formats.

    Raises:
        DataError: If it is so large that PIL refuses it.
    """
    try:
        return Image.open(content or path, formats=_FORMATS)
    except Image.DecompressionBombError as error:
        size = re.search(r"\d+ pixels", str(error))
        raise DataError(f"{path}: {size[0] if size else 'an image'}{_TOO_LARGE}") from None


_large_lock = threading.Lock()


def _large_image_lock(size_hw: tuple[int, int]) -> AbstractContextManager[object]:
    return _large_lock if size_hw[0] * size_hw[1] >= _LARGE_PIXELS else nullcontext()


def _depth(path: Path, image: Image.Image) -> int:
    """Return bits per channel as stored. PIL opens some deep files as if they had 8."""
    bits = 16 if image.mode.startswith("I;16") else 8
    if image.format == "PNG":
        with path.open("rb") as stream:
            bits = stream.read(_PNG_DEPTH_OFFSET + 1)[-1]
    elif image.format == "TIFF":
        tags = getattr(image, "tag_v2", {})
        if tags.get(_ORIENTATION, 1) != 1:  # OpenCV applies it to TIFF with any flag, so labels would not fit
            raise DataError(
                f"{path}: stored turned or mirrored (TIFF orientation {tags[_ORIENTATION]}); store it upright"
            )
        stored = tags.get(_BITS_PER_SAMPLE, (8,))
        bits = max(stored) if isinstance(stored, tuple) else int(stored)
        sample_format = tags.get(_SAMPLE_FORMAT, (1,))
        is_float = _IS_FLOAT in (sample_format if isinstance(sample_format, tuple) else (sample_format,))
        if bits > 16 and not (bits == 32 and is_float):
            raise DataError(f"{path}: {bits}-bit integers are not supported; store 16 bits, or 32-bit floating point")
    return 8 if bits <= 8 else 16 if bits <= 16 else 32


_strict_lock = threading.Lock()


@contextmanager
def strict_decoding() -> Iterator[None]:
    """Make PIL refuse truncated files inside the context; other libraries switch that off globally."""
    with _strict_lock:
        before = ImageFile.LOAD_TRUNCATED_IMAGES
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before


def reduction_for(scale: float, size_hw: tuple[int, int]) -> int:
    """Return the largest factor by which an image may be decoded smaller and still not be magnified by ``scale``.

    It divides both sides, so that the smaller image covers exactly the same area.
    """
    for factor in (8, 4, 2):
        if scale * factor <= 1.0 + 1e-6 and not (size_hw[0] % factor or size_hw[1] % factor):
            return factor
    return 1


def decode(path: Path, modality: Modality, reduction: int, size_hw: tuple[int, int]) -> RawArray:
    """Read the pixels of one file, ``reduction`` times smaller on both sides.

    A JPEG is decoded directly at the smaller size, which takes two thirds of the time for a 1280x1024 image.

    Args:
        path: The file.
        modality: ``rgb`` returns uint8 B, G, R as OpenCV does; ``ir`` one channel in the stored depth.
        reduction: 1, 2, 4 or 8; divides both sides.
        size_hw: Size of the file when it was paired.

    Shapes:
        -> (H / reduction, W / reduction, 3) or (H / reduction, W / reduction)

    Raises:
        DataError: If the file is gone, damaged, or of another size than when it was paired.
    """
    try:
        encoded = np.fromfile(path, np.uint8)
        _refuse_other_size(path, encoded, size_hw)
        is_jpeg = encoded[:2].tobytes() == _JPEG_START
        flag = _READ_FLAGS[reduction if is_jpeg else 1][modality == "ir"] | cv2.IMREAD_IGNORE_ORIENTATION
        if modality == "ir" and not is_jpeg:
            flag |= cv2.IMREAD_ANYDEPTH
        with _large_image_lock(size_hw):
            pixels = cv2.imdecode(encoded, flag)
    except (OSError, cv2.error) as error:
        raise DataError(f"{path}: can't be read ({error})") from None
    if pixels is None:
        raise DataError(f"{path}: can't be decoded, damaged or of an unsupported kind; store it as PNG or JPEG")
    if pixels.dtype not in (np.uint8, np.uint16, np.float32):
        raise DataError(
            f"{path}: {pixels.dtype} pixels are not supported; store 8 or 16 bits, or 32-bit floating point"
        )
    expected_hw = (size_hw[0] // reduction, size_hw[1] // reduction)
    if reduction > 1 and not is_jpeg and pixels.shape[:2] == size_hw:
        pixels = cv2.resize(pixels, expected_hw[::-1], interpolation=cv2.INTER_AREA)
    if pixels.shape[:2] != expected_hw:
        raise DataError(f"{path}: its size changed since it was paired; start again")
    return pixels


def _refuse_other_size(path: Path, encoded: npt.NDArray[np.uint8], size_hw: tuple[int, int]) -> None:
    """Compare the header with the size that was paired, so that a file that replaced it is not decoded."""
    try:
        with open_image(path, io.BytesIO(encoded.data)) as image:
            width, height = image.size
    except DECODE_ERRORS as error:
        raise DataError(f"{path}: can't be decoded, damaged or no image ({error})") from None
    if (height, width) != size_hw:
        raise DataError(f"{path}: its size changed since it was paired; start again")
