"""Plan a training sample before a pixel is read: tiles, boxes and photometric changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from yolofuse.boxes import transform_xyxy, xywhn_to_xyxy
from yolofuse.data.augment.geometry import Matrix, Window, clip_boxes, covered_window, is_upright, snap
from yolofuse.data.augment.mixing import Mixing
from yolofuse.data.augment.photometry import Photometry
from yolofuse.data.images.read_pair import training_hw
from yolofuse.data.index.pair_set import PairSet
from yolofuse.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Tile:
    """One image of a sample and its place on the canvas."""

    index: int  # of the pair
    matrix: Matrix  # (3, 3) from pixels of the image at training size to pixels of the canvas
    window: Window  # canvas pixels that it covers
    crop: Window | None  # image pixels that are resized to the window; None where the map rotates or shears


@dataclass(frozen=True, slots=True)
class SamplePlan:
    """A training sample without its pixels."""

    tiles: tuple[Tile, ...]  # in the order in which they are painted
    boxes_xyxy: FloatArray  # float32 (N, 4) in canvas pixels
    class_ids: IntArray  # int64 (N,)
    photometry: Photometry  # of the whole sample
    mixing: Mixing | None = None  # how another sample is mixed in before that
    other_tiles: tuple[Tile, ...] = ()  # of that sample; its boxes are among the boxes


def plan_tiles(
    pairs: PairSet, placed: Sequence[tuple[int, Matrix]], imgsz: int
) -> tuple[tuple[Tile, ...], FloatArray, IntArray]:
    """Return tiles, boxes and class ids of pairs that are placed on a square canvas.

    Args:
        pairs: The split.
        placed: Index of each pair and the map from pixels of its frame to pixels of the canvas.
        imgsz: Side of the canvas in pixels, and longest side of an image at training size.
    """
    canvas_hw = (imgsz, imgsz)
    tiles: list[Tile] = []
    boxes: list[FloatArray] = [np.zeros((0, 4), np.float32)]
    class_ids: list[IntArray] = [np.zeros(0, np.int64)]
    from_unit: list[Matrix] = []
    for index, from_frame in placed:
        frame_h, frame_w = pairs.size_hw(index)
        height, width = training_hw((frame_h, frame_w), imgsz)
        # Divides column by column: the same as a product with the inverse of a diagonal matrix.
        matrix = from_frame / (width / frame_w, height / frame_h, 1.0)
        window = covered_window(matrix, (height, width), canvas_hw)
        if window.is_empty:
            continue
        crop = None
        if is_upright(matrix):
            matrix, crop = snap(matrix, window, (height, width))
        tiles.append(Tile(index, matrix, window, crop))
        boxes_xywhn, tile_class_ids = pairs.labels(index)
        from_unit.append(matrix * (width, height, 1.0))
        boxes.append(boxes_xywhn)
        class_ids.append(tile_class_ids)
    counts = [len(of_tile) for of_tile in class_ids[1:]]
    if not sum(counts):
        return tuple(tiles), boxes[0], class_ids[0]
    corners = xywhn_to_xyxy(np.concatenate(boxes), (1, 1))
    moved = transform_xyxy(corners, np.repeat(from_unit, counts, axis=0))
    return tuple(tiles), *clip_boxes(moved, np.concatenate(class_ids), canvas_hw)
