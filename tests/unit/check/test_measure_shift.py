"""Measuring the shift between RGB and IR."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.check_splits import random_scene
from yolofuse.check.measure_shift import estimate_shift, reach_of, shift_surface


@pytest.mark.parametrize("sign", [1, -1], ids=["same contrast", "inverted contrast"])
@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (7, -3), (-31, 18), (36, 0)])
def test_estimate_shift__is_exact_for_either_sign_of_contrast(dx: int, dy: int, sign: int) -> None:
    scene = random_scene(0)
    rgb = scene[40:220, 50:290]
    ir = scene[40 - dy : 220 - dy, 50 - dx : 290 - dx]
    shift = estimate_shift(rgb, np.asarray(ir if sign > 0 else 255 - ir, np.uint8), scale=2.0)
    assert abs(dx) <= reach_of(rgb.shape)
    assert shift.is_measured
    assert abs(shift.dx - 2 * dx) < 0.5
    assert abs(shift.dy - 2 * dy) < 0.5


@pytest.mark.parametrize("number", range(5))
def test_estimate_shift__of_two_scenes_is_not_measurable(number: int) -> None:
    assert not estimate_shift(random_scene(number), random_scene(number + 100)).is_measured


def test_estimate_shift__of_a_constant_frame_is_not_measurable() -> None:
    dead = np.full((260, 340), 90, np.uint8)
    assert not estimate_shift(random_scene(0), dead).is_measured
    assert not estimate_shift(dead, dead).is_measured


def test_shift_surface__uses_only_the_pixels_inside() -> None:
    """The left half of IR is shifted by 10 px to the right, the right half is not."""
    scene = random_scene(1, (240, 400))
    ir = scene.copy()
    ir[:, 10:200] = scene[:, :190]
    inside = np.zeros(scene.shape, np.bool_)
    inside[:, 20:190] = True
    for mask, expected in ((inside, 10), (~inside & (np.arange(400) > 210), 0)):
        surface = shift_surface(scene, ir, mask)
        row, column = np.unravel_index(int(surface.argmax()), surface.shape)
        assert (int(column) - len(surface) // 2, int(row) - len(surface) // 2) == (expected, 0)
