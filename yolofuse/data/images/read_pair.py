"""Read both files of a pair as one array on the pixel grid of the frame, at any size up to its own."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from yolofuse.data.images.decode import RawArray, decode, reduction_for
from yolofuse.data.images.stacked import decode_stacked
from yolofuse.errors import DataError
from yolofuse.types import ByteArray, Modality, PairFormat, PairRecord, PixelArray

PAD = 114
"""Grey level of pixels that no image covers, in all four channels, of 255."""

_STEPS_OF_8_BITS = 257  # 65535 / 255: one level of 8 bits in levels of 16 bits


@dataclass(frozen=True, slots=True)
class PairImages:
    """Images of a pair that are in memory, as frames of a video are; None for one that is read from its file.

    Attributes:
        rgb: uint8 (H, W, 3), R G B.
        ir: (h, w), counts as a file would store them: uint8, uint16 or float32.
    """

    rgb: ByteArray | None = None
    ir: RawArray | None = None


def pad_value(dtype: np.dtype[np.uint8] | np.dtype[np.uint16]) -> int:
    """Return ``PAD`` in the depth of an array."""
    return PAD if dtype == np.uint8 else PAD * _STEPS_OF_8_BITS


def pixel_dtype(pair_format: PairFormat) -> np.dtype[np.uint8] | np.dtype[np.uint16]:
    """Return the data type of a pair's array."""
    return np.dtype(np.uint8) if pair_format.bits == 8 else np.dtype(np.uint16)


def fitted_hw(size_hw: tuple[int, int], longest: int) -> tuple[int, int]:
    """Return height and width with the longest side reduced to ``longest`` pixels; a smaller pair keeps its size."""
    scale = min(1.0, longest / max(size_hw))
    height, width = (max(round(side * scale), 1) for side in size_hw)
    return height, width


def training_hw(size_hw: tuple[int, int], imgsz: int) -> tuple[int, int]:
    """Return height and width at training size: 1, 2, 4 or 8 times smaller, the longest side at least ``imgsz``.

    Only whole factors, by which a JPEG decoder reduces exactly and at no cost, so that a sample's pixels are resampled
    once: reducing the side to ``imgsz`` itself would blur a second time.
    """
    reduction = reduction_for(imgsz / max(size_hw), size_hw)
    return size_hw[0] // reduction, size_hw[1] // reduction


def read_pair(
    record: PairRecord, grid_hw: tuple[int, int] | None = None, images: PairImages | None = None
) -> PixelArray:
    """Read the pair's pixels over the whole frame, on a grid of ``grid_hw``.

    The grid is no larger than the frame; None: the frame's own size. The modality that is not the frame is stretched
    over it or warped by the record's affine map; pixels that it does not cover are grey. Thermal counts are scaled by
    the record's window. A missing image is black. Of ``images``, those that are there stand for the record's files.

    Shapes:
        -> uint8 or uint16 (h, w, 4): R, G, B, IR

    Raises:
        DataError: If a file is gone, damaged, or of another size than when it was paired.
    """
    target_hw = grid_hw or record.size_hw
    dtype = pixel_dtype(record.format)
    images = images or (_read_stacked(record) if record.format.stacked else PairImages())
    order = cv2.COLOR_BGR2RGBA if images.rgb is None else cv2.COLOR_RGB2RGBA
    if record.missing == "rgb":
        colours: RawArray = np.zeros((*target_hw, 3), np.uint8)
    else:
        colours = _on_grid(record, "rgb", target_hw, images.rgb)
    if record.missing == "ir":
        ir: PixelArray = np.zeros(target_hw, dtype)
    else:
        ir = _to_depth(_on_grid(record, "ir", target_hw, images.ir), record.format)
    pixels: PixelArray = np.asarray(cv2.cvtColor(colours, order), np.uint8)
    if record.format.bits == 16:
        pixels = pixels.astype(np.uint16) * np.uint16(_STEPS_OF_8_BITS)
    cv2.insertChannel(ir, pixels, 3)
    return pixels


def _read_stacked(record: PairRecord) -> PairImages:
    """Read the file that holds both images."""
    pixels = decode_stacked(record.rgb)
    if pixels.shape[:2] != record.rgb_hw:
        raise DataError(f"{record.rgb}: its size changed since it was paired; start again")
    return PairImages(np.ascontiguousarray(pixels[..., :3]), np.ascontiguousarray(pixels[..., 3]))


