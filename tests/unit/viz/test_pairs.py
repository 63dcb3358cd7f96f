"""Pictures: the right size, boxes where they belong, files that open."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from yolofuse.errors import RunError
from yolofuse.types import ByteArray, Detections, PairedBatch
from yolofuse.viz.curves import read_curves, save_curves
from yolofuse.viz.draw import GAP, class_colour
from yolofuse.viz.pairs import (
    FALSE_ALARM,
    HIT,
    MISS,
    Column,
    PairView,
    draw_pair,
    save_batch_picture,
    save_comparison_picture,
    save_prediction_picture,
)
from yolofuse.viz.true_positives import match

NAMES = ("person", "car")
NO_BOXES = np.zeros((0, 4), dtype=np.float32)
NO_CLASSES = np.zeros(0, dtype=np.int64)


def image(height: int = 120, width: int = 160) -> ByteArray:
    """R 10, G 20, B 30, IR 40."""
    return np.full((height, width, 4), (10, 20, 30, 40), dtype=np.uint8)


def found(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    table = np.array(rows, dtype=np.float32).reshape(-1, 6)
    return Detections(1, table[:, :4].copy(), table[:, 4].copy(), table[:, 5].astype(np.int64))


def has_colour(picture: ByteArray, colour: tuple[int, int, int]) -> bool:
    return bool((picture == np.array(colour, dtype=np.uint8)).all(axis=2).any())


def read(path: Path) -> ByteArray:
    picture = cv2.imread(str(path))
    assert picture is not None
    return picture.astype(np.uint8)


def test_draw_pair__is_both_modalities_in_bgr() -> None:
    picture = draw_pair(image(), NO_BOXES, NO_CLASSES, None, NAMES)
    assert picture.shape == (120, 2 * 160 + GAP, 3)
    assert picture.dtype == np.uint8
    assert picture[0, 0].tolist() == [30, 20, 10]
    assert picture[0, -1].tolist() == [40, 40, 40]


def test_draw_pair__boxes_stand_in_both_halves_and_the_input_is_left_alone() -> None:
    source = image()
    before = source.copy()
    box = np.array([[40, 50, 100, 110]], dtype=np.float32)
    scores = np.array([0.87], dtype=np.float32)
    picture = draw_pair(source, box, np.array([1]), scores, NAMES)
    assert np.array_equal(source, before)
    for left in (0, 160 + GAP):
        assert picture[80, left + 40].tolist() == list(class_colour(1))
        assert picture[109, left + 70].tolist() == list(class_colour(1))
    plain = draw_pair(source, box, np.array([1]), None, NAMES)
    assert not np.array_equal(picture, plain)  # the score is written
    both = draw_pair(source, box, np.array([1]), None, NAMES, ground_truth=box + 5)
    assert not np.array_equal(both, plain)


def test_draw_pair__boxes_over_the_edge_and_crowds_are_drawn() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(-50, 200, (80, 2))
    boxes = np.hstack((corners, corners + rng.uniform(0, 60, (80, 2)))).astype(np.float32)
    class_ids = rng.integers(0, 30, 80)
    names = [f"class number {i}" for i in range(30)]
    assert draw_pair(image(), boxes, class_ids, np.ones(80, np.float32), names).shape == (120, 326, 3)
    assert draw_pair(image(16, 16), boxes, class_ids, None, names).shape == (16, 38, 3)


def test_class_colour__stays_apart() -> None:
    colours = [class_colour(class_id) for class_id in range(20)]
    assert len(set(colours)) == 20


@pytest.mark.parametrize("floating", [False, True])
def test_save_batch_picture__shows_the_boxes_of_each_image(tmp_path: Path, floating: bool) -> None:
    batch = PairedBatch(
        pixels=torch.full((3, 4, 64, 64), 90, dtype=torch.uint8),
        boxes_xyxy=torch.tensor([[8.0, 8, 40, 40], [4, 4, 30, 60]]),
        class_ids=torch.tensor([0, 1]),
        batch_index=torch.tensor([0, 2]),
        image_ids=torch.arange(3),
        sizes_hw=torch.full((3, 2), 64),
        letterboxes=torch.tensor([[1.0, 0, 0]] * 3),
    )
    if floating:
        batch = batch.to(torch.device("cpu"))
    save_batch_picture(batch, NAMES, tmp_path / "batch.png")
    whole = read(tmp_path / "batch.png")
    assert has_colour(whole, class_colour(0))
    assert has_colour(whole, class_colour(1))
    assert has_colour(whole, (90, 90, 90))
    save_batch_picture(batch, NAMES, tmp_path / "part.png", max_images=2)
    assert read(tmp_path / "part.png").shape[0] < whole.shape[0]


def test_match__the_best_chooses_first_and_classes_differ() -> None:
    boxes = np.array([[0, 0, 10, 10], [50, 50, 60, 60]], dtype=np.float32)
    detections = found(
        (0, 0, 10, 9, 0.5, 0), (0, 0, 10, 10, 0.9, 0), (50, 50, 60, 60, 0.8, 0), (50, 50, 60, 60, 0.7, 1)
    )
    assert match(detections, boxes, np.array([0, 1])).tolist() == [-1, 0, -1, 1]
    assert match(found(), boxes, np.array([0, 1])).tolist() == []
    assert match(detections, NO_BOXES, NO_CLASSES).tolist() == [-1] * 4


VIEW = PairView(image(), np.array([[20, 20, 60, 100], [90, 30, 150, 80]], dtype=np.float32), np.array([0, 1]), "0001")


def test_save_prediction_picture__colours_say_what_happened(tmp_path: Path) -> None:
    def colours(detections: Detections) -> list[bool]:
        save_prediction_picture([VIEW], [detections], NAMES, tmp_path / "one.png")
        picture = read(tmp_path / "one.png")[:-40]  # without the legend
        return [has_colour(picture, colour) for colour in (HIT, FALSE_ALARM, MISS)]

    both = [(20, 20, 60, 100, 0.9, 0), (90, 30, 150, 80, 0.8, 1)]
    assert colours(found(*both)) == [True, False, False]
    assert colours(found(*both, (0, 0, 15, 15, 0.4, 0))) == [True, True, False]
    assert colours(found(both[0])) == [True, False, True]
    assert colours(found((20, 20, 60, 100, 0.1, 0))) == [False, False, True]  # too weak to be shown


def test_save_comparison_picture__one_column_a_model(tmp_path: Path) -> None:
    column = Column("RGB only", "rgb", [found(), found()])
    others = [Column("IR only", "ir", [found(), found()]), Column("fusion", "both", [found(), found()])]
    save_comparison_picture([VIEW, VIEW], [column], NAMES, tmp_path / "one.png")
    save_comparison_picture([VIEW, VIEW], [column, *others], NAMES, tmp_path / "three.jpg")
    one, three = read(tmp_path / "one.png"), read(tmp_path / "three.jpg")
    assert three.shape[1] > 2.5 * one.shape[1]
    assert three.shape[0] == one.shape[0]


def test_pictures__no_pair_leaves_no_file(tmp_path: Path) -> None:
    save_prediction_picture([], [], NAMES, tmp_path / "none.png")
    save_comparison_picture([], [Column("RGB only", "rgb", [])], NAMES, tmp_path / "none.png")
    assert not list(tmp_path.iterdir())


def test_pictures__another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"\.png or \.jpg"):
        save_prediction_picture([VIEW], [found()], NAMES, tmp_path / "picture.txt")


RESULTS = """epoch,train/box,train/cls,train/dfl,val/AP,val/AP50,val/AP75,lr
1,2.5,3.0,1.5,,,,0.01
2,2.0,2.0,1.2,0.1,0.3,0.05,0.005
"""


def test_save_curves__draws_what_there_is(tmp_path: Path) -> None:
    source = tmp_path / "results.csv"
    source.write_text(RESULTS)
    curves = read_curves(source)
    assert curves["train/box"] == ([1, 2], [2.5, 2.0])
    assert curves["val/AP"] == ([2], [0.1])  # the blank cell is no zero
    save_curves(source, tmp_path / "curves.png")
    assert read(tmp_path / "curves.png").std() > 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            RESULTS.replace("2.5", "two").replace("0.3", "?"),
            r"2 cell.*\n.*line 2, train/box: 'two'\n.*line 3, val/AP50",
        ),
        ("epoch,train/box\n", "no epochs"),
        (None, "cannot read"),
    ],
    ids=["no number", "empty", "missing"],
)
def test_save_curves__says_what_is_wrong(tmp_path: Path, text: str | None, message: str) -> None:
    source = tmp_path / "results.csv"
    if text is not None:
        source.write_text(text)
    with pytest.raises(RunError, match=message):
        save_curves(source, tmp_path / "curves.png")
