"""Postprocessing: from head output to boxes, and back to original pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.ops import box_convert, nms

import yolofuse.eval.postprocess as postprocess_module
from yolofuse.eval.postprocess import postprocess, to_detections


def head_output(rows: list[list[float]]) -> Tensor:
    """(1, 4 + nc, A) from one row per anchor: centre x, centre y, width, height, class scores."""
    return torch.tensor(rows).T[None]


def random_output(num_classes: int, num_anchors: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(1, 2, num_anchors, generator=generator) * 300
    sizes = torch.rand(1, 2, num_anchors, generator=generator) * 80 + 10
    return torch.cat((centres, sizes, torch.rand(1, num_classes, num_anchors, generator=generator)), dim=1)


def test_postprocess__agrees_with_torchvision_nms_class_by_class() -> None:
    output = random_output(num_classes=3, num_anchors=400)
    (rows,) = postprocess(output, conf=0.3, iou=0.5, max_det=10_000, end2end=False)
    boxes = box_convert(output[0, :4].T, "cxcywh", "xyxy")
    for class_id in range(3):
        scores = output[0, 4 + class_id]
        sure = scores > 0.3
        keep = nms(boxes[sure], scores[sure], 0.5)
        expected = torch.cat((boxes[sure][keep], scores[sure][keep, None]), dim=1)
        torch.testing.assert_close(rows[rows[:, 5] == class_id][:, :5], expected, rtol=0, atol=0)
    assert (rows[:, 4].diff() <= 0).all()


def test_postprocess__one_anchor_can_give_boxes_of_two_classes() -> None:
    (rows,) = postprocess(head_output([[50, 50, 20, 10, 0.9, 0.6]]), conf=0.5, iou=0.5, max_det=10, end2end=False)
    expected = [[40, 45, 60, 55, 0.9, 0], [40, 45, 60, 55, 0.6, 1]]
    torch.testing.assert_close(rows, torch.tensor(expected))


def test_postprocess__classes_stay_apart_left_of_the_image() -> None:
    # Classes are kept apart by a shift of the largest coordinate + 1 = 111, which here would lay one on the other.
    output = head_output([[100, 50, 20, 20, 0.9, 0.0], [-11, -61, 20, 20, 0.0, 0.8]])
    (rows,) = postprocess(output, conf=0.1, iou=0.5, max_det=10, end2end=False)
    assert rows[:, 5].tolist() == [0, 1]


def test_postprocess__equal_scores_keep_the_heads_order() -> None:
    output = head_output([[100.0 * (i + 1), 50, 10, 10, 0.5] for i in range(50)])
    (rows,) = postprocess(output, conf=0.1, iou=0.5, max_det=50, end2end=False)
    assert (rows[:, 0].diff() > 0).all()


def test_postprocess__only_the_best_candidates_and_max_det_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postprocess_module, "MAX_CANDIDATES", 60)
    output = random_output(num_classes=1, num_anchors=100)
    output[:, 2:4] = 0.01  # nothing overlaps
    best = output[0, 4].sort(descending=True).values
    for max_det, expected in ((1000, 60), (7, 7)):
        (rows,) = postprocess(output, conf=0.0, iou=0.5, max_det=max_det, end2end=False)
        assert torch.equal(rows[:, 4], best[:expected])


@pytest.mark.parametrize("max_det", [5, 40, 10_000])
def test_postprocess__a_first_pass_on_a_prefix_changes_nothing(max_det: int, monkeypatch: pytest.MonkeyPatch) -> None:
    output = random_output(num_classes=2, num_anchors=500)
    whole = postprocess(output, conf=0.1, iou=0.3, max_det=max_det, end2end=False)
    monkeypatch.setattr(postprocess_module, "_PREFIX", 8)
    assert torch.equal(postprocess(output, conf=0.1, iou=0.3, max_det=max_det, end2end=False)[0], whole[0])


def test_postprocess__end_to_end_rows_are_only_filtered() -> None:
    predictions = torch.tensor([[[0, 0, 9, 9, 0.3, 1], [0, 0, 9, 9, 0.9, 1], [0, 0, 9, 9, 0.2, 0]]])
    (rows,) = postprocess(predictions, conf=0.25, iou=0.5, max_det=300, end2end=True)
    torch.testing.assert_close(rows, predictions[0, [1, 0]])
    (rows,) = postprocess(predictions, conf=0.25, iou=0.5, max_det=1, end2end=True)
    torch.testing.assert_close(rows, predictions[0, [1]])


@pytest.mark.parametrize("end2end", [False, True])
def test_postprocess__nothing_found_is_an_empty_table_per_image(end2end: bool) -> None:
    predictions = torch.zeros(2, 8, 6) if end2end else torch.zeros(2, 7, 21)
    rows = postprocess(predictions, conf=0.1, iou=0.5, max_det=10, end2end=end2end)
    assert [tuple(image_rows.shape) for image_rows in rows] == [(0, 6), (0, 6)]


def test_postprocess__half_precision_and_broken_rows() -> None:
    output = head_output(
        [[50, 50, 20, 10, 0.9], [float("inf"), 50, 20, 10, 0.8], [50, 50, 20, 10, float("nan")]]
    ).half()
    (rows,) = postprocess(output, conf=0.1, iou=0.5, max_det=10, end2end=False)
    assert rows.dtype == torch.float32
    assert len(rows) == 1


def test_to_detections__inverts_the_letterbox() -> None:
    original = np.array([[10, 20, 110, 220], [0, 0, 640, 480]], dtype=np.float32)
    gain, pad_left, pad_top = 0.5, 3.0, 40.0
    boxed = original * gain + np.array([pad_left, pad_top, pad_left, pad_top], dtype=np.float32)
    rows = torch.cat((torch.from_numpy(boxed), torch.tensor([[0.9, 2], [0.5, 0]])), dim=1)
    found = to_detections(rows, image_id=7, size_hw=(480, 640), letterbox=(gain, pad_left, pad_top))
    np.testing.assert_allclose(found.boxes_xyxy, original)
    assert found.image_id == 7
    assert found.class_ids.tolist() == [2, 0]
    dtypes = [str(array.dtype) for array in (found.boxes_xyxy, found.scores, found.class_ids)]
    assert dtypes == ["float32", "float32", "int64"]


def test_to_detections__clips_and_drops_what_lies_in_the_padding() -> None:
    rows = torch.tensor([[-5, 5, 150, 250, 0.9, 0], [10, 0, 20, 9, 0.8, 0]])
    found = to_detections(rows, image_id=1, size_hw=(200, 100), letterbox=(1.0, 0.0, 10.0))
    np.testing.assert_array_equal(found.boxes_xyxy, [[0, 0, 100, 200]])


def test_to_detections__nothing_found() -> None:
    found = to_detections(torch.zeros(0, 6), image_id=1, size_hw=(10, 10), letterbox=(1.0, 0.0, 0.0))
    assert len(found) == 0
    assert found.boxes_xyxy.shape == (0, 4)
