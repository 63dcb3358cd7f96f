"""Simulate the two cameras: lens, sensor noise and tone curve applied to the same canvas."""

from __future__ import annotations

import cv2
import numpy as np

from yolofuse.synth import knobs
from yolofuse.synth.canvas import F32, GROUND, TEMP, U8, Canvas, clouds, f32
from yolofuse.synth.scene import Scene

_EXPOSURE = 1.35


def tone(light: F32) -> F32:
    """Return the display value 0..255 of linear light: a film shoulder, then the sRGB curve.

    Shapes:
        (..., 3) -> (..., 3)
    """
    exposed = 1.0 - np.exp(-_EXPOSURE * np.maximum(light, 0.0))
    curve = 1.055 * np.power(np.maximum(exposed, 0.0031308), 1 / 2.4) - 0.055
    return f32(255.0 * np.where(exposed < 0.0031308, 12.92 * exposed, curve))


def rgb_noise(light: F32, night: bool) -> F32:
    """Return the standard deviation of the RGB camera's noise at ``light``, linear.

    Shapes:
        (...) -> (...)
    """
    read = knobs.NIGHT_NOISE if night else knobs.DAY_NOISE
    shot = knobs.SHOT_NOISE * (2.0 if night else 1.0)
    return f32(np.sqrt(read * read + shot * np.clip(light, 0.0, 1.5)))


def grey(temp: F32) -> F32:
    """Return the display value 0..255 of a temperature: white-hot, with soft shoulders for sky and engines.

    Shapes:
        (...) -> (...)
    """
    level = 0.36 + knobs.IR_GREY_PER_KELVIN * temp
    return f32(255.0 * (0.5 + 0.5 * np.tanh(1.9 * (level - 0.5))))


