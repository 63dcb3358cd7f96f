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
_SHEEN: Rgb = (0.085, 0.10, 0.115)
_LOW = 0.22
_SHOULDER, _NOSE, _TAIL = 0.93, 0.70, 0.86
"""Half widths of the belt line, the front and the rear, as shares of the body's."""
_CHAMFER = 0.55
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

    def top(self, along: float) -> float:
        """Height of the body below the glass: the belt line, falling over the bonnet."""
        start, end = self.shape.front_glass[0], self.shape.long / 2
        fall = math.pow(min(max((along - start) / (end - start), 0.0), 1.0), 1.6)
        return self.shape.belt + fall * (self.shape.nose - self.shape.belt)

    def outline(self) -> list[tuple[float, float]]:
        """The plan, convex, as (along, across), so that each edge's outside is on the same hand."""
        half, end = self.shape.wide / 2, self.shape.long / 2
        glass = self.shape.front_glass[0]
        right = [
            (-end, half * _TAIL),
            (-end + _CHAMFER / 2, half),
            (glass, half),
            (end - _CHAMFER, half),
            (end, half * _NOSE),
        ]
        return right + [(s, -w) for s, w in reversed(right)]

    def tint(self, gain: float) -> Rgb:
        """Body colour, lighter or darker."""
        return (self.colour[0] * gain, self.colour[1] * gain, self.colour[2] * gain)

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
    _underside(car)
    outline = car.outline()
    for (s0, w0), (s1, w1) in zip(outline, outline[1:] + outline[:1], strict=True):
        _panel(car, s0, w0, s1, w1)
    half = car.shape.wide / 2
    for side in (-1.0, 1.0):
        _side(car, half * side)
    _front_end(car)
    _rear_end(car)
    top = [(s, car.top(s), w * _SHOULDER) for s, w in outline]
    glass = car.shape.front_glass[0]
    nose_rim = sorted((p for p in top if p[0] > glass), key=lambda p: p[2])
    edge = half * _SHOULDER
    hood: list[Vec] = [(glass, car.shape.belt, -edge), *nose_rim, (glass, car.shape.belt, edge)]
    car.face(hood, (0.12, 1.0, 0.0), car.tint(1.06), car.heat.bonnet)
    ridge = 0.32 * half
    end, lip = car.shape.long / 2, car.shape.nose
    line: list[Vec] = [
        (glass, car.shape.belt, -ridge),
        (glass, car.shape.belt, ridge),
        (end, lip, ridge * 0.8),
        (end, lip, -ridge * 0.8),
    ]
    car.face(line, (0.05, 1.0, 0.0), car.tint(1.16), car.heat.bonnet * 1.1)
    back = car.shape.rear_glass[0]
    tail_rim = sorted((p for p in top if p[0] < back), key=lambda p: -p[2])
    boot: list[Vec] = [(back, car.shape.belt, edge), *tail_rim, (back, car.shape.belt, -edge)]
    car.face(boot, (0.0, 1.0, 0.0), car.tint(1.05), car.heat.body)
    _cabin(car, half * 0.92, half * 0.74)


def _panel(car: _Car, s0: float, w0: float, s1: float, w1: float) -> None:
    """One edge of the plan, as a sill, a door and a shoulder band that face lower and higher."""
    out_s, out_w = w1 - w0, s0 - s1
    norm = math.hypot(out_s, out_w)
    out_s, out_w = out_s / norm, out_w / norm
    nose = max(out_s, 0.0)
    temp = car.heat.body + nose * 0.6 * (car.heat.grille - car.heat.body)
    bands = (
        (0.0, 0.94, 0.12, 1.0, -0.25, 0.55),
        (0.12, 1.0, 0.62, 1.0, 0.05, 1.0),
        (0.62, 1.0, 1.0, _SHOULDER, 0.5, 1.08),
    )
    for low, inset0, high, inset1, up, shade in bands:
        y = [_LOW + level * (car.top(s) - _LOW) for level in (low, high) for s in (s0, s1)]
        face: list[Vec] = [
            (s0, y[0], w0 * inset0),
            (s1, y[1], w1 * inset0),
            (s1, y[3], w1 * inset1),
            (s0, y[2], w0 * inset1),
        ]
        car.face(face, (out_s, up, out_w), car.tint(shade), temp)


