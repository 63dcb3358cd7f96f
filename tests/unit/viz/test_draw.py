"""Boxes, captions and bands on images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from yolofuse.errors import RunError
from yolofuse.types import ByteArray
from yolofuse.viz.draw import (
    GAP,
    Mark,
    class_colour,
    draw_marks,
    legend_band,
    save_image,
    side_by_side,
    stacked,
    title_band,
)

COLOUR = class_colour(1)


def canvas(height: int = 120, width: int = 160) -> ByteArray:
    return np.full((height, width, 3), 30, dtype=np.uint8)


def test_draw_marks__the_box_lies_on_its_corners() -> None:
    image = canvas()
    draw_marks(image, [Mark((40, 50, 100, 110), COLOUR)])
    inside = (image == np.array(COLOUR, dtype=np.uint8)).all(axis=2)
    rows, columns = np.nonzero(inside)
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (40, 50, 99, 109)
    assert inside[80, 40]
    assert not inside[80, 70]


def test_draw_marks__captions_and_dashes_change_the_image() -> None:
    images = []
    for mark in (
        Mark((40, 50, 100, 110), COLOUR),
        Mark((40, 50, 100, 110), COLOUR, "person 0.87"),
        Mark((40, 50, 100, 110), COLOUR, dashed=True),
    ):
        images.append(canvas())
        draw_marks(images[-1], [mark])
    assert not np.array_equal(images[0], images[1])
    assert (images[2] != 30).any(axis=2).sum() < (images[0] != 30).any(axis=2).sum()


@pytest.mark.parametrize("size_hw", [(120, 160), (16, 16)])
def test_draw_marks__boxes_over_the_edge_and_crowds_are_drawn(size_hw: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(-50, 200, (80, 2))
    boxes = np.hstack((corners, corners + rng.uniform(0, 60, (80, 2))))
    class_ids = rng.integers(0, 30, 80).tolist()
    marks = [
        Mark((x1, y1, x2, y2), class_colour(class_id), f"class number {class_id}")
        for (x1, y1, x2, y2), class_id in zip(boxes.tolist(), class_ids, strict=True)
    ]
    image = canvas(*size_hw)
    draw_marks(image, marks)
    assert (image != 30).any()


def test_class_colour__is_distinct() -> None:
    assert len({class_colour(class_id) for class_id in range(20)}) == 20


def test_sheets__have_the_size_of_their_panels() -> None:
    assert side_by_side([canvas(), canvas(60)]).shape == (120, 2 * 160 + GAP, 3)
    assert stacked([canvas(), canvas(60)]).shape == (180, 160, 3)
    assert title_band([160, 160], [("RGB", "day"), ("IR", "")]).shape[1] == 2 * 160 + GAP


def test_legend_band__wraps_where_it_is_narrow() -> None:
    entries = [(f"class {number}", class_colour(number), False) for number in range(8)]
    assert legend_band(120, entries).shape[0] > legend_band(2000, entries).shape[0]


def test_save_image__an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"\.png or \.jpg"):
        save_image(tmp_path / "image.txt", canvas())


def test_save_image__too_long_for_a_jpeg_is_told(tmp_path: Path) -> None:
    wide = np.zeros((2, 66000, 3), np.uint8)
    with pytest.raises(RunError, match="at most 65535 pixels a side"):
        save_image(tmp_path / "image.jpg", wide)
    save_image(tmp_path / "image.png", wide)
