"""Map the pixels and boxes of a pair to the canvas, with one geometry for both modalities.

Every map is one 3x3 matrix from the pixels of the original file to the pixels of the canvas. Resizing, placing in the
mosaic, random affine, crop and flip are factors of that product, so an image at training size is resampled exactly
once more. Coordinates are areas: pixel i covers i .. i + 1, so boxes and matrices need no half-pixel corrections.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from yolofuse.boxes import clip_xyxy, transform_xyxy
from yolofuse.config.schema import AugmentConfig
from yolofuse.types import FloatArray, IntArray, PixelArray

Matrix = npt.NDArray[np.float64]

_MIN_SIDE = 2.0  # px; smaller boxes are dropped, as in YOLO
_MAX_ASPECT = 100.0
_TILT_SIDE = 640.0  # px; a tilt of 0.001 at its corners divides by 0.36 to 1.64
MIN_VISIBLE = 0.1
"""Share of a box's area that must be left after clipping."""


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of pixels; empty where ``x1 <= x0`` or ``y1 <= y0``."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def is_empty(self) -> bool:
        """Whether it contains no pixel."""
        return self.x1 <= self.x0 or self.y1 <= self.y0

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height, in the order of OpenCV."""
        return self.x1 - self.x0, self.y1 - self.y0

    def view(self, image: PixelArray) -> PixelArray:
        """Return the pixels of an image inside the window: a view."""
        return image[self.y0 : self.y1, self.x0 : self.x1]


def scale_and_shift(scale: float, x: float, y: float) -> Matrix:
    """Return the map ``pixel * scale + (x, y)``."""
    return np.array([[scale, 0.0, x], [0.0, scale, y], [0.0, 0.0, 1.0]])


def letterbox(size_hw: tuple[int, int], canvas_hw: tuple[int, int]) -> tuple[float, float, float]:
    """Return (gain, pad_left, pad_top) that centre an image in a canvas; paddings are whole pixels."""
    gain = min(canvas_hw[0] / size_hw[0], canvas_hw[1] / size_hw[1])
    free_y, free_x = (canvas - side * gain for canvas, side in zip(canvas_hw, size_hw, strict=True))
    return gain, float(round(free_x / 2)), float(round(free_y / 2))


def mosaic_places(sizes_hw: list[tuple[int, int]], imgsz: int, centre_xy: tuple[float, float]) -> list[Matrix]:
    """Place four images around a point, each scaled until its longest side is ``imgsz`` pixels.

    Their order is top left, top right, bottom left, bottom right.
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
    """Draw a map that tilts, rotates, scales and shears a square canvas about its centre, then shifts, crops and
    mirrors it.

    ``canvas`` and ``imgsz`` are the sides before and after, in pixels. Every draw is made for any options, so that
    changing one option does not change the values of the others.
    """
    angle = math.radians(rng.uniform(-augment.degrees, augment.degrees))
    scale = rng.uniform(1 - augment.scale, 1 + augment.scale)
    shear_x, shear_y = np.tan(np.radians(rng.uniform(-augment.shear, augment.shear, size=2)))
    shift_x, shift_y = rng.uniform(0.5 - augment.translate, 0.5 + augment.translate, size=2) * imgsz
    mirror_x, mirror_y = rng.random(2) < (augment.flip_lr, augment.flip_ud)
    tilt_xy = rng.uniform(-augment.perspective, augment.perspective, size=2) * (_TILT_SIDE / canvas)

    along, across = scale * math.cos(angle), scale * math.sin(angle)
    rotation = np.array([[along, across, 0.0], [-across, along, 0.0], [0.0, 0.0, 1.0]])
    shear = np.array([[1.0, shear_x, 0.0], [shear_y, 1.0, 0.0], [0.0, 0.0, 1.0]])
    to_centre = scale_and_shift(1.0, -canvas / 2, -canvas / 2)
    if augment.perspective:
        to_centre = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [*tilt_xy, 1.0]]) @ to_centre
    matrix: Matrix = scale_and_shift(1.0, shift_x, shift_y) @ shear @ rotation @ to_centre
    if mirror_x:
        matrix = np.array([[-1.0, 0.0, imgsz], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]) @ matrix
    if mirror_y:
        matrix = np.array([[1.0, 0.0, 0.0], [0.0, -1.0, imgsz], [0.0, 0.0, 1.0]]) @ matrix
    return matrix


