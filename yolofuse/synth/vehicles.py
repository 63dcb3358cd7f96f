"""Draw cars and vans: low-polygon solids with correct perspective and shading."""

from __future__ import annotations

import math

import numpy as np

from yolofuse.synth.canvas import Rgb, Upright, Vec
from yolofuse.synth.car import CHAMFER, GLASS, LOW, NOSE, SHEEN, SHOULDER, TAIL, Car
from yolofuse.synth.scene import Scene, Thing


def draw_car(upright: Upright, scene: Scene, thing: Thing, rng: np.random.Generator) -> None:
    """Draw a parked or driving car: hot bonnet, wheels and exhaust while it runs, its lights on at night."""
    car = Car(upright.canvas, scene, thing, rng)
    _underside(car)
    outline = car.outline()
    for (s0, w0), (s1, w1) in zip(outline, outline[1:] + outline[:1], strict=True):
        _panel(car, s0, w0, s1, w1)
    half = car.shape.wide / 2
    for side in (-1.0, 1.0):
        _side(car, half * side)
    _front_end(car)
    _rear_end(car)
    top = [(s, car.top(s), w * SHOULDER) for s, w in outline]
    glass = car.shape.front_glass[0]
    nose_rim = sorted((p for p in top if p[0] > glass), key=lambda p: p[2])
    edge = half * SHOULDER
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


def _panel(car: Car, s0: float, w0: float, s1: float, w1: float) -> None:
    """Draw one edge of the outline, as a sill, a door and a shoulder band that face lower and higher."""
    out_s, out_w = w1 - w0, s0 - s1
    norm = math.hypot(out_s, out_w)
    out_s, out_w = out_s / norm, out_w / norm
    nose = max(out_s, 0.0)
    temp = car.heat.body + nose * 0.6 * (car.heat.grille - car.heat.body)
    bands = (
        (0.0, 0.94, 0.12, 1.0, -0.25, 0.55),
        (0.12, 1.0, 0.62, 1.0, 0.05, 1.0),
        (0.62, 1.0, 1.0, SHOULDER, 0.5, 1.08),
    )
    for low, inset0, high, inset1, up, shade in bands:
        y = [LOW + level * (car.top(s) - LOW) for level in (low, high) for s in (s0, s1)]
        face: list[Vec] = [
            (s0, y[0], w0 * inset0),
            (s1, y[1], w1 * inset0),
            (s1, y[3], w1 * inset1),
            (s0, y[2], w0 * inset1),
        ]
        car.face(face, (out_s, up, out_w), car.tint(shade), temp)


def _underside(car: Car) -> None:
    """Draw what is below the sills: darkness, tyres, and warm air while the engine runs."""
    half, end = car.shape.wide / 2 * 0.9, car.shape.long / 2 - 0.25
    black: Rgb = (0.012, 0.012, 0.012)
    for side in (-1.0, 1.0):
        skirt = _strip(-end, end, 0.04, 0.4, half * side, half * side)
        car.face(skirt, (0.0, 0.0, side), black, car.heat.under)
    for out in (-1.0, 1.0):
        car.face(_patch(end * out, 0.10, 0.4, -half, half), (out, 0.0, 0.0), black, car.heat.under)
        for side in (-1.0, 1.0):
            tyre = _patch(end * out, 0.0, 0.4, side * half * 0.72, side * half * 1.02)
            car.face(tyre, (out, 0.0, 0.0), (0.02, 0.02, 0.02), car.heat.wheel)


def _wheel(car: Car, along: float, w: float, radius: float, colour: Rgb, temp: float) -> None:
    turn = np.linspace(0, 2 * math.pi, 18, endpoint=False)
    rim: list[Vec] = [(along + radius * math.cos(a), 0.32 + radius * math.sin(a), w) for a in turn]
    car.face(rim, (0.0, 0.0, math.copysign(1.0, w)), colour, temp)


def _side(car: Car, w: float) -> None:
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
        gap = _strip(along, along + 0.03, 0.36, shape.belt, w, w * 0.95)
        car.face(gap, outward, car.tint(0.35), car.heat.body)
    knob_y = shape.belt * 0.82
    for along in (-0.50, 0.55):
        knob = _strip(along, along + 0.17, knob_y, knob_y + 0.04, w, w)
        car.face(knob, outward, car.tint(0.45), car.heat.body)


def _strip(x0: float, x1: float, y0: float, y1: float, w0: float, w1: float) -> list[Vec]:
    """Return a rectangle along the car, from ``w0`` across at its lower edge to ``w1`` at its upper one."""
    return [(x0, y0, w0), (x1, y0, w0), (x1, y1, w1), (x0, y1, w1)]


def _patch(x: float, y0: float, y1: float, w0: float, w1: float) -> list[Vec]:
    """Return a rectangle across the car."""
    return [(x, y0, w0), (x, y0, w1), (x, y1, w1), (x, y1, w0)]


