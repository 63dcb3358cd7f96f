"""Cars and vans: low-polygon solids, so that they turn in perspective and catch the light."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from yolofuse.data.synth.canvas import F32, Canvas, Paint, Rgb, Vec
from yolofuse.data.synth.scene import Scene, Thing

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
_GLASS: Rgb = (0.035, 0.045, 0.055)


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
class _Heat:
    body: float
    bonnet: float
    grille: float
    wheel: float
    glass: float
    exhaust: float
    under: float


_RUNNING = _Heat(4.5, 12.0, 15.0, 10.0, 1.0, 24.0, 12.0)
_WARM = _Heat(5.0, 11.0, 11.0, 9.0, 1.5, 12.0, 9.0)
_COLD = _Heat(0.0, 0.2, 0.4, 0.8, -2.0, 0.3, -0.6)


class _Car:
    """One car in place: turns its own coordinates (along, up, across) into the world's."""

    def __init__(self, canvas: Canvas, scene: Scene, thing: Thing) -> None:
        rng = np.random.default_rng(thing.seed)
        self.canvas, self.thing, self.rng = canvas, thing, rng
        self.shape = SHAPES[int(rng.choice(4, p=[0.35, 0.25, 0.22, 0.18]))]
        colour = _COLOURS[int(rng.integers(len(_COLOURS)))]
        gain = rng.uniform(0.85, 1.15)
        self.colour: Rgb = (colour[0] * gain, colour[1] * gain, colour[2] * gain)
        self.heat = _RUNNING if thing.running else _COLD if thing.camouflaged else _WARM
        self.lights_on = thing.running and scene.climate.night
        self.sin, self.cos = math.sin(thing.heading), math.cos(thing.heading)

    def world(self, points: list[Vec]) -> F32:
        """World metres of points given along, up and across the car."""
        p = np.asarray(points, np.float32)
        x = self.thing.x + p[:, 0] * self.sin + p[:, 2] * self.cos
        z = self.thing.z + p[:, 0] * self.cos - p[:, 2] * self.sin
        return np.stack([x, p[:, 1], z], 1)

    def face(self, points: list[Vec], outward: Vec, colour: Rgb, temp: float, emit: Rgb = (0.0, 0.0, 0.0)) -> bool:
        """Paint one plane if it looks towards the camera; says whether it did."""
        corners = self.world(points)
        normal = self.world([outward])[0] - (self.thing.x, 0.0, self.thing.z)
        middle = corners.mean(0) - (0.0, self.canvas.camera.eye, 0.0)
        if float(normal @ middle) >= 0:
            return False
        self.canvas.face(corners, Paint(colour, temp, (float(normal[0]), float(normal[1]), float(normal[2])), emit))
        return True


def draw_car(canvas: Canvas, scene: Scene, thing: Thing) -> None:
    """A parked or driving car: hot bonnet, wheels and exhaust while it runs, its lights on at night."""
    car = _Car(canvas, scene, thing)
    shape, heat = car.shape, car.heat
    half, tail, nose = shape.wide / 2, -shape.long / 2, shape.long / 2
    low, mid = 0.24, shape.belt * 0.72
    _underside(car, half, tail, nose)
    dark = (car.colour[0] * 0.8, car.colour[1] * 0.8, car.colour[2] * 0.8)
    rear = [(tail, low, -half), (tail, low, half), (tail, shape.belt, half * 0.94), (tail, shape.belt, -half * 0.94)]
    if car.face(rear, (-1.0, 0.12, 0.0), car.colour, heat.body):
        _rear_end(car, half, tail)
    front = [(nose, low, -half), (nose, low, half), (nose, shape.nose, half * 0.92), (nose, shape.nose, -half * 0.92)]
    if car.face(front, (1.0, 0.2, 0.0), car.colour, heat.body + 0.5 * (heat.grille - heat.body)):
        _front_end(car, half, nose)
    for side in (-1.0, 1.0):
        w, v = half * side, half * side * 0.94
        lower = [(tail, low, w), (nose, low, w), (nose, shape.nose * 0.8, w), (nose - 0.3, mid, w), (tail, mid, w)]
        upper = [(tail, mid, w), (nose - 0.3, mid, w), (nose, shape.nose * 0.8, w), (nose, shape.nose, v),
                 (shape.front_glass[0], shape.belt, v), (tail, shape.belt, v)]  # fmt: skip
        if car.face(lower, (0.0, -0.1, side), dark, heat.body * 0.9):
            car.face(upper, (0.0, 0.45, side), car.colour, heat.body)
            _side(car, w, low, mid)
    hood = [(shape.front_glass[0], shape.belt, -half * 0.94), (shape.front_glass[0], shape.belt, half * 0.94),
            (nose, shape.nose, half * 0.92), (nose, shape.nose, -half * 0.92)]  # fmt: skip
    car.face(hood, (0.2, 1.0, 0.0), car.colour, heat.bonnet)
    boot = [(tail, shape.belt, -half * 0.94), (tail, shape.belt, half * 0.94),
            (shape.rear_glass[0], shape.belt, half * 0.94), (shape.rear_glass[0], shape.belt, -half * 0.94)]  # fmt: skip
    car.face(boot, (0.0, 1.0, 0.0), car.colour, heat.body)
    _cabin(car, half * 0.92, half * 0.74)