def covered_window(matrix: Matrix, size_hw: tuple[int, int], canvas_hw: tuple[int, int]) -> Window:
    """Return the canvas pixels whose centres may lie in the image; empty when the image lies outside the canvas."""
    height, width = size_hw
    if is_affine(matrix):
        (a, b, x), (c, d, y), _ = matrix.tolist()
        # The sides of the upright hull: each term of the sum is smallest, or largest, at one end of the image.
        xs, ys = sorted((0.0, a * width)), sorted((0.0, d * height))
        x_by_y, y_by_x = sorted((0.0, b * height)), sorted((0.0, c * width))
        left, right = (x + along + across for along, across in zip(xs, x_by_y, strict=True))
        top, bottom = (y + along + across for along, across in zip(ys, y_by_x, strict=True))
    else:
        left, top, right, bottom = transform_xyxy(np.array([[0.0, 0.0, width, height]]), matrix)[0].tolist()
    # Pixel i has its centre at i + 0.5.
    x0, y0, x1, y1 = (math.ceil(side - 0.5) for side in (left, top, right, bottom))
    return Window(max(x0, 0), max(y0, 0), min(x1, canvas_hw[1]), min(y1, canvas_hw[0]))


def is_affine(matrix: Matrix) -> bool:
    """Return whether a map keeps parallel lines parallel: it has no perspective."""
    return not matrix[2, :2].any()


def is_upright(matrix: Matrix) -> bool:
    """Return whether a map neither tilts, rotates nor shears; it may mirror."""
    return bool(abs(matrix[0, 1]) < 1e-9 and abs(matrix[1, 0]) < 1e-9 and is_affine(matrix))


def snap(matrix: Matrix, window: Window, size_hw: tuple[int, int]) -> tuple[Matrix, Window]:
    """Return the nearest map of whole image pixels to a whole window, and those image pixels.

    Such a map is a crop and a resize, which take a third of the time of a warp. It differs from the given one, which
    is upright and covers a window that is not empty, by up to half a pixel of the image; since boxes are mapped by it
    too, labels stay exact.
    """
    scale_x, first_x, last_x = _snap_axis(matrix[0, 0], matrix[0, 2], window.x0, window.x1, size_hw[1])
    scale_y, first_y, last_y = _snap_axis(matrix[1, 1], matrix[1, 2], window.y0, window.y1, size_hw[0])
    x = window.x0 - scale_x * (first_x if scale_x > 0 else last_x)
    y = window.y0 - scale_y * (first_y if scale_y > 0 else last_y)
    return np.array([[scale_x, 0.0, x], [0.0, scale_y, y], [0.0, 0.0, 1.0]]), Window(first_x, first_y, last_x, last_y)


def _snap_axis(scale: float, shift: float, start: int, stop: int, side: int) -> tuple[float, int, int]:
    """Return scale, first and last + 1 image pixel of one axis."""
    one, other = sorted(((start - shift) / scale, (stop - shift) / scale))
    first = min(max(round(one), 0), side - 1)
    last = max(min(round(other), side), first + 1)
    return math.copysign((stop - start) / (last - first), scale), first, last