def _front_end(car: Car) -> None:
    out, top, nose, half = (1.0, 0.1, 0.0), car.shape.nose, car.shape.long / 2, car.shape.wide / 2
    flat = half * NOSE
    car.face(_patch(nose, 0.27, 0.42, -flat * 0.85, flat * 0.85), out, (0.015, 0.015, 0.016), car.heat.grille)
    car.face(_patch(nose, top * 0.66, top * 0.90, -flat * 0.58, flat * 0.58), out, (0.02, 0.02, 0.022), car.heat.grille)
    car.face(_patch(nose, top * 0.77, top * 0.80, -flat * 0.55, flat * 0.55), out, (0.4, 0.4, 0.42), car.heat.grille)
    car.face(_patch(nose, top * 0.55, top * 0.67, -0.26, 0.26), out, (0.6, 0.6, 0.56), car.heat.body)
    beam: Rgb = (7.0, 6.6, 5.8) if car.lights_on else (0.0, 0.0, 0.0)
    warm = car.heat.body + (5.0 if car.lights_on else 0.0)
    for side in (-1.0, 1.0):
        lens = _patch(nose + 0.01, top * 0.70, top * 0.93, side * flat * 0.66, side * flat)
        car.face(lens, out, (0.62, 0.64, 0.66), warm, beam)
        back = nose - 0.45 * CHAMFER
        edge = side * (flat + 0.45 * (half - flat))
        wrap: list[Vec] = [
            (nose, top * 0.70, side * flat),
            (back, top * 0.80, edge),
            (back, top * 0.95, edge * 0.97),
            (nose, top * 0.93, side * flat * 0.97),
        ]
        car.face(wrap, (half - flat, 0.1, side * CHAMFER), (0.62, 0.64, 0.66), warm, beam)


def _rear_end(car: Car) -> None:
    out, belt, tail, half = (-1.0, 0.1, 0.0), car.shape.belt, -car.shape.long / 2, car.shape.wide / 2
    flat = half * TAIL
    car.face(_patch(tail, 0.26, 0.40, -flat, flat), out, (0.03, 0.03, 0.03), car.heat.body)
    car.face(_patch(tail, 0.455, 0.475, -flat, flat), out, car.tint(0.4), car.heat.body)
    car.face(_patch(tail - 0.01, belt * 0.58, belt * 0.70, -0.26, 0.26), out, (0.6, 0.6, 0.5), car.heat.body)
    glow: Rgb = (2.4, 0.10, 0.06) if car.lights_on else (0.0, 0.0, 0.0)
    warm = car.heat.body + (2.0 if car.lights_on else 0.0)
    for side in (-1.0, 1.0):
        lens = _patch(tail - 0.01, belt * 0.70, belt * 0.92, side * flat * 0.66, side * flat)
        car.face(lens, out, (0.32, 0.02, 0.02), warm, glow)
        back = tail + 0.8 * CHAMFER * 0.5
        edge = side * (flat + 0.8 * (half - flat))
        wrap: list[Vec] = [
            (tail, belt * 0.70, side * flat),
            (back, belt * 0.70, edge),
            (back, belt * 0.92, edge * 0.97),
            (tail, belt * 0.92, side * flat * 0.98),
        ]
        car.face(wrap, (flat - half, 0.1, side * CHAMFER * 0.5), (0.32, 0.02, 0.02), warm, glow)
    car.face(_patch(tail - 0.01, 0.22, 0.33, half * 0.4, half * 0.62), out, (0.08, 0.08, 0.08), car.heat.exhaust)


def _cabin(car: Car, half: float, roof: float) -> None:
    """Draw glass and roof. The frame is painted in body colour first, then each pane a little smaller."""
    shape, heat = car.shape, car.heat
    belt, high = shape.belt, shape.high
    (r0, r1), (f0, f1) = shape.rear_glass, shape.front_glass
    rear: list[Vec] = [(r0, belt, -half), (r0, belt, half), (r1, high, roof), (r1, high, -roof)]
    front: list[Vec] = [(f0, belt, -half), (f0, belt, half), (f1, high, roof), (f1, high, -roof)]
    slope = high - belt
    for pane, out in ((rear, (-slope, r1 - r0, 0.0)), (front, (slope, f0 - f1, 0.0))):
        if car.face(pane, out, car.colour, heat.body):
            glass = _shrunk(pane, 0.88)
            sheen = [_between(glass[0], glass[3], 0.45), _between(glass[1], glass[2], 0.70), glass[2], glass[3]]
            car.face(glass, out, GLASS, heat.glass)
            car.face(sheen, out, SHEEN, heat.glass)
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
        for pane in (
            [(r0 + 0.22, low, wl), (split - 0.05, low, wl), (split - 0.05, top, wt), (r1 + 0.12, top, wt)],
            [(split + 0.05, low, wl), (f0 - 0.2, low, wl), (f1 - 0.05, top, wt), (split + 0.05, top, wt)],
        ):
            car.face(pane, out, GLASS, heat.glass)
    bright = (min(car.colour[0] * 1.1, 0.8), min(car.colour[1] * 1.1, 0.8), min(car.colour[2] * 1.1, 0.8))
    top_of_car: list[Vec] = [(r1, high, -roof), (r1, high, roof), (f1, high, roof), (f1, high, -roof)]
    car.face(top_of_car, (0.0, 1.0, 0.0), bright, heat.body * 0.7)


def _shrunk(points: list[Vec], share: float) -> list[Vec]:
    middle = [sum(p[axis] for p in points) / len(points) for axis in range(3)]
    return [tuple(m + share * (c - m) for m, c in zip(middle, p, strict=True)) for p in points]  # type: ignore[misc]


def _between(a: Vec, b: Vec, share: float) -> Vec:
    return (a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]), a[2] + share * (b[2] - a[2]))
