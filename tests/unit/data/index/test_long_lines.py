"""Label lines of more than five numbers: real polygons stay readable, key points are refused, by a whole split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.pairs import make_pairs, pairs_of
from yolofuse.data.index.long_lines import LongLines
from yolofuse.errors import DataError

_NUM_LINES = 40


def _boxes(rng: np.random.Generator, side: float) -> np.ndarray:
    """Return boxes in the image, (N, 4): centre and sides of up to ``side``."""
    sides = rng.uniform(0.02, side, (_NUM_LINES, 2))
    return np.concatenate((rng.uniform(sides / 2, 1 - sides / 2), sides), axis=1)


def _polygons(rng: np.random.Generator, corners: int, side: float) -> np.ndarray:
    """Return the corners of polygons around the centres of boxes, (N, 2 * corners)."""
    boxes = _boxes(rng, side)
    angles = rng.uniform(0, 7, (_NUM_LINES, 1)) + np.arange(corners) * 2 * np.pi / corners
    circle = np.stack((np.cos(angles), np.sin(angles)), axis=2) * rng.uniform(0.7, 1, (_NUM_LINES, corners, 1))
    return (boxes[:, None, :2] + boxes[:, None, 2:] / 2 * circle).reshape(_NUM_LINES, -1)


def _key_points(rng: np.random.Generator, number: int, side: float, *, flags: bool = False) -> np.ndarray:
    """Return boxes with points in them, of which some are unknown: (0, 0)."""
    boxes = _boxes(rng, side)
    points = boxes[:, None, :2] + boxes[:, None, 2:] * rng.uniform(-0.5, 0.5, (_NUM_LINES, number, 2))
    seen = rng.uniform(size=(_NUM_LINES, number, 1)) < 0.9
    parts = (points * seen, seen) if flags else (points * seen,)
    return np.concatenate((boxes, np.concatenate(parts, axis=2).reshape(_NUM_LINES, -1)), axis=1)


def _count(lines: np.ndarray) -> LongLines:
    found = LongLines()
    for line in lines.tolist():
        of_file = LongLines()
        of_file.add_line(line, "a.txt:1")
        found.add(of_file)
    return found


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("side", [0.1, 0.4, 0.9])
@pytest.mark.parametrize("corners", [3, 4, 5, 30])
def test_polygons__of_any_size_stay_readable(corners: int, side: float, seed: int) -> None:
    lines = _polygons(np.random.default_rng(seed), corners, side)
    assert _count(lines).problems("train") == []
    upper_left = lines * 0.66  # where the first corners are also boxes in the image
    assert _count(upper_left).problems("train") == []
    closed = np.concatenate((lines, lines[:, :2]), axis=1)
    assert _count(closed).problems("train") == []


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("side", [0.1, 0.4, 0.7])
@pytest.mark.parametrize(("number", "flags"), [(1, False), (2, False), (5, False), (17, False), (2, True), (4, True)])
def test_key_points__are_refused_as_a_split(number: int, flags: bool, side: float, seed: int) -> None:
    (problem,) = _count(_key_points(np.random.default_rng(seed), number, side, flags=flags)).problems("train")
    assert problem.text.startswith("train: 40 label lines have more than 5 numbers, and they look like a box with key")
    assert "such as a.txt:1; key points are not read: keep the first five numbers" in problem.text


def test_key_points__end_the_load_and_a_single_odd_polygon_does_not(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path, 2, 0)
    first, second = (tmp_path / "labels" / "train" / f"train_{number:03}.txt" for number in range(2))
    first.write_text("0 .7 .6 .1 .2 .71 .55\n0 .4 .6 .2 .1 .4 .6\n")
    with pytest.raises(DataError, match=r"2 label lines have more than 5 numbers.*train_000\.txt:1"):
        pairs_of(descriptor)
    second.write_text("0 .7 .6 .8 .6 .8 .7\n" + "0 .7 .6 .8 .6 .8 .75\n0 .1 .8 .2 .8 .1 .9\n")
    assert pairs_of(descriptor).num_boxes == 5


@pytest.mark.parametrize("seed", range(5))
def test_key_points__outside_their_box_are_refused_as_well(seed: int) -> None:
    boxes = _boxes(np.random.default_rng(seed), 0.4)
    lines = np.concatenate((boxes, np.tile([0.1, 0.1, 0.9, 0.9], (_NUM_LINES, 1))), axis=1)
    assert len(_count(lines).problems("train")) == 1


def test_corners_in_the_origin__are_read() -> None:
    found = LongLines()
    found.add_line([0, 0, 0.01, 0.01, 0, 0], "a.txt:1")
    assert (found.num_lines, found.num_polygons) == (1, 0)