def _on_grid(record: PairRecord, modality: Modality, target_hw: tuple[int, int], image: RawArray | None) -> RawArray:
    """Read one modality, decoded no larger than needed, on the frame's grid of ``target_hw``."""
    size_hw = record.rgb_hw if modality == "rgb" else record.ir_hw
    affine = record.format.affine if modality != record.format.frame else None
    if affine is None:
        scale = max(target / side for target, side in zip(target_hw, size_hw, strict=True))
        return _resized(_decode(record, modality, reduction_for(scale, size_hw), image), target_hw)
    frame_hw = record.size_hw
    shrink = np.diag([target_hw[1] / frame_hw[1], target_hw[0] / frame_hw[0], 1.0])
    matrix = shrink @ np.array([affine[:3], affine[3:], (0.0, 0.0, 1.0)])
    reduction = reduction_for(float(np.sqrt(abs(np.linalg.det(matrix[:2, :2])))), size_hw)
    pixels = _decode(record, modality, reduction, image)
    back = np.linalg.inv(matrix @ np.diag([reduction, reduction, 1.0]))
    # Coordinates are areas, and warpAffine counts pixel centres as whole numbers.
    centred = back[:2] @ np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]]) - [[0, 0, 0.5], [0, 0, 0.5]]
    grey = _pad_in_file(pixels, record.format)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(pixels, centred, target_hw[::-1], flags=flags, borderValue=(grey,) * 4)


def _decode(record: PairRecord, modality: Modality, reduction: int, image: RawArray | None) -> RawArray:
    """Return an image ``reduction`` times smaller: what is in memory, else its file."""
    if image is None:
        path, size_hw = (record.rgb, record.rgb_hw) if modality == "rgb" else (record.ir, record.ir_hw)
        return decode(path, modality, reduction, size_hw, record.format.orientation)
    return _resized(image, (image.shape[0] // reduction, image.shape[1] // reduction), cv2.INTER_AREA)


def _resized(pixels: RawArray, target_hw: tuple[int, int], how: int | None = None) -> RawArray:
    if pixels.shape[:2] == target_hw:
        return pixels
    ratios = [side / target for side, target in zip(pixels.shape[:2], target_hw, strict=True)]
    # Below a factor of two, bilinear is enough; a larger one, of a second camera with more pixels, needs the mean.
    is_wide = min(ratios) >= 1 and max(ratios) > 2
    if how is None:
        how = cv2.INTER_AREA if is_wide else cv2.INTER_LINEAR
    return cv2.resize(pixels, target_hw[::-1], interpolation=how)


def _pad_in_file(pixels: RawArray, pair_format: PairFormat) -> float:
    """Return ``PAD`` in the values of a file, before its window is applied."""
    if pixels.ndim == 2 and pair_format.ir_window is not None:
        low, high = pair_format.ir_window
        return low + (high - low) * PAD / 255
    return PAD


def _to_depth(ir: RawArray, pair_format: PairFormat) -> PixelArray:
    """Scale counts by the window to the depth of the array; 8 bits without a window stay as they are."""
    dtype = pixel_dtype(pair_format)
    if pair_format.ir_window is None:
        return np.asarray(ir, np.uint8) if dtype == np.uint8 else ir.astype(np.uint16) * np.uint16(_STEPS_OF_8_BITS)
    low, high = pair_format.ir_window
    full_scale = np.iinfo(dtype).max
    levels = (ir.astype(np.float32) - low) * (full_scale / (high - low))
    rounded: PixelArray = np.nan_to_num(levels, nan=0.0).clip(0, full_scale).round().astype(dtype)
    return rounded


def to_bytes(pixels: PixelArray) -> ByteArray:
    """Convert the pixels of a pair to 8 bits."""
    return np.asarray(pixels if pixels.dtype == np.uint8 else pixels // _STEPS_OF_8_BITS, np.uint8)


def read_thumbnail(record: PairRecord, longest: int) -> ByteArray:
    """Read a pair in 8 bits with its longest side reduced to ``longest`` pixels; a smaller pair keeps its size.

    Shapes:
        -> (h, w, 4): R, G, B, IR

    Raises:
        DataError: As :func:`read_pair`.
    """
    return to_bytes(read_pair(record, fitted_hw(record.size_hw, longest)))


def luma_and_ir(pixels: ByteArray) -> tuple[ByteArray, ByteArray]:
    """Return the brightness of the visible image and the thermal image, each contiguous.

    Shapes:
        pixels: (h, w, 4): R, G, B, IR -> (h, w), (h, w)
    """
    luma = cv2.cvtColor(np.ascontiguousarray(pixels[..., :3]), cv2.COLOR_RGB2GRAY)
    return np.asarray(luma, np.uint8), np.ascontiguousarray(pixels[..., 3])
