"""Compute the visible light of each pixel: sky, sun and lamps on the surfaces, with cast shadows and haze."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import cv2
import numpy as np

from yolofuse.synth import knobs
from yolofuse.synth.canvas import ALBEDO, EMIT, F32, FAR, NORMAL, TEMP, Camera, Canvas, Cutout, Rgb, Vec, f32
from yolofuse.synth.car import footprint
from yolofuse.synth.scene import Light, Scene, Thing

SUN = -1
_WALL_HEIGHT = 8.0


Shadows = defaultdict[int, F32]
"""Shadow on the ground of each light, (H, W), 0 lit to 1 dark; key -1 is the sun, else the index of the lamp."""


def cast_shadows(scene: Scene, drawn: Sequence[tuple[Thing, Cutout]]) -> Shadows:
    """Return the shadows that things cast on the ground, away from the sun or from each lamp near them."""
    camera = scene.camera
    shadows: Shadows = defaultdict(lambda: np.zeros((camera.height, camera.width), np.float32))
    for thing, cutout in drawn:
        if thing.kind == "lamp":
            continue
        if scene.climate.sun_dir is not None:
            _cast(shadows[SUN], camera, thing, cutout, scene.climate.sun_dir)
        for key, light in enumerate(scene.lights):
            near = math.hypot(light.at[0] - thing.x, light.at[2] - thing.z)
            if light.street_lamp and 0.5 < near < 5.0:
                _cast(shadows[key], camera, thing, cutout, light)
    for shadow in shadows.values():
        cv2.GaussianBlur(shadow, (0, 0), camera.width / 420, dst=shadow)
    return shadows


def _cast(out: F32, camera: Camera, thing: Thing, cutout: Cutout, light: Vec | Light) -> None:
    if thing.kind == "car":
        solid = [(x, y, z) for grow, y in ((0.05, 0.3), (0.0, 0.9), (-0.35, 1.4)) for x, z in footprint(thing, grow)]
        ground = _on_ground(np.asarray(solid, np.float32), light)
        if ground is not None:
            pixels = cv2.convexHull(camera.project(ground))
            mask = np.zeros(out.shape, np.uint8)
            cv2.fillConvexPoly(mask, np.round(pixels * 8).astype(np.int32), 255, cv2.LINE_AA, 3)
            np.maximum(out, mask.astype(np.float32) / 255.0, out=out)
        return
    x, y, w, h = cv2.boundingRect(cutout.mask)
    left, top = cutout.cols.start + x, cutout.rows.start + y
    corners = np.array([(left, top), (left + w, top), (left + w, top + h), (left, top + h)], np.float32)
    per_px = thing.z / camera.focal
    up = np.maximum(camera.eye - (corners[:, 1] - camera.cy) * per_px, 0.0)
    upright = np.stack([(corners[:, 0] - camera.cx) * per_px, up, np.full(4, thing.z, np.float32)], 1)
    ground = _on_ground(upright.astype(np.float32), light)
    if ground is None:
        return
    target = camera.project(ground)
    x0, y0 = (max(int(v) - 1, 0) for v in target.min(0))
    x1 = min(int(target[:, 0].max()) + 2, camera.width)
    y1 = min(int(target[:, 1].max()) + 2, camera.height)
    if x0 >= x1 or y0 >= y1:
        return
    matrix = cv2.getPerspectiveTransform(corners - corners[0], (target - (x0, y0)).astype(np.float32))
    warped = cv2.warpPerspective(cutout.mask[y : y + h, x : x + w], matrix, (x1 - x0, y1 - y0))
    roi = out[y0:y1, x0:x1]
    np.maximum(roi, warped.astype(np.float32) / 255.0, out=roi)


def _on_ground(points: F32, light: Vec | Light) -> F32 | None:
    """Project points away from the sun or a lamp onto the ground; None if that is behind the camera or far away.

    Shapes:
        points: (N, 3) -> (N, 3)
    """
    ground = points.copy()
    if not isinstance(light, Light):
        ground[:, 0] -= points[:, 1] * light[0] / light[1]
        ground[:, 2] -= points[:, 1] * light[2] / light[1]
    else:
        if float(points[:, 1].max()) > 0.8 * light.at[1]:
            return None
        reach = (light.at[1] / (light.at[1] - points[:, 1]))[:, None]
        at = np.asarray(light.at, np.float32)
        ground = (at + (points - at) * reach).astype(np.float32)
    ground[:, 1] = 0.0
    return None if float(ground[:, 2].min()) < 1.5 else ground


def shade(scene: Scene, surf: F32, depth: F32, on_ground: F32, shadows: Shadows, rows: slice, cols: slice) -> F32:
    """Return the linear RGB light of a region of the canvas.

    Shapes:
        surf: (10, h, w); depth, on_ground: (h, w) -> (h, w, 3)
    """
    climate = scene.climate
    x, y = _world_xy(scene.camera, depth, rows, cols)
    nx, ny, nz = surf[NORMAL]
    shorten = 1.0 / np.sqrt(nx * nx + ny * ny + nz * nz + np.float32(1e-6))
    nx, ny, nz = nx * shorten, ny * shorten, nz * shorten
    up = np.float32(0.62) + np.float32(0.38) * ny
    light = f32(_colour(climate.sky_light) * up + _colour(climate.bounce) * (1 - up))
    if climate.night:
        # the glow of the town reaches the upper floors, not the street
        light += _colour((0.0058, 0.0052, 0.0054)) * np.clip(y - np.float32(2.6), 0.0, 7.0)
    if climate.sun_dir is not None:
        sx, sy, sz = climate.sun_dir
        facing = np.maximum(nx * sx + ny * sy + nz * sz, 0.0)
        free = _sunlit(scene, x, y) * (1 - on_ground * shadows[SUN][rows, cols])
        light += _colour(climate.sun_light) * (facing * free)
    for key, lamp in enumerate(scene.lights):
        strength = _lamp_light(lamp, x, y, depth, (f32(nx), f32(ny), f32(nz)))
        if key in shadows:
            strength *= 1 - np.float32(0.85) * on_ground * shadows[key][rows, cols]
        light += _colour(lamp.power) * strength
    radiance = f32(surf[ALBEDO] * light + surf[EMIT])
    veil = np.where(depth < FAR, 1 - np.exp(-np.float32(climate.haze_per_m) * depth), np.float32(0.0))
    radiance += veil * (_colour(climate.haze) - radiance)
    return np.ascontiguousarray(radiance.transpose(1, 2, 0))


def _world_xy(camera: Camera, depth: F32, rows: slice, cols: slice) -> tuple[F32, F32]:
    """Return the metres right of the camera and above the ground of each pixel of a region."""
    v = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + np.float32(0.5)
    u = np.arange(cols.start, cols.stop, dtype=np.float32)[None, :] + np.float32(0.5)
    per_px = depth / camera.focal
    return f32((u - camera.cx) * per_px), f32(camera.eye - (v - camera.cy) * per_px)


def _colour(rgb: Rgb) -> F32:
    return np.array(rgb, np.float32).reshape(3, 1, 1)


def warm_by_sun(canvas: Canvas, scene: Scene) -> None:
    """Heat the sunlit surfaces: road and walls out of the shadow of the houses."""
    if scene.climate.sun_dir is None:
        return
    camera, (sx, sy, sz) = canvas.camera, scene.climate.sun_dir
    x, y = _world_xy(camera, canvas.depth, slice(0, camera.height), slice(0, camera.width))
    nx, ny, nz = canvas.surf[NORMAL]
    facing = np.clip(nx * sx + ny * sy + nz * sz, 0.0, 1.0)
    lit = facing * _sunlit(scene, x, y)
    canvas.surf[TEMP] += scene.climate.sunlit_gain * np.where(canvas.depth < FAR, lit, 0.0)


def _sunlit(scene: Scene, x: F32, y: F32) -> F32:
    """Return 0 in the shadow of the row of houses on the sun's side, 1 in the sun, with a soft edge."""
    assert scene.climate.sun_dir is not None
    sx, sy, _ = scene.climate.sun_dir
    wall = scene.street.wall(math.copysign(1.0, sx))
    edge = _WALL_HEIGHT - np.abs(wall - x) * (sy / abs(sx))
    return f32(np.clip((y - edge) * 2.5 + 0.5, 0.0, 1.0))


