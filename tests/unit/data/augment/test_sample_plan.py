from __future__ import annotations

import numpy as np

from yolofuse.boxes import transform_xyxy, xywhn_to_xyxy
from yolofuse.data.augment.geometry import letterbox, scale_and_shift
from yolofuse.data.augment.sample_plan import plan_tiles
from yolofuse.data.index.pair_set import PairSet


def test_plan_tiles__letterboxed_pair_keeps_its_boxes(ten_pairs: PairSet) -> None:
    place = scale_and_shift(*letterbox(ten_pairs.size_hw(2), (96, 96)))
    tiles, boxes_xyxy, class_ids = plan_tiles(ten_pairs, [(2, place)], 96)
    assert [tile.index for tile in tiles] == [2]
    assert tiles[0].window.size_wh == (96, 64)
    assert tiles[0].crop is not None
    boxes_xywhn, expected_ids = ten_pairs.labels(2)
    expected = transform_xyxy(xywhn_to_xyxy(boxes_xywhn, ten_pairs.size_hw(2)), place)
    np.testing.assert_allclose(boxes_xyxy, expected, atol=1e-3)
    np.testing.assert_array_equal(class_ids, expected_ids)


def test_plan_tiles__pair_outside_the_canvas_is_left_out(ten_pairs: PairSet) -> None:
    tiles, boxes_xyxy, class_ids = plan_tiles(ten_pairs, [(0, scale_and_shift(1.0, 500.0, 0.0))], 96)
    assert tiles == ()
    assert boxes_xyxy.shape == (0, 4)
    assert class_ids.shape == (0,)


def test_plan_tiles__rotated_pair_has_no_crop(ten_pairs: PairSet) -> None:
    quarter = np.array([[0.0, -1.0, 80.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    tiles, _, _ = plan_tiles(ten_pairs, [(0, quarter), (1, scale_and_shift(1.0, 0.0, 0.0))], 96)
    assert [tile.crop is None for tile in tiles] == [True, False]
