"""Draw people and what resembles them: walkers, shop dummies, posters and dogs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from yolofuse.synth import knobs
from yolofuse.synth.canvas import NORMAL, Canvas, Cutout, Paint, Rgb, Upright, Vec, capsule, ellipse, scaled
from yolofuse.synth.scene import Scene, Thing

_TOPS: tuple[Rgb, ...] = (
    (0.42, 0.05, 0.05),
    (0.05, 0.12, 0.36),
    (0.62, 0.58, 0.52),
    (0.55, 0.38, 0.06),
    (0.06, 0.24, 0.14),
    (0.34, 0.10, 0.26),
    (0.60, 0.24, 0.06),
    (0.10, 0.34, 0.42),
    (0.025, 0.025, 0.03),
)
_BOTTOMS: tuple[Rgb, ...] = (
    (0.03, 0.05, 0.12),
    (0.02, 0.02, 0.025),
    (0.26, 0.21, 0.14),
    (0.10, 0.10, 0.11),
    (0.08, 0.12, 0.22),
)
_SKINS: tuple[Rgb, ...] = ((0.62, 0.40, 0.29), (0.48, 0.28, 0.18), (0.28, 0.15, 0.09), (0.13, 0.07, 0.045))
_HAIRS: tuple[Rgb, ...] = ((0.02, 0.016, 0.013), (0.10, 0.055, 0.025), (0.32, 0.21, 0.09), (0.30, 0.29, 0.28))

_SKIN_HEAT, _TOP_HEAT, _LEG_HEAT, _HAIR_HEAT, _SHOE_HEAT = 19.0, 10.5, 9.0, 11.0, 5.0


@dataclass(frozen=True, slots=True)
class Figure:
    """Appearance and pose of one person. Lengths as shares of body height."""

    top: Rgb
    bottom: Rgb
    skin: Rgb
    hair: Rgb
    profile: bool
    turn: float
    stride: float
    coat: bool
    hat: bool
    bag: int
    build: float


def _random_figure(rng: np.random.Generator) -> Figure:
    def one(choices: tuple[Rgb, ...]) -> Rgb:
        colour = choices[int(rng.integers(len(choices)))]
        return scaled(colour, rng.uniform(0.8, 1.2))

    profile = bool(rng.random() < 0.5)
    return Figure(
        top=one(_TOPS),
        bottom=one(_BOTTOMS),
        skin=one(_SKINS),
        hair=one(_HAIRS),
        profile=profile,
        turn=float(rng.choice([-1.0, 1.0])),
        stride=float(rng.uniform(0.22, 0.48) if profile else rng.uniform(0.05, 0.14)),
        coat=bool(rng.random() < 0.3),
        hat=bool(rng.random() < 0.2),
        bag=int(rng.integers(0, 3)),
        build=float(rng.uniform(0.9, 1.15)),
    )


class _Body(Upright):
    """Draws the parts of a figure; ``heat`` scales body warmth, ``flat`` replaces it, ``glow`` makes a lit poster."""

    def __init__(
        self, canvas: Canvas, at: Vec, tall: float, heat: float = 0.0, flat: float | None = None, glow: float = 0.0
    ) -> None:
        super().__init__(canvas, at, tall)
        self.heat, self.flat, self.glow = heat, flat, glow

    def part(self, outline: npt.ArrayLike, colour: Rgb, warmth: float) -> None:
        """Paint an outline given in shares of the body height, y upwards from the feet."""
        temp = self.heat * warmth if self.flat is None else self.flat
        self.shape(outline, Paint(colour, temp, emit=scaled(colour, self.glow)))


def _draw_figure(body: _Body, rng: np.random.Generator) -> None:
    """Paint a whole person of random appearance and pose, far limbs first."""
    figure = _random_figure(rng)
    turn, build = figure.turn, figure.build
    # a long stride lowers the hips; without this walkers would float
    body.origin = body.origin + np.array([0.0, body.scale * 0.455 * (1 - math.cos(figure.stride))], np.float32)
    wide = (0.078 if figure.profile else 0.112) * build
    _leg(body, figure, -1.0, 0.72)
    _arm(body, figure, -1.0, 0.68)
    if figure.bag == 1 and figure.profile:
        pack = capsule((-turn * wide * 1.25, 0.77), (-turn * wide * 1.2, 0.60), 0.055, 0.065)
        body.part(pack, scaled(figure.bottom, 2.2), 3.0)
    _leg(body, figure, 1.0, 1.0)
    hip, chest = wide * 0.82, wide * 1.02
    torso = [
        (-hip, 0.47), (-wide * 0.84, 0.58), (-wide * 0.90, 0.68), (-chest, 0.77), (-chest * 0.93, 0.806),
        (-chest * 0.7, 0.828), (-0.035, 0.852), (0.035, 0.852), (chest * 0.7, 0.828), (chest * 0.93, 0.806),
        (chest, 0.77), (wide * 0.90, 0.68), (wide * 0.84, 0.58), (hip, 0.47),
    ]  # fmt: skip
    body.part(torso, figure.top, _TOP_HEAT)
    if figure.coat:
        skirt = [(-hip, 0.52), (hip, 0.52), (hip * 1.35, 0.28), (-hip * 1.35, 0.28)]
        body.part(skirt, scaled(figure.top, 0.9), _TOP_HEAT * 0.8)
    elif not figure.profile:
        zip_line = [(-0.006, 0.48), (0.006, 0.48), (0.006, 0.82), (-0.006, 0.82)]
        body.part(zip_line, scaled(figure.top, 0.55), _TOP_HEAT * 1.1)
    _head(body, figure)
    _arm(body, figure, 1.0, 0.92)
    if figure.bag == 2:
        side = turn * wide * 1.15
        bag = [(side - 0.05, 0.33), (side + 0.05, 0.33), (side + 0.042, 0.45), (side - 0.042, 0.45)]
        body.part(bag, scaled(figure.hair, 2.0), 2.0)


def _head(body: _Body, figure: Figure) -> None:
    turn, lean = figure.turn, 0.012 * figure.turn if figure.profile else 0.0
    body.part(capsule((0.0, 0.83), (lean, 0.875), 0.030, 0.028), scaled(figure.skin, 0.85), _SKIN_HEAT)
    body.part(ellipse((lean, 0.93), 0.050, 0.066), figure.skin, _SKIN_HEAT)
    shift = -0.014 * turn if figure.profile else 0.0
    cap = figure.top if figure.hat else figure.hair
    crown = ellipse((lean + shift, 0.952), 0.054, 0.048)
    body.part(crown[np.r_[0:11]] if not figure.profile else crown, cap, _HAIR_HEAT * (0.7 if figure.hat else 1.0))
    if figure.profile:
        face = ellipse((lean + 0.026 * turn, 0.922), 0.028, 0.044)
        body.part(face, figure.skin, _SKIN_HEAT)


def _leg(body: _Body, figure: Figure, which: float, shade: float) -> None:
    angle = which * figure.stride * figure.turn
    spread = 0.0 if figure.profile else which * 0.045 * figure.build
    hip = (spread, 0.49)
    knee = (hip[0] + 0.24 * math.sin(angle), hip[1] - 0.24 * math.cos(angle))
    bend = angle - (0.30 * figure.turn * figure.stride / 0.4 if which * 1.0 < 0 and figure.profile else 0.0)
    ankle = (knee[0] + 0.215 * math.sin(bend), max(knee[1] - 0.215 * math.cos(bend), 0.03))
    colour = scaled(figure.bottom, shade)
    body.part(capsule(hip, knee, 0.058 * figure.build, 0.043), colour, _LEG_HEAT)
    body.part(capsule(knee, ankle, 0.043, 0.030), colour, _LEG_HEAT * 0.85)
    toe = 0.055 * figure.turn if figure.profile else spread * 0.25
    shoe = capsule((ankle[0], ankle[1] - 0.005), (ankle[0] + toe, max(ankle[1] - 0.015, 0.018)), 0.026, 0.020)
    body.part(shoe, (0.03, 0.028, 0.026), _SHOE_HEAT)


def _arm(body: _Body, figure: Figure, which: float, shade: float) -> None:
    angle = -which * figure.stride * figure.turn * 1.1
    spread = 0.0 if figure.profile else which * 0.112 * figure.build
    out = 0.0 if figure.profile else which * 0.12
    shoulder = (spread, 0.782)
    elbow = (shoulder[0] + 0.165 * math.sin(angle + out), shoulder[1] - 0.165 * math.cos(angle + out))
    fold = angle + (0.35 * figure.turn if figure.profile else -0.4 * out)
    hand = (elbow[0] + 0.15 * math.sin(fold), elbow[1] - 0.15 * math.cos(fold))
    body.part(ellipse(hand, 0.022, 0.026), figure.skin, _SKIN_HEAT * 0.9)
    body.part(capsule(shoulder, elbow, 0.040, 0.033), scaled(figure.top, shade), _TOP_HEAT * 0.95)
    body.part(capsule(elbow, hand, 0.033, 0.024), scaled(figure.top, shade * 0.96), _TOP_HEAT)


def round_off(canvas: Canvas, cutout: Cutout) -> None:
    """Bend the normals at the rim of a silhouette, so that light models a body and not a cardboard cut-out."""
    mask = cutout.mask.astype(np.float32) / 255.0
    size = max(mask.shape[1] / 7.0, 1.0)
    soft = cv2.GaussianBlur(mask, (0, 0), size)
    tilt_x, tilt_y = cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1)
    normals = canvas.surf[NORMAL, cutout.rows, cutout.cols]
    inside = mask > 0.5
    normals[0][inside] = (-tilt_x * size * 0.35)[inside]
    normals[1][inside] = (0.15 + tilt_y * size * 0.2)[inside]


def draw_person(upright: Upright, scene: Scene, thing: Thing, rng: np.random.Generator) -> None:
    """Draw a walker: face and hands hottest, then clothes, shoes nearly cold."""
    tall = rng.uniform(1.58, 1.88)
    heat = knobs.PERSON_HEAT[scene.climate.mood] * rng.uniform(0.85, 1.15)
    _draw_figure(_Body(upright.canvas, thing.foot, tall, heat), rng)


def draw_mannequin(upright: Upright, scene: Scene, thing: Thing, rng: np.random.Generator) -> None:
    """Draw a dressed shop dummy on its foot plate: a person to the RGB camera, nothing to the thermal one."""
    temp = scene.climate.road_temp + rng.uniform(-0.3, 0.3)
    canvas, x, z = upright.canvas, thing.x, thing.z
    (x0, y0), (x1, y1) = canvas.camera.project([(x - 0.3, 0.0, z), (x + 0.3, 0.06, z)]).tolist()
    canvas.fill([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], Paint((0.2, 0.2, 0.21), temp), z)
    body = _Body(canvas, (x, 0.04, z), rng.uniform(1.6, 1.8), flat=temp)
    _draw_figure(body, rng)


def draw_poster(upright: Upright, scene: Scene, thing: Thing, rng: np.random.Generator) -> None:
    """Draw an advertising panel with a person on it, lit from inside at night; to the thermal camera a flat sheet."""
    glow = 0.55 if scene.climate.night else 0.0
    temp = scene.climate.road_temp + (0.8 if scene.climate.night else 0.2)
    x, z = thing.x, thing.z

    def sheet(half: float, low: float, high: float, colour: Rgb, lit: float) -> None:
        corners = [(x - half, low, z), (x + half, low, z), (x + half, high, z), (x - half, high, z)]
        upright.canvas.face(corners, Paint(colour, temp, emit=scaled(colour, lit)))

    sheet(0.08, 0.0, 0.4, (0.10, 0.10, 0.11), 0.0)
    sheet(0.74, 0.30, 2.42, (0.07, 0.07, 0.08), 0.0)
    hue = rng.uniform(0.25, 0.75, 3)
    back = (float(hue[0]), float(hue[1]), float(hue[2]))
    for step in range(6):
        sheet(0.66, 0.38 + step * 0.325, 0.38 + (step + 1) * 0.325 + 0.01, scaled(back, 0.7 + 0.1 * step), glow)
    at = (x + rng.uniform(-0.2, 0.2), 0.45, z)
    body = _Body(upright.canvas, at, rng.uniform(1.45, 1.7), flat=temp, glow=glow)
    _draw_figure(body, rng)


def draw_dog(upright: Upright, scene: Scene, thing: Thing, rng: np.random.Generator) -> None:
    """Draw a dog: warm in the thermal image, and not like a person in the other."""
    turn = float(rng.choice([-1.0, 1.0]))
    coat = scaled(
        ((0.30, 0.19, 0.09), (0.04, 0.035, 0.03), (0.5, 0.46, 0.4))[int(rng.integers(3))], rng.uniform(0.8, 1.2)
    )
    body = _Body(upright.canvas, thing.foot, 1.0, heat=1.0)
    for x, shade in ((-0.24, 0.7), (0.22, 0.7), (-0.29, 1.0), (0.27, 1.0)):
        body.part(
            capsule((x * turn, 0.38), (x * turn + rng.uniform(-0.05, 0.05), 0.02), 0.05, 0.03), scaled(coat, shade), 6.0
        )
    body.part(capsule((-0.27 * turn, 0.42), (0.27 * turn, 0.45), 0.11, 0.13), coat, 8.0)
    body.part(capsule((-0.33 * turn, 0.46), (-0.46 * turn, 0.66), 0.035, 0.02), coat, 6.0)
    body.part(capsule((0.33 * turn, 0.50), (0.42 * turn, 0.64), 0.08, 0.08), coat, 10.0)
    body.part(capsule((0.42 * turn, 0.65), (0.56 * turn, 0.61), 0.085, 0.045), scaled(coat, 1.05), 13.0)
    body.part(ellipse((0.40 * turn, 0.70), 0.03, 0.07), scaled(coat, 0.6), 9.0)
