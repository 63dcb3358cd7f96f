"""Render a scene as a labelled pair: draw the canvas, expose both cameras, label what at least one of them shows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from yolofuse.synth import furniture, knobs, people
from yolofuse.synth.backdrop import draw_backdrop
from yolofuse.synth.canvas import F32, GROUND, TEMP, U8, Canvas, Cutout, Upright, f32
from yolofuse.synth.car import footprint
from yolofuse.synth.light import Shadows, cast_shadows, equalise_heat, shade, warm_by_sun
from yolofuse.synth.scene import Scene, Thing, rng_of
from yolofuse.synth.scene_plan import plan
from yolofuse.synth.sensors import expose_ir, expose_rgb, grey, rgb_noise, tone
from yolofuse.synth.vehicles import draw_car

Draw = Callable[[Upright, Scene, Thing, np.random.Generator], None]

_DRAW: Mapping[str, Draw] = {
    "person": people.draw_person,
    "mannequin": people.draw_mannequin,
    "poster": people.draw_poster,
    "dog": people.draw_dog,
    "car": draw_car,
    "lamp": furniture.draw_lamp,
    "tree": furniture.draw_tree,
    "sign": furniture.draw_sign,
    "bin": furniture.draw_bin,
    "bollards": furniture.draw_bollards,
    "signal": furniture.draw_signal,
    "hot_box": furniture.draw_hot_box,
    "hot_pipe": furniture.draw_hot_pipe,
}
_REACH: Mapping[str, tuple[float, float]] = {
    "lamp": (2.2, 6.4),
    "tree": (2.6, 6.6),
    "car": (3.2, 2.6),
    "signal": (0.6, 3.4),
}
_ROUND = ("person", "mannequin", "hot_pipe")


@dataclass(frozen=True, slots=True)
class DrawnObject:
    """One drawn object and how well each camera shows it; ``labelled`` decides whether it gets a box.

    ``rgb`` and ``ir`` are root-mean-square contrasts against the same scene without it, over the camera's noise.
    """

    class_id: int  # 0 person, 1 vehicle
    variant: str  # the entry of ``knobs.KINDS`` it was drawn for
    box_xyxy: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # clipped to the image, hidden parts included
    share: float = 0.0  # fraction of it that is inside the image and not hidden, 0..1
    rgb: float = 0.0
    ir: float = 0.0

    @property
    def rgb_sees(self) -> bool:
        """Return whether the RGB camera shows it."""
        return self.rgb >= knobs.RGB_VISIBLE

    @property
    def ir_sees(self) -> bool:
        """Return whether the thermal camera shows it."""
        return self.ir >= knobs.IR_VISIBLE

    @property
    def labelled(self) -> bool:
        """Return whether it gets a box: enough of it is in view, and at least one camera shows it."""
        return self.share >= knobs.MIN_VISIBLE_SHARE and (self.rgb_sees or self.ir_sees)


@dataclass(frozen=True, slots=True)
class Pair:
    """A rendered pair.

    Shapes:
        bgr: (H, W, 3); ir: (H, W); owner: (H, W), the number in ``objects`` counted from 1, else 0 or less
    """

    bgr: U8
    ir: U8
    owner: npt.NDArray[np.int16]
    objects: tuple[DrawnObject, ...]
    scene: Scene


def render_pair(seed: int, split: str, index: int, size_hw: tuple[int, int]) -> Pair:
    """Render the pair of one index, again without the objects that no camera shows, so that none is unlabelled."""
    rng = rng_of(seed, split, index)
    scene = plan(rng, size_hw)
    noise_seed = int(rng.integers(0, 2**31))
    for _ in range(3):
        pair = _render(scene, noise_seed)
        if all(seen.labelled for seen in pair.objects):
            break
        keep = iter([seen.labelled for seen in pair.objects])
        things = tuple(thing for thing in scene.things if thing.class_id is None or next(keep))
        scene = replace(scene, things=things)
    return pair


def _render(scene: Scene, noise_seed: int) -> Pair:
    canvas = Canvas(scene.camera)
    draw_backdrop(canvas, scene)
    warm_by_sun(canvas, scene)
    street_temp = canvas.surf[TEMP].copy()
    numbers = itertools.count(1)
    placed: list[tuple[Thing, int, Cutout | None]] = []
    for thing in scene.things:
        owner = next(numbers) if thing.class_id is not None else 0
        placed.append((thing, owner, _place(canvas, scene, thing, owner, street_temp)))
    shadows = cast_shadows(scene, [(thing, cutout) for thing, _, cutout in placed if cutout is not None])
    everything = (slice(0, scene.camera.height), slice(0, scene.camera.width))
    light = shade(scene, canvas.surf, canvas.depth, f32(canvas.owner == GROUND), shadows, *everything)
    seen = tuple(
        _measure_visibility(canvas, scene, thing, cutout, owner, light, shadows)
        for thing, owner, cutout in placed
        if owner
    )
    rng = np.random.default_rng(noise_seed)
    bgr = expose_rgb(canvas, scene, light, rng)
    ir = expose_ir(canvas, scene, rng)
    step = knobs.SUPERSAMPLE
    return Pair(bgr, ir, canvas.owner[::step, ::step].copy(), seen, scene)


def _place(canvas: Canvas, scene: Scene, thing: Thing, owner: int, street_temp: F32) -> Cutout | None:
    if thing.kind == "car":
        furniture.contact_shadow(canvas, footprint(thing, 0.12), 0.85)
    else:
        wide = 0.22 if thing.kind in ("lamp", "sign", "signal") else 0.34
        ring = [(thing.x + wide * np.cos(a), thing.z + 0.8 * wide * np.sin(a)) for a in np.linspace(0, 6.1, 12)]
        furniture.contact_shadow(canvas, ring, 0.6)
    half, high = _REACH.get(thing.kind, (1.1, 2.7))
    scale = canvas.camera.scale(max(thing.z - (2.5 if thing.kind == "car" else 0.0), 1.5))
    (x, y), pad = canvas.camera.project([thing.foot])[0].tolist(), 4
    canvas.begin(owner, (x - half * scale - pad, y - high * scale - pad, x + half * scale + pad, y + 1.1 * scale + pad))
    _DRAW[thing.kind](Upright(canvas, thing.foot), scene, thing, np.random.default_rng(thing.seed))
    cutout = canvas.end()
    if cutout is None:
        return None
    if thing.kind in _ROUND:
        people.round_off(canvas, cutout)
    if thing.camouflaged:
        equalise_heat(canvas, cutout, owner, street_temp)
    return cutout


def _measure_visibility(
    canvas: Canvas, scene: Scene, thing: Thing, cutout: Cutout | None, owner: int, light: F32, shadows: Shadows
) -> DrawnObject:
    """Measure one object's contrast in both images against the scene without it, on the pixels where it is in front."""
    assert thing.class_id is not None
    unseen = DrawnObject(thing.class_id, thing.variant)
    if cutout is None:
        return unseen
    camera, region = canvas.camera, (cutout.rows, cutout.cols)
    mine = canvas.owner[region] == owner
    x0, y0, x1, y1 = cutout.box
    clipped = (max(x0, 0.0), max(y0, 0.0), min(x1, camera.width), min(y1, camera.height))
    inside = (clipped[2] - clipped[0]) * (clipped[3] - clipped[1]) / max((x1 - x0) * (y1 - y0), 1e-6)
    share = max(inside, 0.0) * float(mine.sum()) / max(float((cutout.mask > 127).sum()), 1.0)
    x0, y0, x1, y1 = (edge / knobs.SUPERSAMPLE for edge in clipped)
    if not mine.any():
        return replace(unseen, box_xyxy=(x0, y0, x1, y1))
    was_ground = (np.abs(cutout.surf_behind[7]) > 0.9).astype(np.float32)
    without = shade(scene, cutout.surf_behind, cutout.depth_behind, was_ground, shadows, *region)
    blur = knobs.SUPERSAMPLE * 0.8 * camera.width / (knobs.SUPERSAMPLE * 256)
    sigma = rgb_noise(without, scene.climate.night)
    noise = np.maximum(tone(without + sigma) - tone(without), 1.0)
    rgb = cv2.GaussianBlur((tone(light[region]) - tone(without)) / noise, (0, 0), blur)
    heat = grey(canvas.surf[(TEMP, *region)]) - grey(cutout.surf_behind[TEMP])
    ir = cv2.GaussianBlur(heat / (255 * knobs.IR_NOISE), (0, 0), blur)
    contrasts = (float(np.sqrt(np.mean(image[mine] ** 2))) for image in (rgb, ir))
    return DrawnObject(thing.class_id, thing.variant, (x0, y0, x1, y1), share, *contrasts)