def _underside(car: _Car, half: float, tail: float, nose: float) -> None:
    """What one sees below the sills: darkness, and warm air while the engine runs."""
    for side in (-1.0, 1.0):
        w = half * 0.9 * side
        skirt: list[Vec] = [(tail + 0.1, 0.02, w), (nose - 0.1, 0.02, w), (nose - 0.1, 0.4, w), (tail + 0.1, 0.4, w)]
        car.face(skirt, (0.0, 0.0, side), (0.012, 0.012, 0.012), car.heat.under)
    for end, out in ((tail + 0.1, -1.0), (nose - 0.1, 1.0)):
        bumper: list[Vec] = [(end, 0.05, -half * 0.9), (end, 0.05, half * 0.9), (end, 0.4, half * 0.9), (end, 0.4, -half * 0.9)]
        car.face(bumper, (out, 0.0, 0.0), (0.012, 0.012, 0.012), car.heat.under)


def _wheel(car: _Car, along: float, w: float, radius: float, colour: Rgb, temp: float) -> None:
    turn = np.linspace(0, 2 * math.pi, 18, endpoint=False)
    rim: list[Vec] = [(along + radius * math.cos(a), 0.32 + radius * math.sin(a), w) for a in turn]
    car.face(rim, (0.0, 0.0, math.copysign(1.0, w)), colour, temp)


def _side(car: _Car, w: float, low: float, mid: float) -> None:
    shape, outward = car.shape, (0.0, 0.0, math.copysign(1.0, w))
    for along in (-0.30 * shape.long, 0.31 * shape.long):
        _wheel(car, along, w, 0.39, (0.01, 0.01, 0.01), car.heat.under)
        _wheel(car, along, w * 1.005, 0.32, (0.022, 0.022, 0.022), car.heat.wheel)
        _wheel(car, along, w * 1.008, 0.20, (0.34, 0.34, 0.36), car.heat.wheel * 1.15)
        _wheel(car, along, w * 1.01, 0.06, (0.12, 0.12, 0.12), car.heat.wheel)
    seam = (car.colour[0] * 0.35, car.colour[1] * 0.35, car.colour[2] * 0.35)
    for along in (-0.28, 0.75):
        gap: list[Vec] = [(along, low + 0.1, w), (along + 0.035, low + 0.1, w), (along + 0.035, shape.belt, w * 0.95), (along, shape.belt, w * 0.95)]
        car.face(gap, outward, seam, car.heat.body)
    for along in (-0.55, 0.5):
        knob: list[Vec] = [(along, mid + 0.04, w), (along + 0.18, mid + 0.04, w), (along + 0.18, mid + 0.085, w), (along, mid + 0.085, w)]
        car.face(knob, outward, seam, car.heat.body)


def _patch(x: float, y0: float, y1: float, w0: float, w1: float) -> list[Vec]:
    return [(x, y0, w0), (x, y0, w1), (x, y1, w1), (x, y1, w0)]


def _front_end(car: _Car, half: float, nose: float) -> None:
    out, top = (1.0, 0.1, 0.0), car.shape.nose
    car.face(_patch(nose, 0.30, top * 0.72, -half * 0.55, half * 0.55), out, (0.02, 0.02, 0.022), car.heat.grille)
    car.face(_patch(nose, 0.40, 0.50, -0.26, 0.26), out, (0.6, 0.6, 0.56), car.heat.body)
    car.face(_patch(nose, 0.24, 0.30, -half, half), out, (0.03, 0.03, 0.03), car.heat.body)
    beam: Rgb = (7.0, 6.6, 5.8) if car.lights_on else (0.0, 0.0, 0.0)
    for side in (-1.0, 1.0):
        lamp = _patch(nose + 0.01, top * 0.70, top * 0.93, side * half * 0.60, side * half * 0.90)
        car.face(lamp, out, (0.62, 0.64, 0.66), car.heat.body + (5.0 if car.lights_on else 0.0), beam)


