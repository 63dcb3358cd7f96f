"""Define the canvas: a pinhole camera over a ground plane, and the surface that it sees at each pixel.

Nothing here has a colour yet. Each pixel holds *what is there* (reflectance, own light, normal, temperature, depth,
owner); the two cameras look at this one board afterwards, which is why their images agree to the pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]
Rgb = tuple[float, float, float]
Vec = tuple[float, float, float]

ALBEDO, EMIT, NORMAL, TEMP = slice(0, 3), slice(3, 6), slice(6, 9), 9
NUM_CHANNELS = 10
FAR = 400.0
NEAR = 0.8
GROUND = -1
"""Owner of ground pixels. 0 is any other background; 1, 2, ... are the scene's labelled objects."""
_SHIFT = 3
_UNIT = 1 << _SHIFT
_PER_255 = np.float32(1 / 255)


@dataclass(frozen=True, slots=True)
class Camera:
    """A level pinhole camera, ``eye`` metres above the road; sizes in supersampled pixels.

    World axes in metres: X right, Y up from the ground, Z forward.
    """

    width: int
    height: int
    focal: float
    cx: float
    cy: float
    eye: float

    def project(self, points: npt.ArrayLike) -> F32:
        """Return the pixels of world points; those behind the camera are moved to just in front of it.

        Shapes:
            points: (N, 3) -> (N, 2)
        """
        p = np.asarray(points, np.float32)
        scale = self.focal / np.maximum(p[:, 2], NEAR)
        pixels = np.empty((len(p), 2), np.float32)
        pixels[:, 0] = self.cx + p[:, 0] * scale
        pixels[:, 1] = self.cy + (self.eye - p[:, 1]) * scale
        return pixels

    def scale(self, z: float) -> float:
        """Return the pixels per metre at depth ``z``."""
        return self.focal / max(z, NEAR)

    def half_view(self, z: float) -> float:
        """Return half the metres from the left to the right image edge at depth ``z``."""
        return 0.5 * self.width * z / self.focal


@dataclass(frozen=True, slots=True)
class Paint:
    """One surface: reflectance and own light in linear RGB, kelvin above the air, and its normal."""

    albedo: Rgb
    temp: float = 0.0
    normal: Vec = (0.0, 0.15, -1.0)
    emit: Rgb = (0.0, 0.0, 0.0)

    def vector(self) -> F32:
        """Return the ten channels of the canvas.

        Shapes:
            -> (10, 1, 1)
        """
        return np.array([*self.albedo, *self.emit, *self.normal, self.temp], np.float32).reshape(NUM_CHANNELS, 1, 1)


@dataclass(slots=True)
class Cutout:
    """Where one thing was drawn: its silhouette, what lay behind it, and its box before clipping at the image edge."""

    rows: slice
    cols: slice
    mask: U8
    surf_behind: F32
    depth_behind: F32
    box: tuple[float, float, float, float]


_EMPTY_BOX = (1 << 30, 1 << 30, -(1 << 30), -(1 << 30))