def _underside(car: _Car) -> None:
    """What one sees below the sills: darkness, tyres, and warm air while the engine runs."""
    half, end = car.shape.wide / 2 * 0.9, car.shape.long / 2 - 0.25
    black: Rgb = (0.012, 0.012, 0.012)
    for side in (-1.0, 1.0):
        skirt: list[Vec] = [
            (-end, 0.04, half * side),
            (end, 0.04, half * side),
            (end, 0.4, half * side),
            (-end, 0.4, half * side),
        ]
        car.face(skirt, (0.0, 0.0, side), black, car.heat.under)
    for out in (-1.0, 1.0):
        car.face(_patch(end * out, 0.10, 0.4, -half, half), (out, 0.0, 0.0), black, car.heat.under)
        for side in (-1.0, 1.0):
            tyre = _patch(end * out, 0.0, 0.4, side * half * 0.72, side * half * 1.02)
            car.face(tyre, (out, 0.0, 0.0), (0.02, 0.02, 0.02), car.heat.wheel)


def _wheel(car: _Car, along: float, w: float, radius: float, colour: Rgb, temp: float) -> None:
    turn = np.linspace(0, 2 * math.pi, 18, endpoint=False)
    rim: list[Vec] = [(along + radius * math.cos(a), 0.32 + radius * math.sin(a), w) for a in turn]
    car.face(rim, (0.0, 0.0, math.copysign(1.0, w)), colour, temp)


def _side(car: _Car, w: float) -> None:
    shape, outward = car.shape, (0.0, 0.0, math.copysign(1.0, w))
    for along in (-0.30 * shape.long, 0.30 * shape.long):
        _wheel(car, along, w, 0.40, (0.01, 0.01, 0.01), car.heat.under)
        _wheel(car, along, w * 1.005, 0.325, (0.022, 0.022, 0.022), car.heat.wheel)
        _wheel(car, along, w * 1.008, 0.215, (0.34, 0.34, 0.36), car.heat.wheel * 1.15)
        for spoke in range(5):
            turn = 2 * math.pi * spoke / 5
            hole = (along + 0.13 * math.cos(turn), 0.32 + 0.13 * math.sin(turn))
            dot: list[Vec] = [
                (hole[0] + 0.04 * dx, hole[1] + 0.04 * dy, w * 1.01) for dx, dy in ((-1, -1), (1, -1), (1, 1), (-1, 1))
            ]
            car.face(dot, outward, (0.05, 0.05, 0.05), car.heat.wheel)
    for along in (-0.28, 0.80):
        gap: list[Vec] = [
            (along, 0.36, w),
            (along + 0.03, 0.36, w),
            (along + 0.03, shape.belt, w * 0.95),
            (along, shape.belt, w * 0.95),
        ]
        car.face(gap, outward, car.tint(0.35), car.heat.body)
    knob_y = shape.belt * 0.82
    for along in (-0.50, 0.55):
        knob: list[Vec] = [
            (along, knob_y, w),
            (along + 0.17, knob_y, w),
            (along + 0.17, knob_y + 0.04, w),
            (along, knob_y + 0.04, w),
        ]
        car.face(knob, outward, car.tint(0.45), car.heat.body)


def _patch(x: float, y0: float, y1: float, w0: float, w1: float) -> list[Vec]:
    return [(x, y0, w0), (x, y0, w1), (x, y1, w1), (x, y1, w0)]


def _front_end(car: _Car) -> None:
    out, top, nose, half = (1.0, 0.1, 0.0), car.shape.nose, car.shape.long / 2, car.shape.wide / 2
    flat = half * _NOSE
    car.face(_patch(nose, 0.27, 0.42, -flat * 0.85, flat * 0.85), out, (0.015, 0.015, 0.016), car.heat.grille)
    car.face(_patch(nose, top * 0.66, top * 0.90, -flat * 0.58, flat * 0.58), out, (0.02, 0.02, 0.022), car.heat.grille)
    car.face(_patch(nose, top * 0.77, top * 0.80, -flat * 0.55, flat * 0.55), out, (0.4, 0.4, 0.42), car.heat.grille)
    car.face(_patch(nose, top * 0.55, top * 0.67, -0.26, 0.26), out, (0.6, 0.6, 0.56), car.heat.body)
    beam: Rgb = (7.0, 6.6, 5.8) if car.lights_on else (0.0, 0.0, 0.0)
    warm = car.heat.body + (5.0 if car.lights_on else 0.0)
    for side in (-1.0, 1.0):
        lens = _patch(nose + 0.01, top * 0.70, top * 0.93, side * flat * 0.66, side * flat)
        car.face(lens, out, (0.62, 0.64, 0.66), warm, beam)
        back = nose - 0.45 * _CHAMFER
        edge = side * (flat + 0.45 * (half - flat))
        wrap: list[Vec] = [
            (nose, top * 0.70, side * flat),
            (back, top * 0.80, edge),
            (back, top * 0.95, edge * 0.97),
            (nose, top * 0.93, side * flat * 0.97),
        ]
        car.face(wrap, (half - flat, 0.1, side * _CHAMFER), (0.62, 0.64, 0.66), warm, beam)


