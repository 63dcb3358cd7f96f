"""Geometry shared by both modalities: where a pair's pixels and boxes land on the canvas.

Every map is one 3x3 matrix from the pixels of the original file to the pixels of the canvas. Resizing, placing in the
mosaic, random affine, crop and flip are factors of that product, so each image is resampled exactly once. Coordinates
are areas: pixel i covers i .. i + 1, so boxes and matrices need no half-pixel corrections.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from yolofuse.boxes import clip_xyxy, transform_xyxy
from yolofuse.config.schema import AugmentConfig
from yolofuse.types import ByteArray, FloatArray, IntArray

Matrix = npt.NDArray[np.float64]

PAD = 114  # grey of whatever no image covers, in all four channels
_MIN_SIDE = 2.0  # px; smaller boxes are dropped, as in YOLO
_MAX_ASPECT = 100.0
_MIN_VISIBLE = 0.1  # share of a box's area that must be left after clipping


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of canvas pixels; empty where ``x1 <= x0`` or ``y1 <= y0``."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def is_empty(self) -> bool:
        """Whether it holds no pixel."""
        return self.x1 <= self.x0 or self.y1 <= self.y0


def scale_and_shift(scale: float, x: float, y: float) -> Matrix:
    """The map ``pixel * scale + (x, y)``."""
    return np.array([[scale, 0.0, x], [0.0, scale, y], [0.0, 0.0, 1.0]])


def letterbox(size_hw: tuple[int, int], canvas_hw: tuple[int, int]) -> tuple[float, float, float]:
    """(gain, pad_left, pad_top) that fit an image into the middle of a canvas; paddings are whole pixels."""
    gain = min(canvas_hw[0] / size_hw[0], canvas_hw[1] / size_hw[1])
    free_y, free_x = (canvas - side * gain for canvas, side in zip(canvas_hw, size_hw, strict=True))
    return gain, float(round(free_x / 2)), float(round(free_y / 2))


def mosaic_places(sizes_hw: list[tuple[int, int]], imgsz: int, centre_xy: tuple[float, float]) -> list[Matrix]:
    """Put four images around a point, each scaled until its longest side is ``imgsz``.

    Args:
        sizes_hw: The tiles in the order top left, top right, bottom left, bottom right.
        imgsz: Longest side of a tile in pixels.
        centre_xy: The point where the tiles meet.
    """
    x, y = centre_xy
    places = []
    for tile, (height, width) in enumerate(sizes_hw):
        scale = imgsz / max(height, width)
        left = x - width * scale if tile % 2 == 0 else x
        top = y - height * scale if tile < 2 else y
        places.append(scale_and_shift(scale, left, top))
    return places


def random_affine(rng: np.random.Generator, augment: AugmentConfig, canvas: float, imgsz: int) -> Matrix:
    """Turn, scale and shear a square canvas about its middle, shift it, and crop the middle ``imgsz`` square.

    Every draw is made whatever the options are, so that changing one does not change the others' values.

    Args:
        rng: The sample's own generator.
        augment: Ranges to draw from.
        canvas: Side of the canvas in pixels.
        imgsz: Side of the result in pixels.
    """
    angle = math.radians(rng.uniform(-augment.degrees, augment.degrees))
    scale = rng.uniform(1 - augment.scale, 1 + augment.scale)
    shear_x, shear_y = np.tan(np.radians(rng.uniform(-augment.shear, augment.shear, size=2)))
    shift_x, shift_y = rng.uniform(0.5 - augment.translate, 0.5 + augment.translate, size=2) * imgsz
    mirror_x, mirror_y = rng.random(2) < (augment.flip_lr, augment.flip_ud)

    turn = np.array(
        [
            [scale * math.cos(angle), scale * math.sin(angle), 0.0],
            [-scale * math.sin(angle), scale * math.cos(angle), 0.0],
            [0.0, 0.0, 1.0],
        ]
    )
    shear = np.array([[1.0, shear_x, 0.0], [shear_y, 1.0, 0.0], [0.0, 0.0, 1.0]])
    to_middle = scale_and_shift(1.0, -canvas / 2, -canvas / 2)
    matrix: Matrix = scale_and_shift(1.0, shift_x, shift_y) @ shear @ turn @ to_middle
    if mirror_x:
        matrix = np.array([[-1.0, 0.0, imgsz], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]) @ matrix
    if mirror_y:
        matrix = np.array([[1.0, 0.0, 0.0], [0.0, -1.0, imgsz], [0.0, 0.0, 1.0]]) @ matrix
    return matrix


def magnification(matrix: Matrix) -> float:
    """How many canvas pixels one image pixel spans, as a mean over directions."""
    return math.sqrt(abs(float(np.linalg.det(matrix[:2, :2]))))


def covered_window(matrix: Matrix, size_hw: tuple[int, int], canvas_hw: tuple[int, int]) -> Window:
    """The canvas pixels whose centres may lie in the image; empty when the image falls beside the canvas."""
    height, width = size_hw
    hull = transform_xyxy(np.array([[0.0, 0.0, width, height]]), matrix)[0]
    # Pixel i has its centre at i + 0.5.
    x0, y0, x1, y1 = (math.ceil(edge - 0.5) for edge in hull.tolist())
    return Window(max(x0, 0), max(y0, 0), min(x1, canvas_hw[1]), min(y1, canvas_hw[0]))


def paint(canvas: ByteArray, image: ByteArray, matrix: Matrix, window: Window) -> None:
    """Resample an image into its window of the canvas, in place; bilinear.

    Shapes:
        canvas: (H, W, 4), image: (h, w, 4), matrix: (3, 3) from image pixels to canvas pixels.
    """
    # warpAffine asks where canvas pixel (0, 0) of the window comes from, counting pixel centres as whole numbers.
    back = np.linalg.inv(matrix) @ scale_and_shift(1.0, window.x0 + 0.5, window.y0 + 0.5)
    back = back[:2] - [[0.0, 0.0, 0.5], [0.0, 0.0, 0.5]]
    target = canvas[window.y0 : window.y1, window.x0 : window.x1]
    size_wh = (window.x1 - window.x0, window.y1 - window.y0)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    upright = abs(matrix[0, 1]) < 1e-9 and abs(matrix[1, 0]) < 1e-9
    if upright:
        cv2.warpAffine(image, back, size_wh, dst=target, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return
    # A turned tile leaves corners of its window to its neighbours. BORDER_TRANSPARENT would keep those too, but it
    # also leaves out the image's own outermost half pixel; a mask decides by pixel centres, as the window does.
    turned = cv2.warpAffine(image, back, size_wh, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    whole = np.full(image.shape[:2], 255, np.uint8)
    mask = cv2.warpAffine(whole, back, size_wh, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    cv2.copyTo(turned, mask, target)


def move_boxes(
    boxes_xyxy: FloatArray, class_ids: IntArray, matrix: Matrix, canvas_hw: tuple[int, int]
) -> tuple[FloatArray, IntArray]:
    """The boxes on the canvas, clipped, without those of which too little is left to see.

    Shapes:
        boxes_xyxy: (N, 4), class_ids: (N,) -> (M, 4), (M,) with M <= N
    """
    moved = transform_xyxy(boxes_xyxy, matrix)
    clipped = clip_xyxy(moved, canvas_hw)
    whole_sides = moved[:, 2:] - moved[:, :2]
    sides = clipped[:, 2:] - clipped[:, :2]
    shortest, longest = sides.min(axis=1), sides.max(axis=1)
    visible = sides.prod(axis=1) / np.maximum(whole_sides.prod(axis=1), 1e-9)
    kept = (shortest > _MIN_SIDE) & (longest < _MAX_ASPECT * shortest) & (visible > _MIN_VISIBLE)
    return clipped[kept], class_ids[kept]
