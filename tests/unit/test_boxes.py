from __future__ import annotations

import numpy as np

from yolofuse.boxes import clip_xyxy, transform_xyxy, xywhn_to_xyxy


def test_xywhn_to_xyxy__gives_pixels_clipped_to_the_image() -> None:
    boxes = np.array([[0.5, 0.5, 0.5, 0.5], [0.0, 1.0, 0.2, 0.2]])
    np.testing.assert_allclose(xywhn_to_xyxy(boxes, (100, 200)), [[50, 25, 150, 75], [0, 90, 20, 100]], atol=1e-4)


def test_clip_xyxy__keeps_the_part_inside() -> None:
    clipped = clip_xyxy(np.array([[-5.0, 2, 30, 40], [1, 1, 2, 2]]), (20, 25))
    np.testing.assert_array_equal(clipped, [[0, 2, 25, 20], [1, 1, 2, 2]])
    assert clipped.dtype == np.float32


def test_transform_xyxy__takes_one_matrix_or_one_per_box() -> None:
    boxes = np.array([[0.0, 0, 2, 1], [1, 1, 2, 3]])
    quarter_turn = np.array([[0.0, -1, 10], [1, 0, 0], [0, 0, 1]])
    shift = np.array([[1.0, 0, 5], [0, 1, 7], [0, 0, 1]])
    np.testing.assert_allclose(transform_xyxy(boxes, quarter_turn), [[9, 0, 10, 2], [7, 1, 9, 2]])
    np.testing.assert_allclose(transform_xyxy(boxes, np.stack([quarter_turn, shift])), [[9, 0, 10, 2], [6, 8, 7, 10]])
