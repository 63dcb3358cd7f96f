"""Define a car: its shapes, colours and heat, and its own coordinates in the world."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from yolofuse.synth.canvas import F32, Canvas, Paint, Rgb, Vec, scaled
from yolofuse.synth.scene import Scene, Thing

_COLOURS: tuple[Rgb, ...] = (
    (0.66, 0.66, 0.67),
    (0.36, 0.37, 0.39),
    (0.42, 0.035, 0.03),
    (0.04, 0.10, 0.34),
    (0.06, 0.26, 0.30),
    (0.52, 0.44, 0.22),
    (0.50, 0.17, 0.03),
    (0.10, 0.24, 0.10),
)
GLASS: Rgb = (0.035, 0.045, 0.055)
SHEEN: Rgb = (0.085, 0.10, 0.115)
LOW = 0.22
SHOULDER, NOSE, TAIL = 0.93, 0.70, 0.86
"""Half widths of the belt line, the front and the rear, as shares of the body's."""
CHAMFER = 0.55
"""How far back the front corners reach, in metres; the rear ones half as far."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Side view of a body in metres: along the car from rear to front, and heights."""

    long: float
    wide: float
    high: float
    belt: float
    rear_glass: tuple[float, float]
    front_glass: tuple[float, float]
    nose: float


SHAPES = (
    Shape(4.4, 1.78, 1.45, 0.92, (-1.75, -1.05), (1.15, 0.35), 0.72),
    Shape(4.0, 1.75, 1.50, 0.94, (-1.95, -1.65), (1.10, 0.40), 0.74),
    Shape(4.5, 1.85, 1.72, 1.05, (-2.15, -1.85), (1.20, 0.55), 0.90),
    Shape(4.8, 1.90, 2.05, 1.15, (-2.38, -2.25), (1.85, 1.20), 0.98),
)


@dataclass(frozen=True, slots=True)
class Heat:
    """How warm each part of a car is, in kelvin above the air."""

    body: float
    bonnet: float
    grille: float
    wheel: float
    glass: float
    exhaust: float
    under: float


_RUNNING = Heat(4.5, 12.0, 15.0, 10.0, 1.0, 24.0, 12.0)
_WARM = Heat(5.0, 11.0, 11.0, 9.0, 1.5, 12.0, 9.0)
_COLD = Heat(0.0, 0.2, 0.4, 0.8, -2.0, 0.3, -0.6)


class Car:
    """One car in place: turns its own coordinates (along, up, across) into the world's."""

    def __init__(self, canvas: Canvas, scene: Scene, thing: Thing, rng: np.random.Generator) -> None:
        self.canvas, self.thing = canvas, thing
        self.shape = SHAPES[int(rng.choice(4, p=[0.35, 0.25, 0.22, 0.18]))]
        colour = _COLOURS[int(rng.integers(len(_COLOURS)))]
        self.colour = scaled(colour, rng.uniform(0.85, 1.15))
        self.heat = _RUNNING if thing.running else _COLD if thing.camouflaged else _WARM
        self.lights_on = thing.running and scene.climate.night
        self.sin, self.cos = math.sin(thing.heading), math.cos(thing.heading)

    def world(self, points: list[Vec]) -> F32:
        """Return world metres of points given along, up and across the car."""
        p = np.asarray(points, np.float32)
        x = self.thing.x + p[:, 0] * self.sin + p[:, 2] * self.cos
        z = self.thing.z + p[:, 0] * self.cos - p[:, 2] * self.sin
        return np.stack([x, p[:, 1], z], 1)

    def top(self, along: float) -> float:
        """Return the height of the body below the glass: the belt line, falling over the bonnet."""
        start, end = self.shape.front_glass[0], self.shape.long / 2
        fall = math.pow(min(max((along - start) / (end - start), 0.0), 1.0), 1.6)
        return self.shape.belt + fall * (self.shape.nose - self.shape.belt)

    def outline(self) -> list[tuple[float, float]]:
        """Return the outline from above, convex, as (along, across), with each edge's outside on the same side."""
        half, end = self.shape.wide / 2, self.shape.long / 2
        glass = self.shape.front_glass[0]
        right = [
            (-end, half * TAIL),
            (-end + CHAMFER / 2, half),
            (glass, half),
            (end - CHAMFER, half),
            (end, half * NOSE),
        ]
        return right + [(s, -w) for s, w in reversed(right)]

    def tint(self, gain: float) -> Rgb:
        """Return the body colour, lighter or darker."""
        return scaled(self.colour, gain)

    def face(self, points: list[Vec], outward: Vec, colour: Rgb, temp: float, emit: Rgb = (0.0, 0.0, 0.0)) -> bool:
        """Paint one plane if it faces the camera; return whether it did."""
        corners = self.world(points)
        normal = self.world([outward])[0] - (self.thing.x, 0.0, self.thing.z)
        middle = corners.mean(0) - (0.0, self.canvas.camera.eye, 0.0)
        if float(normal @ middle) >= 0:
            return False
        self.canvas.face(corners, Paint(colour, temp, (float(normal[0]), float(normal[1]), float(normal[2])), emit))
        return True


def footprint(thing: Thing, grow: float) -> list[tuple[float, float]]:
    """Return the ground rectangle below a car as (X, Z), ``grow`` metres larger on every side."""
    sin, cos = math.sin(thing.heading), math.cos(thing.heading)
    long, wide = 2.15 + grow, 0.88 + grow
    corners = ((-long, -wide), (long, -wide), (long, wide), (-long, wide))
    return [(thing.x + s * sin + w * cos, thing.z + s * cos - w * sin) for s, w in corners]
