"""Draw a random scene: camera, climate, street, and then the things in it."""

from __future__ import annotations

import math

import numpy as np

from yolofuse.synth import knobs
from yolofuse.synth.canvas import Camera
from yolofuse.synth.placement import Placement
from yolofuse.synth.scene import Climate, Scene, Street, pick


def plan(rng: np.random.Generator, size_hw: tuple[int, int]) -> Scene:
    """Return a scene: where everything is, and how warm and lit it is."""
    camera = _camera(rng, size_hw)
    climate = _climate(rng, pick(rng, knobs.MOODS))
    offset, half_road = rng.uniform(-1.6, 1.6), rng.uniform(3.2, 4.4)
    street = Street(offset - half_road, offset + half_road, rng.uniform(2.2, 3.2))
    placement = Placement(rng, camera, climate, street)
    placement.lamps()
    placement.objects()
    placement.decoys()
    placement.clutter()
    things = tuple(sorted(placement.things, key=lambda thing: -thing.z))
    return Scene(camera, climate, street, tuple(placement.lights), things, int(rng.integers(0, 2**31)))


def _camera(rng: np.random.Generator, size_hw: tuple[int, int]) -> Camera:
    height, width = (side * knobs.SUPERSAMPLE for side in size_hw)
    focal = 0.95 * width
    return Camera(
        width=width,
        height=height,
        focal=focal,
        cx=width * rng.uniform(0.38, 0.62),
        cy=height * rng.uniform(0.33, 0.40),
        eye=rng.uniform(2.5, 3.1) * (height / width) / 0.75,
    )


def _climate(rng: np.random.Generator, mood: str) -> Climate:
    if mood == "night":
        red, green, blue = (v * rng.uniform(0.85, 1.15) for v in knobs.NIGHT_SKY_LIGHT)
        return Climate(
            mood,
            sky_light=(red, green, blue),
            haze=(0.004, 0.004, 0.005),
            haze_per_m=0.006,
            wet=float(rng.random() < 0.45) * rng.uniform(0.5, 1.0),
            road_temp=rng.uniform(1.0, 2.5),
            wall_temp=rng.uniform(1.5, 3.5),
            sky_temp=rng.uniform(-16, -11),
        )
    if mood == "overcast":
        level = rng.uniform(0.62, 0.85)
        return Climate(
            mood,
            sky_light=(level * 0.94, level, level * 1.07),
            bounce=(0.10, 0.10, 0.10),
            haze=(0.62, 0.66, 0.71),
            haze_per_m=rng.uniform(0.003, 0.007),
            wet=float(rng.random() < 0.35) * rng.uniform(0.3, 0.7),
            road_temp=rng.uniform(0.5, 1.5),
            wall_temp=rng.uniform(0.5, 1.5),
            sky_temp=rng.uniform(-9, -6),
        )
    side = float(rng.choice([-1.0, 1.0])) * rng.uniform(0.35, 0.85)
    rise, back = rng.uniform(0.55, 0.95), rng.uniform(-0.75, -0.15)
    norm = math.sqrt(side * side + rise * rise + back * back)
    warmth = rng.uniform(0.0, 1.0)
    return Climate(
        mood,
        sky_light=(0.30, 0.38, 0.52),
        bounce=(0.16, 0.14, 0.12),
        sun_dir=(side / norm, rise / norm, back / norm),
        sun_light=(1.55, 1.42 - 0.12 * warmth, 1.18 - 0.30 * warmth),
        haze=(0.60, 0.68, 0.80),
        haze_per_m=rng.uniform(0.003, 0.007),
        road_temp=rng.uniform(3.0, 5.0),
        wall_temp=rng.uniform(1.0, 3.0),
        sunlit_gain=rng.uniform(4.0, 6.0),
        sky_temp=rng.uniform(-20, -14),
    )
