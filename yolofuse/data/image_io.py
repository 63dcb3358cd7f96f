"""Read images of a pair: what the header says, whether the file is whole, and its pixels as one array."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageFile

from yolofuse.errors import DataError
from yolofuse.types import ByteArray, PairRecord

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
_JPEG_START = b"\xff\xd8"
_MAX_PIXELS = 100_000_000
_BITS_PER_SAMPLE = 258  # TIFF tag
_PNG_DEPTH_OFFSET = 24  # byte of the bit depth: 8 of signature, 8 of chunk head, 8 of width and height
_DEEP_MODES = ("I", "F")  # PIL's modes of more than 8 bits start so: I, I;16, I;16B, F

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


def inspect_image(path: Path, verify: bool) -> tuple[int, int]:
    """Height and width in stored pixels, from the header; with ``verify`` the whole file is decoded once.

    Raises:
        DataError: If the file is no image, too large, deeper than 8 bits, or (with ``verify``) damaged.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            if width * height > _MAX_PIXELS:
                raise DataError(f"{path}: {width}x{height} is more than {_MAX_PIXELS / 1e6:.0f} million pixels")
            if _depth(path, image) > 8:
                raise DataError(f"{path}: more than 8 bits per channel is not read yet; convert it to 8 bits first")
            if verify:
                # For a JPEG an eighth of the size: every coded bit is still read, the costly rest is left out.
                image.draft("L", (max(width // 8, 1), max(height // 8, 1)))
                image.load()
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: can't be decoded, damaged or no image ({error})") from None
    return height, width


def _depth(path: Path, image: Image.Image) -> int:
    """Bits per channel as stored. PIL opens some deep files as if they had 8."""
    if image.mode.startswith(_DEEP_MODES):
        return 16
    if image.format == "PNG":
        with path.open("rb") as stream:
            return stream.read(_PNG_DEPTH_OFFSET + 1)[-1]
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (8,))
        return max(bits) if isinstance(bits, tuple) else int(bits)
    return 8


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


def reduction_for(scale: float) -> int:
    """How many times smaller (1, 2, 4 or 8) an image may be decoded and still not be magnified by ``scale``."""
    return next((factor for factor in (8, 4, 2) if scale * factor <= 1.0 + 1e-6), 1)


def read_pair(record: PairRecord, reduction: int = 1) -> ByteArray:
    """The pair's pixels, decoded ``reduction`` times smaller.

    A JPEG is decoded at the smaller size straight away, which takes a third of the time of a 1280x1024 image. Pixel x
    of the result covers the pixels ``x * reduction .. (x + 1) * reduction`` of the file.

    Shapes:
        -> uint8 (ceil(H / reduction), ceil(W / reduction), 4): R, G, B, IR

    Raises:
        DataError: If a file is gone, damaged, or of another size than when it was paired.
    """
    expected = tuple(-(-side // reduction) for side in record.size_hw)
    rgb = _decode(record.rgb, reduction, _COLOR, expected)
    ir = _decode(record.ir, reduction, _GRAY, expected)
    pixels = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_BGR2RGBA), np.uint8)
    cv2.insertChannel(ir, pixels, 3)
    return pixels


def _decode(path: Path, reduction: int, flags: dict[int, int], expected_hw: tuple[int, ...]) -> ByteArray:
    try:
        coded = np.fromfile(path, np.uint8)
        is_jpeg = coded[:2].tobytes() == _JPEG_START
        flag = flags[reduction if is_jpeg else 1] | cv2.IMREAD_IGNORE_ORIENTATION
        decoded = cv2.imdecode(coded, flag)
    except (OSError, cv2.error) as error:
        raise DataError(f"{path}: can't be read ({error})") from None
    if decoded is None:
        raise DataError(f"{path}: can't be decoded; it was whole when it was paired, or data.verify is off")
    pixels = np.asarray(decoded, np.uint8)
    if reduction > 1 and not is_jpeg:
        pixels = _shrink(pixels, reduction)
    if pixels.shape[:2] != expected_hw:
        raise DataError(f"{path}: its size changed since it was paired; start again")
    return pixels


def _shrink(pixels: ByteArray, reduction: int) -> ByteArray:
    """Average blocks of pixels; the last block is filled up by repetition, as a JPEG decoder does."""
    height, width = pixels.shape[:2]
    padded = cv2.copyMakeBorder(pixels, 0, -height % reduction, 0, -width % reduction, cv2.BORDER_REPLICATE)
    size_wh = (padded.shape[1] // reduction, padded.shape[0] // reduction)
    return np.asarray(cv2.resize(padded, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