def _lamp_light(lamp: Light, x: F32, y: F32, z: F32, normal: tuple[F32, F32, F32]) -> F32:
    dx, dy, dz = lamp.at[0] - x, lamp.at[1] - y, lamp.at[2] - z
    d2 = dx * dx + dy * dy + dz * dz
    near = 1.0 / np.sqrt(d2 + 0.05)
    along = -(dx * lamp.aim[0] + dy * lamp.aim[1] + dz * lamp.aim[2]) * near
    cone = np.clip((along - lamp.cos_edge) / (lamp.cos_full - lamp.cos_edge), 0.0, 1.0)
    # wrapped, as for a lamp that is not a point and a street that throws light back
    facing = np.maximum((dx * normal[0] + dy * normal[1] + dz * normal[2]) * near * 0.6 + 0.4, 0.0)
    return f32(facing * cone * cone * near * near)


def equalise_heat(canvas: Canvas, cutout: Cutout, owner: int, street_temp: F32) -> None:
    """Give a thing the temperature of the empty street behind it, leaving little of its own pattern.

    Shapes:
        street_temp: (H, W)
    """
    region = (cutout.rows, cutout.cols)
    mine = canvas.owner[region] == owner
    temp = canvas.surf[(TEMP, *region)]
    behind = cutout.surf_behind[TEMP]
    soft = cv2.GaussianBlur(street_temp[region], (0, 0), max(canvas.camera.width / 130, 1.0))
    rough = (1 - knobs.CAMOUFLAGE) * soft + knobs.CAMOUFLAGE * (temp + soft)
    canvas.surf[(TEMP, *region)] = np.where(mine, rough, np.where(cutout.mask > 0, behind, temp))
