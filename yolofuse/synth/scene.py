"""Define a scene: a street, a climate, lamps and things on the ground. It depends on (seed, split, index) alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from yolofuse.synth import knobs
from yolofuse.synth.canvas import Camera, Rgb, Vec

PERSON, VEHICLE = 0, 1
NAMES = {PERSON: "person", VEHICLE: "vehicle"}


@dataclass(frozen=True, slots=True)
class Climate:
    """Light and heat shared by everything in a scene. Temperatures in kelvin above the air."""

    mood: str
    sky_light: Rgb
    haze: Rgb
    haze_per_m: float
    road_temp: float
    wall_temp: float
    sky_temp: float
    bounce: Rgb = (0.0, 0.0, 0.0)
    sun_dir: Vec | None = None
    sun_light: Rgb = (0.0, 0.0, 0.0)
    sunlit_gain: float = 0.0
    wet: float = 0.0

    @property
    def night(self) -> bool:
        """Return whether the lamps are on."""
        return self.mood == "night"


@dataclass(frozen=True, slots=True)
class Street:
    """The ground plan, in metres: road, pavements and the two building lines."""

    left_kerb: float
    right_kerb: float
    pavement: float

    def kerb(self, side: float) -> float:
        """Return X of the left kerb (``side`` -1) or the right one (1)."""
        return self.right_kerb if side > 0 else self.left_kerb

    def wall(self, side: float) -> float:
        """Return X of the building line on a side."""
        return self.kerb(side) + side * self.pavement


@dataclass(frozen=True, slots=True)
class Light:
    """A lamp whose light falls into a cone around ``aim``, from full at ``cos_full`` to none at ``cos_edge``."""

    at: Vec
    aim: Vec
    power: Rgb
    cos_edge: float
    cos_full: float
    street_lamp: bool = True


@dataclass(frozen=True, slots=True)
class Thing:
    """Anything on the ground."""

    kind: str  # name of the drawing routine, such as ``person`` or ``tree``
    x: float  # metres to the right of the camera
    z: float  # metres in front of it
    seed: int  # of its own, so that leaving one thing out changes no other
    class_id: int | None = None  # 0 person, 1 vehicle, None for clutter and decoys
    variant: str = ""  # the entry of ``knobs.KINDS`` or ``knobs.DECOYS`` that it was drawn for
    heading: float = 0.0  # radians from +Z towards +X
    camouflaged: bool = False  # it has the temperature of what is behind it
    running: bool = False  # a vehicle with engine and lights on
    lit: bool = False  # a lamp that is on

    @property
    def foot(self) -> Vec:
        """Where it stands."""
        return (self.x, 0.0, self.z)


@dataclass(frozen=True, slots=True)
class Scene:
    """One scene before it is drawn."""

    camera: Camera
    climate: Climate
    street: Street
    lights: tuple[Light, ...]
    things: tuple[Thing, ...]
    seed: int


def rng_of(seed: int, split: str, index: int) -> np.random.Generator:
    """Return the random generator of one scene, the same on every worker."""
    return np.random.default_rng(np.random.SeedSequence([seed, knobs.SPLIT_CODES[split], index]))


def pick(rng: np.random.Generator, table: Mapping[str, float]) -> str:
    """Draw one key of a table of weights."""
    weights = np.array(list(table.values()))
    return str(rng.choice(list(table), p=weights / weights.sum()))
