"""Place the things of a scene by rejection sampling, with the light and the free space that each kind needs."""

from __future__ import annotations

import math

import numpy as np

from yolofuse.synth import knobs
from yolofuse.synth.canvas import Camera, Rgb, scaled
from yolofuse.synth.furniture import LAMP_HEIGHT, LAMP_REACH
from yolofuse.synth.scene import PERSON, VEHICLE, Climate, Light, Street, Thing, pick

Box = tuple[float, float, float, float]
_TRIES = 60
_ELSE = {"person_lit": "person_dark", "car_cold_lit": "car_warm_dark"}
"""Fallback kinds for a street without light for the first choice."""
_LAMP_COLOURS: tuple[Rgb, ...] = ((1.0, 0.66, 0.30), (1.0, 0.76, 0.46), (1.0, 0.90, 0.74))


class Placement:
    """Collects the things and lights of one scene; every draw comes from the scene's own generator."""

    def __init__(self, rng: np.random.Generator, camera: Camera, climate: Climate, street: Street) -> None:
        self.rng, self.camera, self.climate, self.street = rng, camera, climate, street
        self.things: list[Thing] = []
        self.lights: list[Light] = []
        self._boxes: list[Box] = []

    def lamps(self) -> None:
        """Place lamp posts down the street. At night the nearest and the far ones are on, most between are not."""
        rng, colour = self.rng, _LAMP_COLOURS[int(self.rng.integers(len(_LAMP_COLOURS)))]
        z, side = rng.uniform(6.5, 12.5), float(rng.choice([-1.0, 1.0]))
        while z < 46:
            x = self.street.kerb(side) + 0.5 * side
            nearest = self.things == []
            chance = knobs.FIRST_LAMP_ON if nearest else knobs.LAMPS_ON if z < 32 else 1.0
            lit = self.climate.night and bool(rng.random() < chance)
            self._add(Thing("lamp", x, z, self._seed(), lit=lit, heading=-side))
            if lit:
                head, power = (x - side * LAMP_REACH, LAMP_HEIGHT, z), scaled(colour, rng.uniform(42.0, 56.0))
                self.lights.append(Light(head, (0.0, -1.0, 0.0), power, *knobs.LAMP_CONE))
            z, side = z + rng.uniform(8.5, 12.0), -side

    def objects(self) -> None:
        """Place the labelled people and vehicles. A kind without free space is left out."""
        low, high = knobs.NUM_OBJECTS
        count = int(self.rng.integers(low, high + 1))
        kinds = [pick(self.rng, knobs.KINDS[self.climate.mood]) for _ in range(count)]
        # headlights must shine before a place can be called dark
        for variant in sorted(kinds, key=lambda kind: kind != "car_running"):
            place = self._person if variant.startswith("person") else self._car
            if not place(variant) and variant in _ELSE:
                place(_ELSE[variant])

    def decoys(self) -> None:
        """Place decoys for one camera: posters and dummies for RGB, warm boxes, pipes and dogs for IR."""
        low, high = knobs.NUM_DECOYS
        for _ in range(int(self.rng.integers(low, high + 1))):
            kind = pick(self.rng, knobs.DECOYS[self.climate.mood])
            size = {"poster": (1.5, 2.3), "hot_box": (1.7, 1.3), "dog": (0.9, 0.7)}.get(kind, (0.8, 1.8))
            for _ in range(_TRIES):
                side = float(self.rng.choice([-1.0, 1.0]))
                z = self.rng.uniform(7.5, 16.0)
                x = self._pavement_x(side, inner=0.35 if kind in ("mannequin", "dog") else 0.62)
                box = self._box(x, z, *size)
                if not self._free(box, 0.3):
                    continue
                if self.climate.night and kind != "poster" and self.light_at(x, z) < knobs.LIT_ABOVE:
                    continue
                self._add(Thing(kind, x, z, self._seed(), variant=kind), box)
                break

    def clutter(self) -> None:
        """Place trees, bins, signs, bollards and signals along the kerbs."""
        rng = self.rng
        for side in (-1.0, 1.0):
            trees = rng.random() < 0.6
            z = rng.uniform(9.0, 16.0)
            while z < 36:
                if trees:
                    self._place_clutter("tree", side, z, 0.2, (0.5, 3.0))
                z += rng.uniform(6.0, 11.0)
        for kind, size in (("sign", (0.6, 2.3)), ("bin", (0.5, 1.0)), ("bollards", (0.3, 0.9)), ("signal", (0.4, 3.0))):
            if rng.random() < 0.55:
                self._place_clutter(kind, float(rng.choice([-1.0, 1.0])), rng.uniform(8.0, 22.0), 0.16, size)

    def light_at(self, x: float, z: float, height: float = 0.9) -> float:
        """Return the lamps' light at a spot, for a surface of any orientation."""
        total = 0.0
        for light in self.lights:
            dx, dy, dz = (a - b for a, b in zip((x, height, z), light.at, strict=True))
            d2 = dx * dx + dy * dy + dz * dz
            cos = (dx * light.aim[0] + dy * light.aim[1] + dz * light.aim[2]) / math.sqrt(d2)
            cone = min(max((cos - light.cos_edge) / (light.cos_full - light.cos_edge), 0.0), 1.0)
            total += light.power[1] * cone * cone / d2
        return total

    def _lit_enough(self, variant: str, x: float, z: float, reach: float) -> bool:
        if not self.climate.night or variant == "car_running":
            return True
        around = [(x + dx, z + dz, h) for dx in (-reach, reach) for dz in (-reach, reach) for h in (0.2, 1.6)]
        if variant.endswith("lit"):
            return sum(self.light_at(*spot) for spot in around) / len(around) > knobs.LIT_ABOVE
        # nor may the ground seen behind it shine, or it would stand out as a silhouette
        for up in (0.35, 0.7, 1.05, 1.4):
            far = self.camera.eye / (self.camera.eye - up)
            around += [((x + dx) * far, z * far, 0.0) for dx in (-reach, reach)]
        return all(self.light_at(*spot) < knobs.DARK_BELOW for spot in around)

    def _person(self, variant: str) -> bool:
        rng = self.rng
        for _ in range(2 * _TRIES):
            z = 1.0 / rng.uniform(1.0 / knobs.PERSON_RANGE[1], 1.0 / knobs.PERSON_RANGE[0])
            if rng.random() < 0.5:
                x = self._pavement_x(float(rng.choice([-1.0, 1.0])), inner=float(rng.uniform(0.15, 0.85)))
            else:
                x = rng.uniform(self.street.left_kerb, self.street.right_kerb)
            box = self._box(x, z, 0.75, 1.8)
            if self._free(box, 0.05) and self._lit_enough(variant, x, z, 0.4):
                cold = variant == "person_crossover"
                self._add(Thing("person", x, z, self._seed(), PERSON, variant, camouflaged=cold), box)
                return True
        return False

    def _car(self, variant: str) -> bool:
        rng, street = self.rng, self.street
        for _ in range(2 * _TRIES):
            z = 1.0 / rng.uniform(1.0 / knobs.CAR_RANGE[1], 1.0 / knobs.CAR_RANGE[0])
            side = float(rng.choice([-1.0, 1.0]))
            crossing = rng.random() < 0.45
            if crossing:
                x, heading = rng.uniform(street.left_kerb + 1.5, street.right_kerb - 1.5), side * math.pi / 2
                heading += rng.uniform(-0.25, 0.25)
            else:
                parked = variant != "car_running"
                x = street.kerb(side) - side * (1.15 if parked else rng.uniform(1.6, 2.2))
                heading = (0.0 if side > 0 else math.pi) + rng.uniform(-0.08, 0.08)
            half = 2.2 * abs(math.sin(heading)) + 0.9 * abs(math.cos(heading))
            near = z - 0.9 - 1.2 * abs(math.cos(heading))
            box = self._box(x, near, 2 * half, 1.6)
            if self._free(box, 0.12) and self._lit_enough(variant, x, z, 0.8 * half):
                running = variant == "car_running"
                self._add(Thing("car", x, z, self._seed(), VEHICLE, variant, heading, "cold" in variant, running), box)
                if running and self.climate.night:
                    self._headlights(x, z, heading)
                return True
        return False

    def _headlights(self, x: float, z: float, heading: float) -> None:
        ahead = (math.sin(heading), math.cos(heading))
        tilt = 0.16
        at = (x + 2.3 * ahead[0], 0.75, z + 2.3 * ahead[1])
        aim = (ahead[0] * math.cos(tilt), -math.sin(tilt), ahead[1] * math.cos(tilt))
        self.lights.append(Light(at, aim, (7.0, 6.8, 6.2), 0.86, 0.985, street_lamp=False))

    def _place_clutter(self, kind: str, side: float, z: float, inner: float, size: tuple[float, float]) -> None:
        x = self._pavement_x(side, inner)
        box = self._box(x, z, *size)
        if z > 17 or self._free(box, 0.45):
            self._add(Thing(kind, x, z, self._seed()), box)

    def _pavement_x(self, side: float, inner: float) -> float:
        """X on a pavement, ``inner`` from 0 at the kerb to 1 at the wall."""
        return self.street.kerb(side) + side * inner * self.street.pavement

    def _box(self, x: float, z: float, width: float, height: float) -> Box:
        (x0, y0), (x1, y1) = self.camera.project([(x - width / 2, height, z), (x + width / 2, 0.0, z)]).tolist()
        return x0, y0, x1, y1

    def _free(self, box: Box, outside: float) -> bool:
        """Whether a box covers little of the others, and at most the share ``outside`` of it leaves the image."""
        width, height = self.camera.width, self.camera.height
        area = (box[2] - box[0]) * (box[3] - box[1])
        if _overlap(box, (0.0, 0.0, width, height)) < (1 - outside) * area:
            return False
        return all(
            _overlap(box, other) <= knobs.MAX_OVERLAP * min(area, (other[2] - other[0]) * (other[3] - other[1]))
            for other in self._boxes
        )

    def _seed(self) -> int:
        return int(self.rng.integers(0, 2**31))

    def _add(self, thing: Thing, box: Box | None = None) -> None:
        self.things.append(thing)
        if box is not None:
            self._boxes.append(box)


def _overlap(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0)
