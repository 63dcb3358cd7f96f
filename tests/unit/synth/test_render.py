"""Rendered pairs: registered, labelled where a camera shows the object, and hard for either camera alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from yolofuse.synth import knobs
from yolofuse.synth.render import Pair, render_pair
from yolofuse.synth.scene import PERSON

SIZE_HW = (96, 128)
pytestmark = pytest.mark.xdist_group("synth-scenes")  # rendered once, by one worker


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(range(20, 40), id="20-scenes"),
        pytest.param(range(60), id="60-scenes", marks=pytest.mark.soak),
    ],
)
def scenes(request: pytest.FixtureRequest) -> tuple[Pair, ...]:
    return tuple(render_pair(3, "train", index, SIZE_HW) for index in request.param)


def test_boxes__inside_the_image_and_big_enough(scenes: tuple[Pair, ...]) -> None:
    height, width = SIZE_HW
    for seen in (seen for pair in scenes for seen in pair.objects):
        x0, y0, x1, y1 = seen.box_xyxy
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        assert (y1 - y0) / height > 0.09 if seen.class_id == PERSON else (x1 - x0) / width > 0.09


def test_labels__each_is_seen_by_a_camera(scenes: tuple[Pair, ...]) -> None:
    objects = [seen for pair in scenes for seen in pair.objects]
    assert all(seen.labelled for seen in objects)
    assert all(seen.rgb >= knobs.RGB_VISIBLE or seen.ir >= knobs.IR_VISIBLE for seen in objects)


def test_labels__contrast_is_really_in_the_images(scenes: tuple[Pair, ...]) -> None:
    """On the finished pixels, people in the dark differ from a ring around them in the thermal image alone."""
    rgb_gaps: list[float] = []
    ir_gaps: list[float] = []
    for pair in scenes:
        for number, seen in enumerate(pair.objects, start=1):
            if seen.class_id != PERSON or seen.rgb_sees:
                continue
            mask = (pair.owner == number).astype(np.uint8)
            ring = cv2.dilate(mask, np.ones((7, 7), np.uint8)) * (pair.owner <= 0)
            for gaps, image in ((rgb_gaps, pair.bgr.mean(2)), (ir_gaps, pair.ir)):
                gaps.append(abs(float(image[mask > 0].mean()) - float(image[ring > 0].mean())))
    assert len(ir_gaps) >= 5
    assert np.median(ir_gaps) > 30
    assert np.median(rgb_gaps) < 6


def test_shares__each_camera_alone_misses_its_own(scenes: tuple[Pair, ...]) -> None:
    objects = [seen for pair in scenes for seen in pair.objects]
    rgb_only = sum(not seen.ir_sees for seen in objects) / len(objects)
    ir_only = sum(not seen.rgb_sees for seen in objects) / len(objects)
    assert 0.15 < rgb_only < 0.40
    assert 0.15 < ir_only < 0.40


def test_registration__both_images_show_one_silhouette(scenes: tuple[Pair, ...]) -> None:
    """Warm people are brightest in the thermal image right where they were drawn, not some pixels beside it."""
    best = []
    for pair in scenes:
        for number, seen in enumerate(pair.objects, start=1):
            mask = (pair.owner == number).astype(np.float32)
            if seen.class_id != PERSON or seen.ir < 8 or seen.share < 0.95 or mask.sum() < 40:
                continue
            ir = pair.ir.astype(np.float32)
            fits = {shift: float((ir * np.roll(mask, shift, axis=1)).sum()) for shift in range(-4, 5)}
            best.append(max(fits, key=lambda shift: fits[shift]))
    assert len(best) >= 8
    assert abs(float(np.mean(best))) <= 0.5
    assert sum(abs(shift) <= 1 for shift in best) >= 0.9 * len(best)


def test_decoys__are_drawn_but_never_labelled(scenes: tuple[Pair, ...]) -> None:
    decoys = [thing for pair in scenes for thing in pair.scene.things if thing.variant and thing.class_id is None]
    assert {thing.kind for thing in decoys} >= {"poster", "mannequin", "hot_box", "hot_pipe"}
    for pair in scenes:
        assert len(pair.objects) == sum(thing.class_id is not None for thing in pair.scene.things)
