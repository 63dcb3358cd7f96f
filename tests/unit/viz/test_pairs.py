"""Images of pairs: the right size, outcomes in their colours, files that open."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from yolofuse.batch import PairedBatch
from yolofuse.errors import RunError
from yolofuse.types import ByteArray, Detections
from yolofuse.viz.draw import class_colour
from yolofuse.viz.pairs import (
    FALSE_ALARM,
    HIT,
    LABEL,
    MISS,
    Column,
    PairView,
    match_detections,
    outcome_panels,
    save_batch_image,
    save_comparison_image,
    save_prediction_image,
)

NAMES = ("person", "car")
PIXELS = np.full((120, 160, 4), (10, 20, 30, 40), dtype=np.uint8)
VIEW = PairView(PIXELS, np.array([[20, 20, 60, 100], [90, 30, 150, 80]], dtype=np.float32), np.array([0, 1]), "0001")


def found(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    table = np.array(rows, dtype=np.float32).reshape(-1, 6)
    return Detections(1, table[:, :4].copy(), table[:, 4].copy(), table[:, 5].astype(np.int64))


def has_colour(image: ByteArray, colour: tuple[int, int, int]) -> bool:
    return bool((image == np.array(colour, dtype=np.uint8)).all(axis=2).any())


def read(path: Path) -> ByteArray:
    image = cv2.imread(str(path))
    assert image is not None
    return image.astype(np.uint8)


@pytest.mark.parametrize("floating", [False, True])
def test_save_batch_image__shows_the_boxes_of_each_image(tmp_path: Path, floating: bool) -> None:
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
    save_batch_image(batch, NAMES, tmp_path / "batch.png")
    whole = read(tmp_path / "batch.png")
    assert has_colour(whole, class_colour(0))
    assert has_colour(whole, class_colour(1))
    assert has_colour(whole, (90, 90, 90))
    save_batch_image(batch, NAMES, tmp_path / "part.png", max_images=2)
    assert read(tmp_path / "part.png").shape[0] < whole.shape[0]


def test_save_prediction_image__colours_show_the_outcome(tmp_path: Path) -> None:
    def colours(detections: Detections) -> list[bool]:
        save_prediction_image([VIEW], [detections], NAMES, tmp_path / "one.png")
        image = read(tmp_path / "one.png")[:-40]  # without the legend
        return [has_colour(image, colour) for colour in (HIT, FALSE_ALARM, MISS)]

    both = [(20, 20, 60, 100, 0.9, 0), (90, 30, 150, 80, 0.8, 1)]
    assert colours(found(*both)) == [True, False, False]
    assert colours(found(*both, (0, 0, 15, 15, 0.4, 0))) == [True, True, False]
    assert colours(found(both[0])) == [True, False, True]
    assert colours(found((20, 20, 60, 100, 0.1, 0))) == [False, False, True]  # too weak to be shown


def test_save_comparison_image__one_column_a_model(tmp_path: Path) -> None:
    column = Column("RGB only", "rgb", [found(), found()])
    others = [Column("IR only", "ir", [found(), found()]), Column("fusion", "both", [found(), found()])]
    save_comparison_image([VIEW, VIEW], [column], NAMES, tmp_path / "one.png")
    save_comparison_image([VIEW, VIEW], [column, *others], NAMES, tmp_path / "three.jpg")
    one, three = read(tmp_path / "one.png"), read(tmp_path / "three.jpg")
    assert three.shape[1] > 2.5 * one.shape[1]
    assert three.shape[0] == one.shape[0]


def test_images__no_pair_leaves_no_file(tmp_path: Path) -> None:
    save_prediction_image([], [], NAMES, tmp_path / "none.png")
    save_comparison_image([], [Column("RGB only", "rgb", [])], NAMES, tmp_path / "none.png")
    assert not list(tmp_path.iterdir())


def test_images__another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"\.png or \.jpg"):
        save_prediction_image([VIEW], [found()], NAMES, tmp_path / "image.txt")


def test_match_detections__the_best_chooses_first_and_classes_differ() -> None:
    boxes = np.array([[0, 0, 10, 10], [50, 50, 60, 60]], dtype=np.float32)
    detections = found(
        (0, 0, 10, 9, 0.5, 0), (0, 0, 10, 10, 0.9, 0), (50, 50, 60, 60, 0.8, 0), (50, 50, 60, 60, 0.7, 1)
    )
    assert match_detections(detections, boxes, np.array([0, 1]))[1].tolist() == [-1, 0, -1, 1]
    assert match_detections(found(), boxes, np.array([0, 1]))[1].tolist() == []
    nothing = np.zeros((0, 4), dtype=np.float32), np.zeros(0, dtype=np.int64)
    assert match_detections(detections, *nothing)[1].tolist() == [-1] * 4


def test_outcome_panels__leave_out_what_lies_in_a_region_to_ignore() -> None:
    region = np.array([[100, 0, 160, 40]], np.float32), np.array([0])
    view = replace(VIEW, ignored=region)
    half, less, other = (100, 30, 120, 50, 0.9, 0), (100, 31, 120, 51, 0.8, 0), (100, 20, 120, 40, 0.7, 1)
    hit = (20, 20, 60, 100, 0.9, 0)
    assert outcome_panels(view, found(half, less, other, hit), NAMES)[1] == "1 of 2 found, 2 false"
    shown, matched = match_detections(found(half, hit), VIEW.boxes_xyxy, VIEW.class_ids, region)
    assert (shown.boxes_xyxy.tolist(), matched.tolist()) == ([list(hit[:4])], [0])


def test_outcome_panels__show_the_label_of_what_was_found() -> None:
    detections = found((20, 22, 64, 100, 0.9, 0))
    panels, summary = outcome_panels(VIEW, detections, NAMES, with_labels=True)
    assert summary == "1 of 2 found, 0 false"
    assert len(panels) == 2
    assert all(has_colour(panel, colour) for panel in panels for colour in (HIT, MISS, LABEL))
    plain, _ = outcome_panels(VIEW, detections, NAMES, ("ir",))
    assert not has_colour(plain[0], LABEL)
    assert outcome_panels(VIEW, detections, NAMES, min_score=0.95)[1] == "0 of 2 found, 0 false"
