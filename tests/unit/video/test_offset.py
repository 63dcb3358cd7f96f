"""The offset of two recordings, from what moves in both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="needs the extra video")

from tests.support.videos import encode, times
from yolofuse.errors import DataError
from yolofuse.types import ByteArray
from yolofuse.video import estimate_offset
from yolofuse.video.offset import Offset

_SECONDS = 20
_WALKERS = ((0.3, 0.11, 10, 60), (2.1, 0.23, 55, 150), (4.4, 0.17, 85, 200))  # phase, pace, row, visible brightness


def _scene(
    fps: float,
    clock_s: float,
    *,
    thermal: bool = False,
    walkers: tuple[tuple[float, ...], ...] = _WALKERS,
    seed: int = 0,
) -> Iterator[tuple[float, ByteArray]]:
    """Yield frames of people who walk to and fro, warm for a thermal camera, which sees them a little to the right."""
    rng = np.random.default_rng(seed)
    for time_s in times(fps, _SECONDS):
        image = np.full((120, 160), 60.0 if thermal else 100.0)
        for phase, pace, row, brightness in walkers:
            at_s = time_s + clock_s
            left = int(72 + 65 * np.sin(2 * np.pi * pace * at_s + phase) * np.cos(0.5 * at_s)) + 5 * thermal
            image[int(row) : int(row) + 25, left : left + 14] = 200 if thermal else brightness
        yield time_s, np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


def _estimate(folder: Path, ir: Iterator[tuple[float, ByteArray]]) -> Offset:
    encode(folder / "rgb.mp4", _scene(30, 0.0))
    encode(folder / "ir.mp4", ir)
    return estimate_offset(folder / "rgb.mp4", folder / "ir.mp4", max_offset_s=8)


@pytest.mark.parametrize(("fps", "clock_s"), [(25, 3.37), (9, -2.81)])
def test_estimate_offset__finds_it(fps: float, clock_s: float, tmp_path: Path) -> None:
    found = _estimate(tmp_path, _scene(fps, clock_s, thermal=True, seed=1))
    assert found.seconds == pytest.approx(clock_s, abs=0.5 / fps)
    assert found.correlation > 0.3
    assert found.confidence > 1.5


@pytest.mark.parametrize("walkers", [(), ((1.0, 0.19, 40, 0),)], ids=["nothing moves", "something else moves"])
def test_estimate_offset__is_undecided(walkers: tuple[tuple[float, ...], ...], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"rgb\.mp4 and .*ir\.mp4: the offset is undecided .* or set the offset"):
        _estimate(tmp_path, _scene(25, 0.0, thermal=True, walkers=walkers, seed=1))


def test_estimate_offset__of_a_short_recording(tmp_path: Path) -> None:
    short = (frame for frame in _scene(25, 0.0, thermal=True) if frame[0] < 3)
    with pytest.raises(DataError, match=r"ir\.mp4: shorter than 5 s"):
        _estimate(tmp_path, short)
