"""Pixels of decoded frames: range, depth, display matrix; time between frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="needs the extra video")

from tests.support.videos import encode
from yolofuse.types import PixelArray
from yolofuse.video.frames import FrameInterval, TimedFrame, ir_pixels, rgb_pixels
from yolofuse.video.reader import VideoReader

RAMP = np.tile(np.linspace(0, 255, 160).astype(np.uint8), (120, 1))
DEEP = np.tile(np.linspace(0, 65_535, 160).astype(np.uint16), (120, 1))


def _first_frame(path: Path) -> TimedFrame:
    return next(iter(VideoReader(path)))


def _decoded_ir(folder: Path, image: PixelArray, codec: str, pix_fmt: str) -> PixelArray:
    encode(folder / "v.mkv", [(0.0, image)], codec, pix_fmt)
    return ir_pixels(_first_frame(folder / "v.mkv"))


@pytest.mark.parametrize(
    ("codec", "pix_fmt"), [("libx264", "yuv420p"), ("libx264", "yuvj420p"), ("ffv1", "yuv420p10le")]
)
def test_ir_pixels__of_limited_and_full_range_are_full_range(codec: str, pix_fmt: str, tmp_path: Path) -> None:
    found = _decoded_ir(tmp_path, RAMP, codec, pix_fmt)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - RAMP).max() <= 3


def test_ir_pixels__of_grey_are_those_stored(tmp_path: Path) -> None:
    np.testing.assert_array_equal(_decoded_ir(tmp_path, RAMP, "ffv1", "gray"), RAMP)
    deep = _decoded_ir(tmp_path, DEEP, "ffv1", "gray16le")
    assert deep.dtype == np.uint16
    np.testing.assert_array_equal(deep, DEEP)


def test_rgb_pixels__are_red_green_blue(tmp_path: Path) -> None:
    encode(tmp_path / "v.mp4", [(0.0, np.full((32, 32, 3), (250, 10, 10), np.uint8))])
    assert np.abs(rgb_pixels(_first_frame(tmp_path / "v.mp4"))[16, 16].astype(int) - (250, 10, 10)).max() <= 8


@pytest.mark.parametrize(
    ("matrix", "corners"),  # which of the corners, red at the top left, green right of it, blue below, comes where
    [
        ((1, 0, 0, 1), ("rg", "b-")),
        ((0, 1, -1, 0), ("br", "-g")),  # a telephone held upright
        ((-1, 0, 0, -1), ("-b", "gr")),
        ((0, -1, 1, 0), ("g-", "rb")),
        ((-1, 0, 0, 1), ("gr", "-b")),  # mirrored, as by some front cameras
        ((1, 0, 0, -1), ("b-", "rg")),
        ((0, 1, 1, 0), ("rb", "g-")),
        ((0, -1, -1, 0), ("-g", "br")),
        ((2, 1, 1, 2), ("rg", "b-")),  # a skew view: as stored
    ],
)
def test_pixels__are_upright(matrix: tuple[int, ...], corners: tuple[str, str], tmp_path: Path) -> None:
    image = np.zeros((96, 128, 3), np.uint8)
    image[:32, :32, 0] = image[:32, -32:, 1] = image[-32:, :32, 2] = 255
    a, b, c, d = (value << 16 for value in matrix)
    encode(tmp_path / "v.mp4", [(0.0, image)], matrix=[a, b, 0, c, d, 0, 0, 0, 1 << 30])
    frame = _first_frame(tmp_path / "v.mp4")
    found = rgb_pixels(frame)
    assert found.shape[:2] == ((128, 96) if matrix[0] == 0 else (96, 128))
    assert ir_pixels(frame).shape == found.shape[:2]
    sampled = found[np.ix_([8, -8], [8, -8])]
    assert tuple("".join("rgb"[p.argmax()] if p.max() > 128 else "-" for p in row) for row in sampled) == corners


def test_frame_interval__ignores_gaps() -> None:
    interval = FrameInterval(1.0)
    for index in range(60):
        if index % 5:
            interval.update(index * 0.04)
    assert interval.seconds == pytest.approx(0.04)