class Canvas:
    """Surfaces by pixel. Things are painted far to near; each covers what is behind it.

    Shapes:
        surf: (10, H, W); depth: (H, W) in metres; owner: (H, W)
    """

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        size = (camera.height, camera.width)
        self.surf = np.zeros((NUM_CHANNELS, *size), np.float32)
        self.depth = np.full(size, FAR, np.float32)
        self.owner = np.zeros(size, np.int16)
        self._owner = 0
        self._mask: U8 | None = None
        self._box = _EMPTY_BOX

    def begin(self, owner: int, reach: tuple[float, float, float, float]) -> None:
        """Start one thing, which stays inside the pixels ``reach`` (x0, y0, x1, y1); it ends with ``end``."""
        self._owner = owner
        self._box = _EMPTY_BOX
        x0, y0, x1, y1 = reach
        self._rows = slice(min(max(int(y0), 0), self.camera.height), min(max(int(y1), 0), self.camera.height))
        self._cols = slice(min(max(int(x0), 0), self.camera.width), min(max(int(x1), 0), self.camera.width))
        self._mask = np.zeros(self.owner.shape, np.uint8)
        self._behind = (self.surf[:, self._rows, self._cols].copy(), self.depth[self._rows, self._cols].copy())

    def end(self) -> Cutout | None:
        """End the thing and return where it was drawn; None when no part of it is in the image."""
        mask, self._mask, self._owner = self._mask, None, 0
        if mask is None or not mask[self._rows, self._cols].any():
            return None
        x, y, w, h = cv2.boundingRect(mask[self._rows, self._cols])
        inner = (slice(y, y + h), slice(x, x + w))
        rows = slice(self._rows.start + y, self._rows.start + y + h)
        cols = slice(self._cols.start + x, self._cols.start + x + w)
        surf, depth = self._behind
        x0, y0, x1, y1 = (edge / _UNIT for edge in self._box)
        return Cutout(rows, cols, mask[rows, cols], surf[(slice(None), *inner)], depth[inner], (x0, y0, x1, y1))

    def fill(self, polygon: npt.ArrayLike, paint: Paint, depth: float | None = None) -> None:
        """Paint one polygon of pixels, edges anti-aliased. Without ``depth`` it is a stain on what is there.

        Shapes:
            polygon: (N, 2)
        """
        self.fill_all([np.asarray(polygon, np.float32)], paint, depth)

    def fill_all(self, polygons: Sequence[F32], paint: Paint, depth: float | None = None) -> None:
        """Paint polygons that do not overlap, in one go.

        Shapes:
            polygons: each (N, 2)
        """
        if not polygons:
            return
        fixed = [np.rint(polygon * _UNIT).astype(np.int32) for polygon in polygons]
        left, top, wide, high = cv2.boundingRect(fixed[0] if len(fixed) == 1 else np.concatenate(fixed))
        if self._mask is not None and depth is not None:
            box = self._box
            self._box = (min(box[0], left), min(box[1], top), max(box[2], left + wide), max(box[3], top + high))
        x0, y0 = max(left // _UNIT - 1, 0), max(top // _UNIT - 1, 0)
        x1 = min((left + wide) // _UNIT + 2, self.camera.width)
        y1 = min((top + high) // _UNIT + 2, self.camera.height)
        if x0 >= x1 or y0 >= y1:
            return
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        cv2.fillPoly(mask, fixed, (255,), cv2.LINE_AA, _SHIFT, (-x0 * _UNIT, -y0 * _UNIT))
        rows, cols = slice(y0, y1), slice(x0, x1)
        roi = self.surf[:, rows, cols]
        change = paint.vector() - roi
        change *= mask * _PER_255
        roi += change
        if depth is None:
            return
        solid = mask > 127
        self.depth[rows, cols][solid] = depth
        self.owner[rows, cols][solid] = self._owner
        if self._mask is not None:
            np.maximum(self._mask[rows, cols], mask, out=self._mask[rows, cols])

    def face(self, corners: npt.ArrayLike, paint: Paint) -> None:
        """Paint a polygon given in world metres, at its mean depth.

        Shapes:
            corners: (N, 3)
        """
        points = np.asarray(corners, np.float32)
        self.fill(self.camera.project(points), paint, float(points[:, 2].mean()))

    def stain(self, corners_xz: Sequence[tuple[float, float]], paint: Paint) -> None:
        """Paint on the ground, a polygon in world metres."""
        self.fill(self.camera.project([(x, 0.0, z) for x, z in corners_xz]), paint)


class Upright:
    """Paints flat shapes in the vertical plane through ``at``, measured from there in multiples of ``unit`` metres."""

    def __init__(self, canvas: Canvas, at: Vec, unit: float = 1.0) -> None:
        self.canvas, self.depth = canvas, at[2]
        self.scale = canvas.camera.scale(at[2]) * unit
        self.origin = canvas.camera.project([at])[0]

    def shape(self, outline: npt.ArrayLike, paint: Paint) -> None:
        """Paint an outline of (right, up) points."""
        pixels = self.origin + np.asarray(outline, np.float32) * np.array([self.scale, -self.scale], np.float32)
        self.canvas.fill(pixels, paint, self.depth)

    def rect(self, x0: float, x1: float, y0: float, y1: float, paint: Paint) -> None:
        """Paint an upright rectangle."""
        self.shape([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], paint)


def f32(values: npt.ArrayLike) -> F32:
    """Return the values in single precision, without a copy if they already are."""
    return np.asarray(values, np.float32)


def scaled(colour: Rgb, gain: float) -> Rgb:
    """Return a colour made lighter or darker."""
    return (colour[0] * gain, colour[1] * gain, colour[2] * gain)


def capsule(start: tuple[float, float], end: tuple[float, float], r0: float, r1: float) -> F32:
    """Return the outline of a limb: two circles of radius ``r0`` and ``r1`` and the hull around them.

    Shapes:
        -> (14, 2)
    """
    angle = math.atan2(end[1] - start[1], end[0] - start[0])
    turn = np.linspace(math.pi / 2, 3 * math.pi / 2, 7) + angle
    back = np.stack([start[0] + r0 * np.cos(turn), start[1] + r0 * np.sin(turn)], 1)
    front = np.stack([end[0] - r1 * np.cos(turn), end[1] - r1 * np.sin(turn)], 1)
    return np.concatenate([back, front]).astype(np.float32)


def ellipse(center: tuple[float, float], rx: float, ry: float, count: int = 20) -> F32:
    """Return the outline of an ellipse.

    Shapes:
        -> (count, 2)
    """
    turn = np.linspace(0, 2 * math.pi, count, endpoint=False)
    return np.stack([center[0] + rx * np.cos(turn), center[1] + ry * np.sin(turn)], 1).astype(np.float32)


def clouds(rng: np.random.Generator, height: int, width: int, cell: float, octaves: int = 3) -> F32:
    """Return smooth noise of zero mean, about -1..1: the sum of random grids of finer and finer cells.

    Shapes:
        -> (height, width)
    """
    total = np.zeros((height, width), np.float32)
    weight = 1.0
    for _ in range(octaves):
        rows, cols = max(2, math.ceil(height / cell)), max(2, math.ceil(width / cell))
        grid = rng.uniform(-1, 1, (rows + 1, cols + 1)).astype(np.float32)
        total += weight * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        weight, cell = weight * 0.5, max(cell * 0.5, 1.0)
    return total