def _rear_end(car: _Car) -> None:
    out, belt, tail, half = (-1.0, 0.1, 0.0), car.shape.belt, -car.shape.long / 2, car.shape.wide / 2
    flat = half * _TAIL
    car.face(_patch(tail, 0.26, 0.40, -flat, flat), out, (0.03, 0.03, 0.03), car.heat.body)
    car.face(_patch(tail, 0.455, 0.475, -flat, flat), out, car.tint(0.4), car.heat.body)
    car.face(_patch(tail - 0.01, belt * 0.58, belt * 0.70, -0.26, 0.26), out, (0.6, 0.6, 0.5), car.heat.body)
    glow: Rgb = (2.4, 0.10, 0.06) if car.lights_on else (0.0, 0.0, 0.0)
    warm = car.heat.body + (2.0 if car.lights_on else 0.0)
    for side in (-1.0, 1.0):
        lens = _patch(tail - 0.01, belt * 0.70, belt * 0.92, side * flat * 0.66, side * flat)
        car.face(lens, out, (0.32, 0.02, 0.02), warm, glow)
        back = tail + 0.8 * _CHAMFER * 0.5
        edge = side * (flat + 0.8 * (half - flat))
        wrap: list[Vec] = [
            (tail, belt * 0.70, side * flat),
            (back, belt * 0.70, edge),
            (back, belt * 0.92, edge * 0.97),
            (tail, belt * 0.92, side * flat * 0.98),
        ]
        car.face(wrap, (flat - half, 0.1, side * _CHAMFER * 0.5), (0.32, 0.02, 0.02), warm, glow)
    car.face(_patch(tail - 0.01, 0.22, 0.33, half * 0.4, half * 0.62), out, (0.08, 0.08, 0.08), car.heat.exhaust)


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
            glass = _shrunk(pane, 0.88)
            car.face(glass, out, _GLASS, heat.glass)
            car.face(
                [_between(glass[0], glass[3], 0.45), _between(glass[1], glass[2], 0.70), glass[2], glass[3]],
                out,
                _SHEEN,
                heat.glass,
            )
    for side in (-1.0, 1.0):
        window: list[Vec] = [
            (r0, belt, side * half),
            (f0, belt, side * half),
            (f1, high, side * roof),
            (r1, high, side * roof),
        ]
        out = (0.0, half - roof, side * slope)
        if not car.face(window, out, car.colour, heat.body):
            continue
        split = 0.5 * (r1 + f1) - 0.1
        low, top = belt + 0.05 * slope, belt + 0.88 * slope
        wl, wt = side * (half + 0.05 * (roof - half)), side * (half + 0.88 * (roof - half))
        car.face(
            [(r0 + 0.22, low, wl), (split - 0.05, low, wl), (split - 0.05, top, wt), (r1 + 0.12, top, wt)],
            out,
            _GLASS,
            heat.glass,
        )
        car.face(
            [(split + 0.05, low, wl), (f0 - 0.2, low, wl), (f1 - 0.05, top, wt), (split + 0.05, top, wt)],
            out,
            _GLASS,
            heat.glass,
        )
    bright = (min(car.colour[0] * 1.1, 0.8), min(car.colour[1] * 1.1, 0.8), min(car.colour[2] * 1.1, 0.8))
    car.face(
        [(r1, high, -roof), (r1, high, roof), (f1, high, roof), (f1, high, -roof)],
        (0.0, 1.0, 0.0),
        bright,
        heat.body * 0.7,
    )


def _shrunk(points: list[Vec], share: float) -> list[Vec]:
    middle = [sum(p[axis] for p in points) / len(points) for axis in range(3)]
    return [tuple(m + share * (c - m) for m, c in zip(middle, p, strict=True)) for p in points]  # type: ignore[misc]


def _between(a: Vec, b: Vec, share: float) -> Vec:
    return (a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]), a[2] + share * (b[2] - a[2]))


def footprint(thing: Thing, grow: float) -> list[tuple[float, float]]:
    """The ground rectangle below a car as (X, Z), ``grow`` metres larger on every side."""
    sin, cos = math.sin(thing.heading), math.cos(thing.heading)
    long, wide = 2.15 + grow, 0.88 + grow
    corners = ((-long, -wide), (long, -wide), (long, wide), (-long, wide))
    return [(thing.x + s * sin + w * cos, thing.z + s * cos - w * sin) for s, w in corners]