def paint_crop(canvas: PixelArray, image: PixelArray, matrix: Matrix, window: Window, crop: Window) -> None:
    """Resize a crop of an image into its window of the canvas, in place and mirrored where the map mirrors; bilinear.

    Shapes:
        canvas: (H, W, 4), image: (h, w, 4), matrix: (3, 3) as returned by :func:`snap`.
    """
    target, source = window.view(canvas), crop.view(image)
    mirror_x, mirror_y = matrix[0, 0] < 0, matrix[1, 1] < 0
    if not (mirror_x or mirror_y):
        cv2.resize(source, window.size_wh, dst=target, interpolation=cv2.INTER_LINEAR)
        return
    code = -1 if mirror_x and mirror_y else 1 if mirror_x else 0
    cv2.flip(cv2.resize(source, window.size_wh, interpolation=cv2.INTER_LINEAR), code, dst=target)


def paint(canvas: PixelArray, image: PixelArray, matrix: Matrix, window: Window) -> None:
    """Resample an image into its window of the canvas, in place; bilinear.

    Shapes:
        canvas: (H, W, 4), image: (h, w, 4), matrix: (3, 3) from image pixels to canvas pixels.
    """
    # OpenCV's warps map from the window to the image, and count pixel centres as whole numbers.
    back = np.linalg.inv(matrix) @ scale_and_shift(1.0, window.x0 + 0.5, window.y0 + 0.5)
    warp: Any = cv2.warpAffine
    if is_affine(matrix):
        back = back[:2] - [[0.0, 0.0, 0.5], [0.0, 0.0, 0.5]]
    else:
        back, warp = scale_and_shift(1.0, -0.5, -0.5) @ back, cv2.warpPerspective
    target = window.view(canvas)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    if is_upright(matrix):
        cv2.warpAffine(image, back, window.size_wh, dst=target, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return
    # A rotated tile must not touch the corners of its window. BORDER_TRANSPARENT would keep those too, but it also
    # leaves out the image's own outermost half pixel; a mask decides by pixel centres, as the window does.
    warped = warp(image, back, window.size_wh, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inside = np.full(image.shape[:2], 255, np.uint8)
    mask = warp(inside, back, window.size_wh, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    cv2.copyTo(warped, mask, target)


def paint_mean(canvas: PixelArray, image: PixelArray, matrix: Matrix, window: Window) -> None:
    """Resample an upright image into its window of the canvas, in place, without aliasing.

    Where the map shrinks, a pixel of the canvas is the mean of n x n bilinear samples that lie at most one pixel of the
    image apart. Unlike a resize by area, no side is rounded to whole pixels, so labels stay exact.

    Shapes:
        canvas: (H, W, 4), image: (h, w, 4), matrix: (3, 3) from image pixels to canvas pixels.
    """
    samples = math.ceil(1 / matrix[0, 0] - 1e-6)
    if samples <= 1:
        paint(canvas, image, matrix, window)
        return
    width, height = window.size_wh
    fine = np.empty((height * samples, width * samples, canvas.shape[2]), canvas.dtype)
    to_fine = scale_and_shift(samples, -samples * window.x0, -samples * window.y0)
    paint(fine, image, to_fine @ matrix, Window(0, 0, width * samples, height * samples))
    cv2.resize(fine, window.size_wh, dst=window.view(canvas), interpolation=cv2.INTER_AREA)


def clip_boxes(boxes_xyxy: FloatArray, class_ids: IntArray, canvas_hw: tuple[int, int]) -> tuple[FloatArray, IntArray]:
    """Clip boxes to a canvas, and drop those that are too small, too narrow or mostly hidden.

    Shapes:
        boxes_xyxy: (N, 4), class_ids: (N,) -> (M, 4), (M,) with M <= N
    """
    if not len(class_ids):
        return boxes_xyxy, class_ids
    clipped = clip_xyxy(boxes_xyxy, canvas_hw)
    whole_sides = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    sides = clipped[:, 2:] - clipped[:, :2]
    shortest, longest = sides.min(axis=1), sides.max(axis=1)
    visible = sides.prod(axis=1) / np.maximum(whole_sides.prod(axis=1), 1e-9)
    kept = (shortest > _MIN_SIDE) & (longest < _MAX_ASPECT * shortest) & (visible > MIN_VISIBLE)
    return clipped[kept], class_ids[kept]
