"""Draw street furniture, trees, and warm decoys: boxes with hot vents and steaming pipes."""

from __future__ import annotations

import math

import cv2
import numpy as np

from yolofuse.synth.canvas import ALBEDO, GROUND, Canvas, Paint, Rgb, Upright, Vec, capsule, ellipse, scaled
from yolofuse.synth.scene import Scene, Thing

_STEEL: Rgb = (0.10, 0.105, 0.11)
LAMP_HEIGHT = 5.6
LAMP_REACH = 1.3


def draw_lamp(upright: Upright, scene: Scene, thing: Thing, rng: np.random.Generator) -> None:
    """Draw a lamp post with an arm over the road; the head shines if the lamp is on."""
    arm = thing.heading
    temp = 0.3 if scene.climate.night else 1.0
    steel = Paint(_STEEL, temp)
    upright.shape(capsule((0.0, 0.0), (0.0, LAMP_HEIGHT - 0.1), 0.085, 0.05), steel)
    upright.shape(capsule((0.0, 0.0), (0.0, 0.7), 0.13, 0.11), steel)
    upright.shape(capsule((0.0, LAMP_HEIGHT - 0.12), (arm * LAMP_REACH, LAMP_HEIGHT + 0.12), 0.045, 0.035), steel)
    inner, outer = arm * (LAMP_REACH - 0.45), arm * (LAMP_REACH + 0.25)
    head = [
        (inner, LAMP_HEIGHT + 0.16),
        (outer, LAMP_HEIGHT + 0.2),
        (outer, LAMP_HEIGHT + 0.05),
        (inner, LAMP_HEIGHT + 0.03),
    ]
    upright.shape(head, Paint(_STEEL, 6.0 if thing.lit else temp))
    if thing.lit:
        colour = next((light.power for light in scene.lights if light.street_lamp), (1.0, 1.0, 1.0))
        top = max(colour)
        glow = (6.0 * colour[0] / top, 6.0 * colour[1] / top, 6.0 * colour[2] / top)
        bulb = Paint((0.5, 0.5, 0.5), 12.0, emit=glow)
        upright.rect(inner, outer, LAMP_HEIGHT + 0.06, LAMP_HEIGHT - 0.04, bulb)


def draw_tree(upright: Upright, scene: Scene, thing: Thing, rng: np.random.Generator) -> None:
    """Draw a street tree: trunk, branches, and a crown of many small leaf clumps, dark inside and light on top."""
    high, crown = rng.uniform(2.3, 2.9), rng.uniform(1.2, 1.7)
    temp = scene.climate.wall_temp * 0.5
    bark = Paint((0.085, 0.062, 0.045), temp + 0.5)
    upright.shape(capsule((0.0, 0.0), (0.04, high + 0.5), 0.14, 0.08), bark)
    for side in (-1.0, 1.0):
        upright.shape(capsule((0.0, high - 0.3), (side * crown * 0.5, high + 0.8), 0.06, 0.03), bark)
    hue = rng.uniform(0.0, 1.0)
    leaf = (0.05 + 0.07 * hue, 0.13 + 0.02 * hue, 0.03)
    # far trees need fewer leaves
    for step in np.linspace(0.0, 1.0, int(np.clip(upright.scale * 1.0, 16, 90))):
        turn, reach = rng.uniform(0, 2 * math.pi), math.sqrt(rng.uniform(0, 1)) * (1 - 0.25 * step)
        x, y = reach * math.cos(turn), 0.85 * reach * math.sin(turn)
        shade = 0.35 + 0.75 * step * (0.65 + 0.35 * y) + rng.uniform(-0.08, 0.08)
        normal: Vec = (0.7 * x, 0.35 + 0.6 * y, -0.7)
        middle = (crown * x, high + 0.95 * crown + crown * y)
        clump = ellipse(middle, rng.uniform(0.14, 0.30), rng.uniform(0.11, 0.22), 9)
        clump += rng.uniform(-0.05, 0.05, clump.shape).astype(np.float32)
        upright.shape(clump, Paint(scaled(leaf, shade), temp - 0.6 * shade, normal))


def draw_sign(upright: Upright, scene: Scene, thing: Thing, rng: np.random.Generator) -> None:
    """Draw a traffic sign on a pole: round or triangular."""
    upright.shape(capsule((0.0, 0.0), (0.0, 2.2), 0.035, 0.03), Paint((0.30, 0.30, 0.31), 0.2))
    red, white, blue = Paint((0.5, 0.02, 0.02), 0.0), Paint((0.7, 0.7, 0.7), 0.0), Paint((0.02, 0.09, 0.42), 0.0)
    if rng.random() < 0.4:
        upright.shape([(-0.36, 1.75), (0.36, 1.75), (0.0, 2.38)], red)
        upright.shape([(-0.23, 1.83), (0.23, 1.83), (0.0, 2.22)], white)
        return
    upright.shape(ellipse((0.0, 2.05), 0.31, 0.31), red if rng.random() < 0.6 else white)
    inner = blue if rng.random() < 0.5 else white
    upright.shape(ellipse((0.0, 2.05), 0.24, 0.24), inner)
    upright.rect(-0.15, 0.15, 2.01, 2.09, white if inner is blue else red)


def draw_bin(upright: Upright, scene: Scene, thing: Thing, rng: np.random.Generator) -> None:
    """Draw a litter bin."""
    upright.rect(-0.24, 0.24, 0.05, 0.85, Paint((0.03, 0.09, 0.05), 0.2))
    for x in np.arange(-0.2, 0.21, 0.1):
        upright.rect(x - 0.015, x + 0.015, 0.12, 0.78, Paint((0.02, 0.055, 0.03), 0.2))
    upright.shape(
        [(-0.27, 0.82), (0.27, 0.82), (0.2, 0.98), (-0.2, 0.98)], Paint((0.04, 0.12, 0.07), 0.4, (0.0, 0.6, -0.8))
    )