def expose_rgb(canvas: Canvas, scene: Scene, light: F32, rng: np.random.Generator) -> U8:
    """Return the visible image.

    Shapes:
        light: (H, W, 3) supersampled, linear -> (H / 2, W / 2, 3) B G R
    """
    if scene.climate.wet > 0:
        light = _wet(canvas, scene, light, rng)
    light = _glow(scene, light)
    height, width = (side // knobs.SUPERSAMPLE for side in light.shape[:2])
    small = cv2.resize(light, (width, height), interpolation=cv2.INTER_AREA)
    v, u = np.mgrid[0:height, 0:width].astype(np.float32)
    off = ((u / width - 0.5) ** 2 + (v / height - 0.5) ** 2) * 2
    small = small * (1 - 0.42 * off)[..., None]
    sigma = rgb_noise(small, scene.climate.night)
    fine = rng.standard_normal((height, width, 3), np.float32)
    # a third of the noise is blotchy, as denoising and JPEG leave it
    blotch = cv2.GaussianBlur(rng.standard_normal((height, width, 3), np.float32), (0, 0), 1.3) * 4.0
    noisy = small + sigma * (0.8 * fine + 0.6 * blotch)
    return np.round(tone(noisy)[..., ::-1]).clip(0, 255).astype(np.uint8)


def expose_ir(canvas: Canvas, scene: Scene, rng: np.random.Generator) -> U8:
    """Return the thermal image, white-hot.

    Shapes:
        -> (H / 2, W / 2)
    """
    height, width = canvas.camera.height // knobs.SUPERSAMPLE, canvas.camera.width // knobs.SUPERSAMPLE
    temp = cv2.resize(canvas.surf[TEMP], (width, height), interpolation=cv2.INTER_AREA)
    temp = cv2.GaussianBlur(temp, (0, 0), knobs.IR_BLUR * width / 256)
    level = grey(temp) / 255.0
    level += knobs.IR_NOISE * rng.standard_normal((height, width), np.float32)
    level += knobs.IR_STRIPES * rng.standard_normal((1, width), np.float32)
    level += 0.5 * knobs.IR_STRIPES * rng.standard_normal((height, 1), np.float32)
    level += 0.02 * clouds(rng, height, width, width / 2.5, 1)
    # the ground radiates onto the lens from below
    level += 0.06 * (np.arange(height, dtype=np.float32)[:, None] / height - 0.5)
    return np.round(255 * level).clip(0, 255).astype(np.uint8)


def _glow(scene: Scene, light: F32) -> F32:
    """Return the lens bloom around what is brighter than white, and beams of street lamps in the air."""
    height, width = light.shape[:2]
    small = cv2.resize(light, (max(width // 4, 8), max(height // 4, 8)), interpolation=cv2.INTER_AREA)
    bright = np.clip(small - 0.9, 0.0, 8.0)
    reach = width / 4
    bloom = 0.30 * cv2.GaussianBlur(bright, (0, 0), reach / 110) + 0.22 * cv2.GaussianBlur(bright, (0, 0), reach / 34)
    if scene.climate.night:
        bloom += 0.30 * cv2.GaussianBlur(bright, (0, 0), reach / 14) + _beams(scene, small.shape[:2])
    return f32(light + cv2.resize(bloom, (width, height), interpolation=cv2.INTER_LINEAR))


def _beams(scene: Scene, size_hw: tuple[int, int]) -> F32:
    camera = scene.camera
    zoom = size_hw[1] / camera.width
    total = np.zeros((*size_hw, 3), np.float32)
    for lamp in scene.lights:
        if not lamp.street_lamp:
            continue
        x, y, z = lamp.at
        cone = camera.project([(x, y, z), (x - 2.6, 0.0, z), (x + 2.6, 0.0, z)]) * zoom
        mask = np.zeros(size_hw, np.uint8)
        cv2.fillPoly(mask, [np.round(cone * 8).astype(np.int32)], 255, cv2.LINE_AA, 3)
        soft = cv2.GaussianBlur(mask, (0, 0), max(zoom * camera.scale(z) * 0.35, 0.6)).astype(np.float32) / 255.0
        rows = np.arange(size_hw[0], dtype=np.float32)[:, None]
        fade = np.clip((cone[1, 1] - rows) / max(cone[1, 1] - cone[0, 1], 1.0), 0.0, 1.0) ** 1.5
        total += (soft * fade)[..., None] * (np.asarray(lamp.power, np.float32) * (0.035 / max(lamp.power)))
    return total


def _wet(canvas: Canvas, scene: Scene, light: F32, rng: np.random.Generator) -> F32:
    """Mirror the scene in the wet road: rows below the horizon show those above it, smeared down."""
    camera = scene.camera
    height, width = light.shape[:2]
    rows = np.arange(height, dtype=np.float32)
    mirror = np.clip(2 * camera.cy - rows, 0, height - 1).astype(np.int64)
    puddles = np.clip(clouds(rng, height, width, width / 9, 3) * 1.2 + 0.35, 0.12, 1.0)
    smear = cv2.GaussianBlur(np.minimum(light[mirror], 3.0), (0, 0), sigmaX=width / 300, sigmaY=width / 45)
    grazing = np.clip(1.0 - (rows - camera.cy) / (height - camera.cy), 0.0, 1.0) ** 1.5
    weight = (canvas.owner == GROUND) * puddles * (scene.climate.wet * (0.10 + 0.45 * grazing))[:, None]
    dark = light * (1 - 0.35 * scene.climate.wet * (canvas.owner == GROUND))[..., None]
    streaks = _streaks(scene, height, width) * (canvas.owner == GROUND)[..., None] * scene.climate.wet
    return f32(dark + weight[..., None] * smear + streaks * (0.4 + 0.6 * puddles)[..., None])


def _streaks(scene: Scene, height: int, width: int) -> F32:
    """Return the long reflections below lamps and headlights."""
    camera = scene.camera
    total = np.zeros((height // 4, width // 4, 3), np.float32)
    if not scene.climate.night:
        return np.zeros((height, width, 3), np.float32)
    v, u = np.mgrid[0 : height // 4, 0 : width // 4].astype(np.float32)
    for lamp in scene.lights:
        if not lamp.street_lamp and lamp.aim[2] > 0.3:
            continue
        x, y, z = lamp.at
        middle = camera.project([(x, -y * 0.8, z)])[0] / 4
        wide, long = camera.scale(z) / 4 * 0.20, camera.scale(z) / 4 * (2.4 if lamp.street_lamp else 0.9)
        spot = np.exp(-(((u - middle[0]) / wide) ** 2) - ((v - middle[1]) / long) ** 2)
        total += spot[..., None] * (np.asarray(lamp.power, np.float32) * (min(0.022 * z, 0.30) / max(lamp.power)))
    return f32(cv2.resize(total, (width, height), interpolation=cv2.INTER_LINEAR))
