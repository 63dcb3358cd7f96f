"""Read files that hold both images of a pair, as four channels of 8 bits: R, G, B and IR, in PNG, TIFF or WebP."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from yolofuse.data.images.decode import ImageInfo
from yolofuse.data.images.header import DECODE_ERRORS, open_image, refuse_too_large
from yolofuse.errors import DataError
from yolofuse.types import ByteArray

_EXTRA_SAMPLES, _ORIENTATION = 338, 274  # tags of a TIFF, the second also of EXIF
_NOT_ALPHA = ((0,), (1,))  # of a fourth channel: PIL drops it, or divides the colours by it
_DEEP = ";16"  # in PIL's names of layouts


def inspect_stacked(path: Path) -> ImageInfo:
    """Return size and depth; the file is decoded.

    Raises:
        DataError: As :func:`decode_stacked`.
    """
    height, width = decode_stacked(path).shape[:2]
    return ImageInfo(height, width, 8)


def decode_stacked(path: Path) -> ByteArray:
    """Read a file that holds both images; its fourth channel is never treated as transparency.

    Shapes:
        -> (H, W, 4): R, G, B, IR

    Raises:
        DataError: If it can't be decoded, is too large or turned, has several pages, or not four channels of 8 bits.
    """
    try:
        with open_image(path) as image:
            refuse_too_large(path, image.size[::-1])
            is_raw = getattr(image, "tag_v2", {}).get(_EXTRA_SAMPLES) in _NOT_ALPHA
            kind = (
                "16 bits"
                if _DEEP in str(getattr(image, "tile", ""))
                else "several pages"
                if _num_pages(image) > 1
                else image.mode
            )
            pixels = _decode_raw(path) if is_raw else np.asarray(image)
            if image.getexif().get(_ORIENTATION, 1) != 1:
                kind = "a turned image"
    except (*DECODE_ERRORS, cv2.error) as error:
        raise DataError(f"{path}: can't be decoded, damaged or no image ({error})") from None
    if (kind != "RGBA" and not (is_raw and kind == "RGB")) or pixels.shape[2:] != (4,) or pixels.dtype != np.uint8:
        raise DataError(f"{path}: rgbir needs four channels of 8 bits, R, G, B and IR, upright (found {kind})")
    return pixels


def _num_pages(image: Image.Image) -> int:
    return int(getattr(image, "n_frames", 1))


def _decode_raw(path: Path) -> ByteArray:
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise OSError("OpenCV can't decode it")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA), np.uint8)
