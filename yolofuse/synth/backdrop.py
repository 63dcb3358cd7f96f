"""Draw the backdrop: sky, skyline, road, pavements and two rows of houses."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np

from yolofuse.synth.canvas import ALBEDO, EMIT, F32, FAR, GROUND, NORMAL, TEMP, Canvas, Paint, Rgb, clouds, f32, scaled
from yolofuse.synth.scene import Scene

_FACADES: tuple[Rgb, ...] = (
    (0.36, 0.17, 0.12),
    (0.45, 0.38, 0.28),
    (0.52, 0.47, 0.40),
    (0.28, 0.29, 0.31),
    (0.44, 0.28, 0.18),
    (0.30, 0.36, 0.38),
    (0.50, 0.33, 0.24),
)
_WARM_WINDOWS: tuple[Rgb, ...] = ((1.0, 0.62, 0.25), (1.0, 0.74, 0.42), (0.75, 0.82, 0.95), (1.0, 0.52, 0.18))
_FAR_END = 62.0
_KERB_HEIGHT = 0.12
_WALL_MARK = 1.0
"""Placeholder depth of wall pixels until all of them are known."""


def draw_backdrop(canvas: Canvas, scene: Scene) -> None:
    """Paint everything static that is never labelled, far to near."""
    rng = np.random.default_rng(scene.seed)
    _sky(canvas, scene, rng)
    _skyline(canvas, scene, rng)
    _ground(canvas, scene, rng)
    for side in (-1.0, 1.0):
        _houses(canvas, scene, rng, side)
    _texture(canvas, scene, rng)


def _sky(canvas: Canvas, scene: Scene, rng: np.random.Generator) -> None:
    camera, climate = canvas.camera, scene.climate
    rows = int(camera.cy) + 2
    up = np.linspace(1.0, 0.0, rows, dtype=np.float32)[:, None]
    veil = np.clip(clouds(rng, rows, camera.width, camera.width / 5, 4) * 0.8 + 0.1, 0, 1) * (0.35 + 0.65 * up)
    zenith, horizon, cloud = {
        "night": ((0.004, 0.009, 0.026), (0.034, 0.026, 0.028), (0.028, 0.024, 0.030)),
        "sun": ((0.16, 0.34, 0.72), (0.62, 0.74, 0.88), (1.05, 1.02, 0.98)),
        "overcast": ((0.50, 0.55, 0.62), (0.80, 0.83, 0.86), (0.92, 0.94, 0.97)),
    }[climate.mood]
    fade = (up**0.7)[..., None]
    sky = np.asarray(zenith, np.float32) * fade + np.asarray(horizon, np.float32) * (1 - fade)
    sky = sky + veil[..., None] * (np.asarray(cloud, np.float32) - sky) * (0.5 if climate.mood == "overcast" else 0.85)
    if climate.night:
        count = int(rng.integers(30, 70))
        xs, ys = rng.integers(0, camera.width, count), rng.integers(0, max(int(rows * 0.8), 1), count)
        sky[ys, xs] += rng.uniform(0.03, 0.3, (count, 1)).astype(np.float32) * (1 - veil[ys, xs, None])
    canvas.surf[EMIT, :rows] = sky.transpose(2, 0, 1)
    canvas.surf[TEMP, :rows] = climate.sky_temp * (0.45 + 0.55 * up) * (1 - 0.45 * veil)


def _skyline(canvas: Canvas, scene: Scene, rng: np.random.Generator) -> None:
    """Paint blocks across the far end of the street, so that the vanishing point is not a hole."""
    night, haze_wall = scene.climate.night, Paint((0.14, 0.14, 0.14), scene.climate.wall_temp)
    canvas.face([(-90, -2, 95), (90, -2, 95), (90, 5, 95), (-90, 5, 95)], haze_wall)
    x = -60.0
    while x < 60:
        width, height, z = rng.uniform(7, 16), rng.uniform(7, 19), rng.uniform(70, 90)
        shade = rng.uniform(0.10, 0.22)
        wall = Paint((shade, shade * 0.97, shade * 0.95), scene.climate.wall_temp + rng.uniform(-1, 1))
        canvas.face([(x, -1, z), (x + width, -1, z), (x + width, height, z), (x, height, z)], wall)
        for _ in range(int(rng.integers(3, 12)) if night else 0):
            wx, wy = x + rng.uniform(0.8, width - 1.6), rng.uniform(2, height - 1)
            glow = _glow(rng, 0.25)
            canvas.face([(wx, wy, z), (wx + 0.9, wy, z), (wx + 0.9, wy + 1.1, z), (wx, wy + 1.1, z)], glow)
        x += width


def _ground(canvas: Canvas, scene: Scene, rng: np.random.Generator) -> None:
    camera, climate, street = canvas.camera, scene.climate, scene.street
    first = int(camera.cy) + 1
    rows = np.arange(first, camera.height, dtype=np.float32) + 0.5
    depth = np.minimum(camera.focal * camera.eye / (rows - camera.cy), FAR)[:, None]
    on_ground = depth < canvas.depth[first:]
    tone = rng.uniform(0.085, 0.12)
    road = Paint((tone, tone, tone * 1.03), climate.road_temp, (0.0, 1.0, 0.0))
    np.copyto(canvas.surf[:, first:], road.vector(), where=on_ground)
    canvas.owner[first:][on_ground] = GROUND
    canvas.depth[first:] = np.where(on_ground, depth, canvas.depth[first:])
    _markings(canvas, scene, rng)
    slab = rng.uniform(0.17, 0.24)
    for side in (-1.0, 1.0):
        kerb, wall = street.kerb(side), street.wall(side)
        pave = Paint((slab, slab * 0.98, slab * 0.94), climate.road_temp - 1.2, (0.0, 1.0, 0.0))
        canvas.stain([(kerb, 1.0), (kerb, _FAR_END), (wall, _FAR_END), (wall, 1.0)], pave)
        joint = Paint((slab * 0.78, slab * 0.77, slab * 0.75), climate.road_temp - 0.6, (0.0, 1.0, 0.0))
        project = canvas.camera.project
        cuts = [
            project([(kerb, 0, z), (kerb, 0, z + 0.05), (wall, 0, z + 0.05), (wall, 0, z)])
            for z in np.arange(5.0, 26.0, 1.2)
        ]
        canvas.fill_all(cuts, joint)
        middle = kerb + side * street.pavement / 2
        canvas.stain([(middle, 1.0), (middle, 40.0), (middle + 0.04, 40.0), (middle + 0.04, 1.0)], joint)
        edge = Paint((0.36, 0.35, 0.33), climate.road_temp + 0.6, (0.0, 1.0, 0.0))
        canvas.stain([(kerb, 1.0), (kerb, _FAR_END), (kerb + side * 0.16, _FAR_END), (kerb + side * 0.16, 1.0)], edge)
        gutter = Paint((tone * 0.6,) * 3, climate.road_temp - 0.3, (-side, 0.4, 0.0))
        inner = kerb - side * _KERB_HEIGHT
        canvas.stain([(inner, 1.0), (inner, _FAR_END), (kerb, _FAR_END), (kerb, 1.0)], gutter)


def _markings(canvas: Canvas, scene: Scene, rng: np.random.Generator) -> None:
    street, temp = scene.street, scene.climate.road_temp
    middle = (street.left_kerb + street.right_kerb) / 2
    wear = rng.uniform(0.42, 0.62)
    white = Paint((wear, wear, wear * 0.96), temp - 0.9, (0.0, 1.0, 0.0))
    for z in np.arange(rng.uniform(1.0, 4.0), 55.0, 5.5):
        canvas.stain(
            [(middle - 0.07, z), (middle + 0.07, z), (middle + 0.07, z + 2.6), (middle - 0.07, z + 2.6)], white
        )
    for x in (street.left_kerb + 2.15, street.right_kerb - 2.15):
        canvas.stain([(x - 0.045, 1.0), (x + 0.045, 1.0), (x + 0.045, _FAR_END), (x - 0.045, _FAR_END)], white)
    if rng.random() < 0.5:
        z0 = rng.uniform(9.5, 15.0)
        for x in np.arange(street.left_kerb + 0.4, street.right_kerb - 0.5, 1.0):
            canvas.stain([(x, z0), (x + 0.52, z0), (x + 0.52, z0 + 2.6), (x, z0 + 2.6)], white)
    for _ in range(int(rng.integers(0, 3))):
        x, z = rng.uniform(street.left_kerb + 0.6, street.right_kerb - 0.6), rng.uniform(6.0, 18.0)
        ring = [(x + 0.33 * np.cos(a), z + 0.33 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 16, endpoint=False)]
        canvas.stain(ring, Paint((0.045, 0.045, 0.05), temp + rng.uniform(1.0, 5.0), (0.0, 1.0, 0.0)))


def _houses(canvas: Canvas, scene: Scene, rng: np.random.Generator, side: float) -> None:
    x = scene.street.wall(side)
    cuts = [2.0]
    while cuts[-1] < _FAR_END:
        cuts.append(cuts[-1] + rng.uniform(8.0, 15.0))
    for z0, z1 in reversed(list(pairwise(cuts))):
        if canvas.camera.half_view(z1) * 1.3 < abs(x):
            continue
        _house(canvas, scene, rng, (x, z0, z1, side))


def _house(canvas: Canvas, scene: Scene, rng: np.random.Generator, place: tuple[float, float, float, float]) -> None:
    x, z0, z1, side = place
    floors = int(rng.integers(3, 6))
    storey, base = rng.uniform(2.9, 3.3), rng.uniform(3.4, 4.0)
    top = base + floors * storey
    colour = _FACADES[int(rng.integers(len(_FACADES)))]
    warmth = scene.climate.wall_temp + rng.uniform(-1.6, 2.2)
    facing = (-side, 0.0, 0.0)

    def quad(za: float, zb: float, ya: float, yb: float) -> F32:
        return canvas.camera.project([(x, ya, za), (x, ya, zb), (x, yb, zb), (x, yb, za)])

    def panel(za: float, zb: float, ya: float, yb: float, paint: Paint) -> None:
        canvas.fill(quad(za, zb, ya, yb), paint, _WALL_MARK)

    panel(z0, z1, 0.0, top, Paint(colour, warmth, facing))
    dark = Paint(scaled(colour, 0.55), warmth + 0.5, facing)
    pale = scaled(colour, 0.6)
    light = Paint((pale[0] + 0.22, pale[1] + 0.22, pale[2] + 0.21), warmth + 0.3, facing)
    panel(z0, z1, 0.0, 0.5, dark)
    panel(z0, z1, base - 0.28, base, light)
    panel(z0, z1, top - 0.45, top, light)
    panel(z0, z0 + 0.12, 0.0, top, dark)
    bays = max(2, round((z1 - z0) / 2.6))
    frames: list[F32] = []
    panes: list[F32] = []
    bars: list[F32] = []
    glowing: list[tuple[F32, Paint]] = []
    for bay in range(bays):
        middle = z0 + (z1 - z0) * (bay + 0.5) / bays
        in_view = canvas.camera.half_view(middle + 1.5) * 1.3 > abs(x)
        _ground_floor(panel if in_view else _nothing, scene, rng, (middle, (z1 - z0) / bays, base), dark, warmth)
        for floor in range(floors):
            bottom = base + floor * storey + 0.85
            lit = scene.climate.night and rng.random() < 0.27
            glow = _glow(rng, 0.30) if lit else None
            if not in_view or canvas.camera.cy - (bottom - canvas.camera.eye) * canvas.camera.scale(middle + 1) < 0:
                continue
            pane = quad(middle - 0.58, middle + 0.58, bottom, bottom + 1.55)
            if glow:
                glowing.append((pane, glow))
            else:
                panes.append(pane)
            if middle < 40:
                frames.append(quad(middle - 0.72, middle + 0.72, bottom - 0.12, bottom + 1.67))
            if middle < 24:
                bars.append(quad(middle - 0.03, middle + 0.03, bottom, bottom + 1.55))
                bars.append(quad(middle - 0.85, middle + 0.85, bottom - 0.2, bottom - 0.08))
    canvas.fill_all(frames, light, _WALL_MARK)
    canvas.fill_all(panes, Paint((0.05, 0.06, 0.075), warmth - rng.uniform(1.0, 3.5), facing), _WALL_MARK)
    for pane, glow in glowing:
        canvas.fill(pane, glow, _WALL_MARK)
    canvas.fill_all(bars, light, _WALL_MARK)


def _nothing(*_: object) -> None:
    pass


def _ground_floor(
    panel: Callable[[float, float, float, float, Paint], None],
    scene: Scene,
    rng: np.random.Generator,
    bay: tuple[float, float, float],
    dark: Paint,
    warmth: float,
) -> None:
    middle, width, base = bay
    facing = dark.normal
    half = width * 0.38
    if rng.random() < 0.3:
        wood = float(rng.uniform(0.05, 0.16))
        panel(middle - 0.75, middle + 0.75, 0.0, 2.5, dark)
        panel(middle - 0.6, middle + 0.6, 0.0, 2.35, Paint((wood * 1.3, wood * 0.8, wood * 0.5), warmth + 0.8, facing))
        return
    lit = scene.climate.night and rng.random() < 0.22
    panel(middle - half - 0.1, middle + half + 0.1, 0.45, base - 0.7, dark)
    glass = _glow(rng, 0.34) if lit else Paint((0.045, 0.055, 0.065), warmth - rng.uniform(0.5, 2.0), facing)
    panel(middle - half, middle + half, 0.6, base - 0.85, glass)
    if rng.random() < 0.4:
        hue = rng.uniform(0.04, 0.42, 3)
        awning = Paint((float(hue[0]), float(hue[1]), float(hue[2])), warmth - 0.2, (facing[0], 0.8, 0.0))
        panel(middle - half - 0.15, middle + half + 0.15, base - 1.15, base - 0.55, awning)


def _glow(rng: np.random.Generator, strength: float) -> Paint:
    """Return the paint of a lit window, of random brightness and colour."""
    colour = _WARM_WINDOWS[int(rng.integers(len(_WARM_WINDOWS)))]
    level = strength * rng.uniform(0.4, 1.4)
    return Paint((0.05, 0.05, 0.05), rng.uniform(2.5, 4.5), (0, 0, -1), scaled(colour, level))


def _texture(canvas: Canvas, scene: Scene, rng: np.random.Generator) -> None:
    """Add the grain of asphalt and plaster, in world metres so that it shrinks with distance; set wall depths."""
    camera = canvas.camera
    v, u = np.mgrid[0 : camera.height, 0 : camera.width].astype(np.float32) + 0.5
    ground = canvas.owner == GROUND
    walls = ~ground & (np.abs(canvas.surf[NORMAL.start]) > 0.5) & (canvas.depth == _WALL_MARK)
    x_wall = np.where(u < camera.cx, scene.street.wall(-1.0), scene.street.wall(1.0)).astype(np.float32)
    canvas.depth[walls] = (x_wall * camera.focal / (u - camera.cx))[walls].clip(1.0, FAR)
    depth = canvas.depth
    height = camera.eye - (v - camera.cy) * depth / camera.focal
    along = np.where(walls, depth, (u - camera.cx) * depth / camera.focal)
    across = np.where(ground, depth, height)
    tile = clouds(rng, 512, 512, 24.0, 4)
    tile = 0.5 * (tile + tile[::-1, ::-1])
    solid = depth < 100
    for per_metre, strength, heat in ((18.0, 0.16, 0.7), (150.0, 0.10, 0.0)):
        # remap addresses at most 32767 pixels; farther off the grain has faded anyway
        u_map, v_map = (np.clip(m * per_metre, -3e4, 3e4) for m in (along, across))
        grain = cv2.remap(tile, u_map, v_map, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        grain = f32(grain * solid / (1 + depth * per_metre / 2500))
        canvas.surf[ALBEDO] *= f32(1 + strength * grain)
        if heat:
            canvas.surf[TEMP] += f32(heat * grain)