def draw_bollards(upright: Upright, scene: Scene, thing: Thing, rng: np.random.Generator) -> None:
    """Draw two posts with a white band."""
    for x in (-0.55, 0.55):
        upright.shape(capsule((x, 0.0), (x, 0.82), 0.06, 0.06), Paint((0.05, 0.05, 0.055), 0.3))
        upright.rect(x - 0.062, x + 0.062, 0.66, 0.76, Paint((0.65, 0.65, 0.62), 0.2))


def draw_signal(upright: Upright, scene: Scene, thing: Thing, rng: np.random.Generator) -> None:
    """Draw a traffic light; one of the three shines."""
    upright.shape(capsule((0.0, 0.0), (0.0, 2.3), 0.06, 0.05), Paint(_STEEL, 0.3))
    upright.rect(-0.17, 0.17, 2.2, 3.1, Paint((0.02, 0.02, 0.022), 1.0))
    gain = 2.2 if scene.climate.night else 1.0
    lit = int(rng.choice([0, 2]))
    for place, colour in enumerate(((1.0, 0.05, 0.03), (1.0, 0.55, 0.02), (0.04, 0.85, 0.35))):
        emit = scaled(colour, gain if place == lit else 0.0)
        lens = Paint(scaled(colour, 0.12), 2.5 if place == lit else 1.0, emit=emit)
        upright.shape(ellipse((0.0, 2.95 - 0.29 * place), 0.105, 0.105, 14), lens)


def draw_hot_box(upright: Upright, scene: Scene, thing: Thing, rng: np.random.Generator) -> None:
    """Draw a transformer cabinet: car-warm and car-sized to the thermal camera, a slatted steel box to the other."""
    half, high = rng.uniform(0.6, 0.8), rng.uniform(1.05, 1.3)
    heat = rng.uniform(6.0, 9.0)
    tone = rng.uniform(0.16, 0.26)
    upright.rect(-half - 0.05, half + 0.05, 0.0, 0.12, Paint((0.14, 0.14, 0.14), 1.0))
    upright.rect(-half, half, 0.1, high, Paint((tone * 0.85, tone, tone * 0.85), heat * 0.6))
    lid = Paint((tone * 1.2, tone * 1.35, tone * 1.2), heat * 0.5, (0.0, 0.8, -0.6))
    upright.rect(-half - 0.04, half + 0.04, high - 0.04, high + 0.06, lid)
    for x0, x1 in ((-half + 0.08, -0.04), (0.04, half - 0.08)):
        upright.rect(x0, x1, 0.2, high - 0.12, Paint((tone * 0.75, tone * 0.9, tone * 0.75), heat))
        for y in np.arange(0.28, high - 0.2, 0.11):
            upright.rect(x0 + 0.06, x1 - 0.06, y, y + 0.05, Paint((0.03, 0.035, 0.03), heat * 1.5))
    upright.shape([(-0.1, high * 0.62), (0.1, high * 0.62), (0.0, high * 0.62 + 0.18)], Paint((0.7, 0.5, 0.03), heat))


def draw_hot_pipe(upright: Upright, scene: Scene, thing: Thing, rng: np.random.Generator) -> None:
    """Draw a steam stack: as tall and warm as a person to the thermal camera, a striped pipe to the other."""
    high, wide = rng.uniform(1.35, 1.65), rng.uniform(0.17, 0.23)
    heat = rng.uniform(8.0, 12.0)
    upright.rect(-wide - 0.12, wide + 0.12, 0.0, 0.1, Paint((0.2, 0.2, 0.2), heat * 0.5))
    bands = 6
    for band in range(bands):
        colour = (0.55, 0.12, 0.02) if band % 2 else (0.6, 0.58, 0.54)
        low, top = 0.08 + (high - 0.08) * band / bands, 0.08 + (high - 0.08) * (band + 1) / bands
        upright.rect(-wide, wide, low, top, Paint(colour, heat * (0.75 + 0.25 * band / bands)))
    upright.shape(ellipse((0.0, high + 0.04), wide * 1.25, 0.09), Paint((0.12, 0.12, 0.12), heat * 1.5))
    upright.shape(ellipse((0.0, high + 0.16), wide * 0.7, 0.13), Paint((0.10, 0.10, 0.10), heat * 1.7))


def contact_shadow(canvas: Canvas, ground: list[tuple[float, float]], strength: float) -> None:
    """Darken the ground right below a thing with a soft edge, so that it does not float."""
    pixels = canvas.camera.project([(x, 0.0, z) for x, z in ground])
    soft = max(float(pixels[:, 1].max() - pixels[:, 1].min()) * 0.22, 1.0)
    pad = int(3 * soft) + 2
    x0, y0 = (max(int(v) - pad, 0) for v in pixels.min(0))
    x1 = min(int(pixels[:, 0].max()) + pad, canvas.camera.width)
    y1 = min(int(pixels[:, 1].max()) + pad, canvas.camera.height)
    if x0 >= x1 or y0 >= y1:
        return
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    cv2.fillPoly(mask, [np.round((pixels - (x0, y0)) * 8).astype(np.int32)], 255, cv2.LINE_AA, 3)
    weight = cv2.GaussianBlur(mask, (0, 0), soft).astype(np.float32) * (strength / 255.0)
    canvas.surf[ALBEDO, y0:y1, x0:x1] *= 1.0 - (canvas.owner[y0:y1, x0:x1] == GROUND) * weight
