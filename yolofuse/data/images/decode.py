"""Read one image: what its header says, whether the file is whole, and its pixels, smaller where wanted."""

from __future__ import annotations

import io
import re
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
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
_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")  # whatever the suffix says: PIL hands an EPS to Ghostscript
MAX_PIXELS = 100_000_000
"""Of an image that is read; a file of a few hundred kilobytes can claim far more. Cut larger ones into tiles."""

_TOO_LARGE = f" is more than {MAX_PIXELS / 1e6:.0f} million pixels; cut it into tiles"
_LARGE_PIXELS = 16_000_000  # from here on threads decode one at a time: memory is then that of one, not of each
_BITS_PER_SAMPLE, _SAMPLE_FORMAT, _ORIENTATION = 258, 339, 274  # TIFF tags
_IS_FLOAT = 3  # a TIFF's sample format
_PNG_DEPTH_OFFSET = 24  # byte of the bit depth: 8 of signature, 8 of chunk head, 8 of width and height

DAMAGE = (
    *(OSError, SyntaxError, ValueError, EOFError, TypeError, KeyError, IndexError, OverflowError, struct.error),
    *(zlib.error, MemoryError, RuntimeError, Image.DecompressionBombError),
)
"""What PIL raises on damaged files."""

# A camera's orientation note is ignored in both modalities: IR files rarely carry one, and labels mean stored pixels.
_COLOR = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_GRAY = {
    1: cv2.IMREAD_GRAYSCALE,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


class ImageInfo(NamedTuple):
    """What an image's header says."""

    height: int
    width: int
    bits: int
    """Per channel: 8, 16 or, for floating point, 32."""


def inspect_image(path: Path, verify: bool) -> ImageInfo:
    """Size in stored pixels and depth, from the header; with ``verify`` the whole file is decoded once.

    Raises:
        DataError: If the file is no image, too large, of a depth that is not read, or (with ``verify``) damaged.
    """
    try:
        with open_image(path) as image:
            width, height = image.size
            refuse_too_large(path, (height, width))
            bits = _depth(path, image)
            if verify and bits == 8:
                # For a JPEG an eighth of the size: every coded bit is still read, the costly rest is left out.
                image.draft("L", (max(width // 8, 1), max(height // 8, 1)))
                with _one_large_at_a_time((height, width)):
                    image.load()
            is_jpeg = image.format in ("JPEG", "MPO")
    except DAMAGE as error:
        raise DataError(f"{path}: can't be decoded, damaged or no image ({error})") from None
    if verify and not is_jpeg:  # PIL knows few deep formats, and OpenCV fewer ways of compression than PIL
        decode(path, "ir", 1, (height, width))
    return ImageInfo(height, width, bits)


def refuse_too_large(path: Path, size_hw: tuple[int, int]) -> None:
    """Stop before memory is taken for pixels.

    Raises:
        DataError: If the image has more than ``MAX_PIXELS``.
    """
    height, width = size_hw
    if width * height > MAX_PIXELS:
        raise DataError(f"{path}: {width}x{height}{_TOO_LARGE}")


def open_image(path: Path, content: BinaryIO | None = None) -> Image.Image:
    """The file, or its content, as PIL sees it, pixels not yet read.

    Raises one of ``DAMAGE`` if it is none of the formats we read.

    Raises:
        DataError: If it is so large that PIL does not open it.
    """
    try:
        return Image.open(content or path, formats=_FORMATS)
    except Image.DecompressionBombError as error:
        size = re.search(r"\d+ pixels", str(error))
        raise DataError(f"{path}: {size[0] if size else 'an image'}{_TOO_LARGE}") from None


_large_lock = threading.Lock()


@contextmanager
def _one_large_at_a_time(size_hw: tuple[int, int]) -> Iterator[None]:
    if size_hw[0] * size_hw[1] < _LARGE_PIXELS:
        yield
        return
    with _large_lock:
        yield


def _depth(path: Path, image: Image.Image) -> int:
    """Bits per channel as stored. PIL opens some deep files as if they had 8."""
    bits = 16 if image.mode.startswith("I;16") else 8
    if image.format == "PNG":
        with path.open("rb") as stream:
            bits = stream.read(_PNG_DEPTH_OFFSET + 1)[-1]
    elif image.format == "TIFF":
        tags = getattr(image, "tag_v2", {})
        if tags.get(_ORIENTATION, 1) != 1:  # OpenCV obeys it in TIFF whatever it is told, so labels would not fit
            raise DataError(
                f"{path}: stored turned or mirrored (TIFF orientation {tags[_ORIENTATION]}); store it upright"
            )
        stored = tags.get(_BITS_PER_SAMPLE, (8,))
        bits = max(stored) if isinstance(stored, tuple) else int(stored)
        sample_format = tags.get(_SAMPLE_FORMAT, (1,))
        is_float = _IS_FLOAT in (sample_format if isinstance(sample_format, tuple) else (sample_format,))
        if bits > 16 and not (bits == 32 and is_float):
            raise DataError(f"{path}: {bits}-bit integers are not read; store 16 bits, or 32-bit floating point")
    return 8 if bits <= 8 else 16 if bits <= 16 else 32


_strict_lock = threading.Lock()


@contextmanager
def strict_decoding() -> Iterator[None]:
    """Make PIL refuse truncated files for a while; other libraries switch that off globally."""
    with _strict_lock:
        before = ImageFile.LOAD_TRUNCATED_IMAGES
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before


def reduction_for(scale: float, size_hw: tuple[int, int]) -> int:
    """How many times smaller an image may be decoded and still not be magnified by ``scale``.

    It divides both sides, so that a smaller image covers exactly what the whole one does.
    """
    for factor in (8, 4, 2):
        if scale * factor <= 1.0 + 1e-6 and not (size_hw[0] % factor or size_hw[1] % factor):
            return factor
    return 1


def decode(path: Path, modality: Modality, reduction: int, size_hw: tuple[int, int]) -> RawArray:
    """The pixels of one file, ``reduction`` times smaller on both sides.

    A JPEG is decoded at the smaller size straight away, which takes two thirds of the time of a 1280x1024 image.

    Args:
        path: The file.
        modality: ``rgb`` gives uint8 B, G, R as OpenCV has it; ``ir`` one channel in the depth that is stored.
        reduction: 1, 2, 4 or 8; divides both sides.
        size_hw: Size of the file when it was paired.

    Shapes:
        -> (H / reduction, W / reduction, 3) or (H / reduction, W / reduction)

    Raises:
        DataError: If the file is gone, damaged, or of another size than when it was paired.
    """
    try:
        coded = np.fromfile(path, np.uint8)
        _refuse_other_size(path, coded, size_hw)
        is_jpeg = coded[:2].tobytes() == _JPEG_START
        flags = _COLOR if modality == "rgb" else _GRAY
        flag = flags[reduction if is_jpeg else 1] | cv2.IMREAD_IGNORE_ORIENTATION
        if modality == "ir" and not is_jpeg:
            flag |= cv2.IMREAD_ANYDEPTH
        with _one_large_at_a_time(size_hw):
            pixels = cv2.imdecode(coded, flag)
    except (OSError, cv2.error) as error:
        raise DataError(f"{path}: can't be read ({error})") from None
    if pixels is None:
        raise DataError(f"{path}: can't be decoded, damaged or of a kind that is not read; store it as PNG or JPEG")
    if pixels.dtype not in (np.uint8, np.uint16, np.float32):
        raise DataError(f"{path}: {pixels.dtype} pixels are not read; store 8 or 16 bits, or 32-bit floating point")
    expected_hw = (size_hw[0] // reduction, size_hw[1] // reduction)
    if reduction > 1 and not is_jpeg and pixels.shape[:2] == size_hw:
        pixels = cv2.resize(pixels, expected_hw[::-1], interpolation=cv2.INTER_AREA)
    if pixels.shape[:2] != expected_hw:
        raise DataError(f"{path}: its size changed since it was paired; start again")
    return pixels


def _refuse_other_size(path: Path, coded: npt.NDArray[np.uint8], size_hw: tuple[int, int]) -> None:
    """Compare the header with the size that was paired: a file that was put in its place since is not decoded."""
    try:
        with open_image(path, io.BytesIO(coded.data)) as image:
            width, height = image.size
    except DAMAGE as error:
        raise DataError(f"{path}: can't be decoded, damaged or no image ({error})") from None
    if (height, width) != size_hw:
        raise DataError(f"{path}: its size changed since it was paired; start again")