def _rear_end(car: _Car, half: float, tail: float) -> None:
    out, belt = (-1.0, 0.1, 0.0), car.shape.belt
    car.face(_patch(tail, 0.24, 0.42, -half, half), out, (0.03, 0.03, 0.03), car.heat.body)
    car.face(_patch(tail - 0.01, belt * 0.60, belt * 0.72, -0.26, 0.26), out, (0.6, 0.6, 0.5), car.heat.body)
    glow: Rgb = (2.4, 0.10, 0.06) if car.lights_on else (0.0, 0.0, 0.0)
    for side in (-1.0, 1.0):
        lamp = _patch(tail - 0.01, belt * 0.70, belt * 0.95, side * half * 0.62, side * half * 0.92)
        car.face(lamp, out, (0.32, 0.02, 0.02), car.heat.body + (2.0 if car.lights_on else 0.0), glow)
    car.face(_patch(tail - 0.01, 0.25, 0.36, half * 0.4, half * 0.62), out, (0.08, 0.08, 0.08), car.heat.exhaust)


def _cabin(car: _Car, half: float, roof: float) -> None:
    """Glass and roof. The frame is painted in body colour first, then each pane a little smaller."""
    shape, heat = car.shape, car.heat
    belt, high = shape.belt, shape.high
    (r0, r1), (f0, f1) = shape.rear_glass, shape.front_glass
    rear: list[Vec] = [(r0, belt, -half), (r0, belt, half), (r1, high, roof), (r1, high, -roof)]
    front: list[Vec] = [(f0, belt, -half), (f0, belt, half), (f1, high, roof), (f1, high, -roof)]
    slope = high - belt
    for pane, out in ((rear, (-slope, r1 - r0, 0.0)), (front, (slope, f0 - f1, 0.0))):
        if car.face(pane, out, car.colour, heat.body):
            car.face(_shrunk(pane, 0.86), out, _GLASS, heat.glass)
    for side in (-1.0, 1.0):
        window: list[Vec] = [(r0, belt, side * half), (f0, belt, side * half), (f1, high, side * roof), (r1, high, side * roof)]
        out = (0.0, half - roof, side * slope)
        if not car.face(window, out, car.colour, heat.body):
            continue
        split = 0.5 * (r1 + f1) - 0.1
        low, top = belt + 0.05 * slope, belt + 0.88 * slope
        wl, wt = side * (half + 0.05 * (roof - half)), side * (half + 0.88 * (roof - half))
        car.face([(r0 + 0.22, low, wl), (split - 0.05, low, wl), (split - 0.05, top, wt), (r1 + 0.12, top, wt)], out, _GLASS, heat.glass)
        car.face([(split + 0.05, low, wl), (f0 - 0.2, low, wl), (f1 - 0.05, top, wt), (split + 0.05, top, wt)], out, _GLASS, heat.glass)
    bright = (min(car.colour[0] * 1.1, 0.8), min(car.colour[1] * 1.1, 0.8), min(car.colour[2] * 1.1, 0.8))
    car.face([(r1, high, -roof), (r1, high, roof), (f1, high, roof), (f1, high, -roof)], (0.0, 1.0, 0.0), bright, heat.body * 0.7)


def _shrunk(points: list[Vec], share: float) -> list[Vec]:
    middle = [sum(p[axis] for p in points) / len(points) for axis in range(3)]
    return [tuple(m + share * (c - m) for m, c in zip(middle, p, strict=True)) for p in points]  # type: ignore[misc]


def footprint(thing: Thing, grow: float) -> list[tuple[float, float]]:
    """The ground rectangle below a car as (X, Z), ``grow`` metres larger on every side."""
    sin, cos = math.sin(thing.heading), math.cos(thing.heading)
    long, wide = 2.15 + grow, 0.88 + grow
    corners = ((-long, -wide), (long, -wide), (long, wide), (-long, wide))
    return [(thing.x + s * sin + w * cos, thing.z + s * cos - w * sin) for s, w in corners]
