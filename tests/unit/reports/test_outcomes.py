"""Pairs are counted, chosen and drawn by what was found in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.pairs import make_pairs
from tests.support.reported_runs import found_with_errors
from yolofuse.data import PairSet, load_pairs
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.errors import DataError
from yolofuse.eval.coco import prediction_rows
from yolofuse.reports.outcomes import (
    Outcome,
    choose_best,
    choose_worst,
    count_outcomes,
    detections_by_image,
    draw_pair,
)


@pytest.fixture
def pairs(tmp_path: Path) -> PairSet:
    return load_pairs(load_descriptor(make_pairs(tmp_path, 1, 4)), "val")


def test_detections_by_image__inverts_the_rows_of_a_result_file(pairs: PairSet) -> None:
    given = found_with_errors(pairs, 1)
    found = detections_by_image(prediction_rows(given))
    assert sorted(found) == [1, 2, 3]
    for image_id, detections in found.items():
        np.testing.assert_allclose(detections.boxes_xyxy, given[image_id - 1].boxes_xyxy, atol=1e-4)
        assert detections.class_ids.tolist() == given[image_id - 1].class_ids.tolist()


@pytest.mark.parametrize("row", [{}, {"bbox": [1, 2], "score": 1, "category_id": 1, "image_id": 1}, "text"])
def test_detections_by_image__damaged_rows_are_named(row: object) -> None:
    with pytest.raises(DataError, match="damaged predictions"):
        detections_by_image([row])  # type: ignore[list-item]


def test_count_outcomes__counts_found_missed_and_false(pairs: PairSet) -> None:
    found = {detections.image_id: detections for detections in found_with_errors(pairs, 2)}
    outcomes = count_outcomes(pairs, found, 0.5)
    assert outcomes == [Outcome(0, 1, 0, 0), Outcome(1, 1, 0, 0), Outcome(2, 0, 1, 1), Outcome(3, 0, 1, 0)]
    assert count_outcomes(pairs, found, 0.95)[0] == Outcome(0, 0, 1, 0)


def test_choose__by_errors_and_by_boxes() -> None:
    outcomes = [Outcome(0, 1, 0, 0), Outcome(1, 3, 0, 0), Outcome(2, 1, 1, 1), Outcome(3, 0, 2, 0), Outcome(4, 0, 0, 0)]
    assert choose_worst(outcomes, 9) == [3, 2]
    assert choose_best(outcomes, 9) == [1, 0]
    assert choose_best(outcomes, 1) == [1]


def test_draw_pair__says_what_was_found(pairs: PairSet) -> None:
    found = {detections.image_id: detections for detections in found_with_errors(pairs, 1)}
    drawn = draw_pair(pairs, 0, found, 0.5)
    assert (drawn.title, drawn.text) == ("val_000", "1 of 1 found, 0 false")
    assert [panel.caption for panel in drawn.panels] == ["RGB", "IR"]
    assert all(panel.uri.startswith("data:image/jpeg;base64,") for panel in drawn.panels)
    assert draw_pair(pairs, 3, found, 0.5).text == "0 of 1 found, 0 false"
