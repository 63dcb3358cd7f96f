"""Read one image file: size and depth from its header, a check for damage, and its pixels at a reduced size."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ImageFile

from yolofuse.data.images.damage import load_jpeg, refuse_wrong_checksum
from yolofuse.data.images.header import (
    DECODE_ERRORS,
    depth_of,
    nodata_of,
    open_image,
    refuse_dropped,
    refuse_too_large,
    size_and_turn,
    turned,
)
from yolofuse.errors import DataError
from yolofuse.types import ByteArray, Modality, Orientation

RawArray = npt.NDArray[Any]
"""Pixels as stored: uint8, uint16 or float32."""

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".webp"})
UNREAD_SUFFIXES = frozenset(
    {".jp2", ".j2k", ".jxl", ".gif", ".heic", ".heif", ".avif", ".mpo", ".tga"}
    | {".pgm", ".ppm", ".pnm", ".pfm", ".exr", ".hdr", ".raw", ".dng"}
)
"""Of images in formats that are not read."""
_JPEG_START = b"\xff\xd8"
_LARGE_PIXELS = 16_000_000  # larger images are decoded by one thread at a time, to bound memory

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
    orientation: int = 1  # how it is stored, by EXIF's number: 1 upright, 2..8 turned or mirrored


def unread_hint(name: str) -> str:
    """Return what to do about an image in a format that is not read, after a semicolon; empty for other names."""
    suffix = Path(name).suffix.lower()
    return f"; {suffix} is not read: convert it to PNG or JPEG" if suffix in UNREAD_SUFFIXES else ""


def inspect_image(path: Path, verify: bool, orientation: Orientation = "apply") -> ImageInfo:
    """Return size in pixels as they are read, and depth; with ``verify`` decode the whole file once.

    Raises:
        DataError: If the file is no image, too large, of an unsupported depth, holds what would be dropped (see
            ``refuse_dropped``), or is (with ``verify``) damaged.
    """
    try:
        with open_image(path) as image:
            size_hw, stored, _ = size_and_turn(image, orientation == "apply")
            refuse_too_large(path, size_hw)
            bits = depth_of(path, image)
            with _large_image_lock(size_hw):
                refuse_dropped(path, image)
                is_jpeg = image.format in ("JPEG", "MPO")
                if verify and is_jpeg:
                    load_jpeg(path, image)
                elif verify:
                    refuse_wrong_checksum(path, image)
                    if bits == 8:
                        image.load()
    except DECODE_ERRORS as error:
        raise DataError(f"{path}: can't be decoded, damaged or no image ({error})") from None
    if verify and not is_jpeg:  # PIL supports few deep formats, and OpenCV fewer compressions than PIL
        decode(path, "ir", 1, size_hw, orientation)
    return ImageInfo(*size_hw, bits, stored)


_large_lock = threading.Lock()


def _large_image_lock(size_hw: tuple[int, int]) -> AbstractContextManager[object]:
    return _large_lock if size_hw[0] * size_hw[1] >= _LARGE_PIXELS else nullcontext()


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


def decode(
    path: Path, modality: Modality, reduction: int, size_hw: tuple[int, int], orientation: Orientation = "apply"
) -> RawArray:
    """Read the pixels of one file, ``reduction`` times smaller on both sides.

    A JPEG is decoded directly at the smaller size, which takes two thirds of the time for a 1280x1024 image.

    Args:
        path: The file.
        modality: ``rgb`` returns uint8 B, G, R as OpenCV does; ``ir`` one channel in the stored depth.
        reduction: 1, 2, 4 or 8; divides both sides.
        size_hw: Size of the image when it was paired.
        orientation: ``apply`` returns an image that is stored turned or mirrored upright, as EXIF says; ``ignore``
            as it is stored.

    Shapes:
        -> (H / reduction, W / reduction, 3) or (H / reduction, W / reduction)

    Raises:
        DataError: If the file is gone, damaged, or of another size than when it was paired.
    """
    try:
        encoded = np.fromfile(path, np.uint8)
        turn = _turn_of(path, encoded, size_hw, orientation)
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
    pixels = turned(pixels, turn)
    expected_hw = (size_hw[0] // reduction, size_hw[1] // reduction)
    if reduction > 1 and not is_jpeg and pixels.shape[:2] == size_hw:
        pixels = cv2.resize(pixels, expected_hw[::-1], interpolation=cv2.INTER_AREA)
    if pixels.shape[:2] != expected_hw:
        raise DataError(f"{path}: its size changed since it was paired; start again")
    return pixels


def measured_pixels(path: Path, pixels: RawArray) -> npt.NDArray[np.bool_]:
    """Return where the decoded pixels of a file hold a measurement: not NaN, infinite, or the value of GDAL_NODATA.

    Shapes:
        pixels: (H, W) -> (H, W)

    Raises:
        DataError: If the file is gone or damaged.
    """
    try:
        with open_image(path) as image:
            nodata = nodata_of(image)
    except DECODE_ERRORS as error:
        raise DataError(f"{path}: can't be decoded, damaged or no image ({error})") from None
    with np.errstate(over="ignore"):  # a value of 64 bits
        missing = np.float64(nodata).astype(np.float32)
    return np.asarray(np.isfinite(pixels) & (pixels.astype(np.float32) != missing), np.bool_)


def _turn_of(path: Path, encoded: ByteArray, size_hw: tuple[int, int], orientation: Orientation) -> int:
    """Return how decoded pixels must be turned; a file of another size than was paired replaced it, and is refused."""
    try:
        with open_image(path, io.BytesIO(encoded.data)) as image:
            found_hw, _, turn = size_and_turn(image, orientation == "apply")
    except DECODE_ERRORS as error:
        raise DataError(f"{path}: can't be decoded, damaged or no image ({error})") from None
    if found_hw != size_hw:
        raise DataError(f"{path}: its size changed since it was paired; start again")
    return turn
