"""Samples: a training sample is a function of (seed, epoch, index, mosaic), an evaluation sample of its index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch.utils.data import Dataset

from yolofuse.boxes import xywhn_to_xyxy
from yolofuse.config.schema import AugmentConfig
from yolofuse.data.image_io import reduction_for
from yolofuse.data.order import partner_pool
from yolofuse.data.pair_reader import PairReader
from yolofuse.data.pairs import PairSet
from yolofuse.data.photometry import jitter
from yolofuse.data.transforms import (
    PAD,
    Matrix,
    covered_window,
    letterbox,
    magnification,
    mosaic_places,
    move_boxes,
    paint,
    random_affine,
    scale_and_shift,
)
from yolofuse.types import ByteArray, FloatArray, IntArray, PairedSample

_GEOMETRY, _PHOTOMETRY = 1, 2  # purposes: a draw added to one does not shift the other
_NUM_PARTNERS = 3


@dataclass(frozen=True, slots=True)
class SampleKey:
    """Which training sample: everything it depends on besides the run's seed.

    Attributes:
        epoch: Counted from 0.
        index: Into the pair set.
        mosaic: Whether mosaics are made in this epoch; how often is the augmentation's own probability.
    """

    epoch: int
    index: int
    mosaic: bool


class TrainDataset(Dataset[PairedSample]):
    """Augmented square samples; both modalities go through one geometry."""

    def __init__(self, pairs: PairSet, imgsz: int, augment: AugmentConfig, seed: int) -> None:
        """Keep what samples are made of.

        Args:
            pairs: The split.
            imgsz: Side of a sample in pixels.
            augment: Ranges to draw from.
            seed: The run's seed.
        """
        self.pairs = pairs
        self.imgsz = imgsz
        self.augment = augment
        self.seed = seed
        self._reader = PairReader(capacity=2 * augment.mosaic_pool)  # some are read at two sizes

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: SampleKey) -> PairedSample:
        rng = self._rng(key, _GEOMETRY)
        if key.mosaic and rng.random() < self.augment.mosaic:
            tiles = self._mosaic(key, rng)
        else:
            tiles = self._single(key.index, rng)
        image, boxes_xyxy, class_ids = _compose(self.pairs, self._reader, tiles, (self.imgsz, self.imgsz), self.imgsz)
        jitter(image, self.augment, self._rng(key, _PHOTOMETRY))
        record = self.pairs.records[key.index]
        return PairedSample(image, boxes_xyxy, class_ids, record.image_id, record.size_hw)

    def _rng(self, key: SampleKey, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, key.epoch, key.index, purpose])

    def _mosaic(self, key: SampleKey, rng: np.random.Generator) -> list[tuple[int, Matrix]]:
        indices = [key.index, *self._partners(key, rng)]
        centre_x, centre_y = rng.uniform(0.5, 1.5, size=2) * self.imgsz
        affine = random_affine(rng, self.augment, 2 * self.imgsz, self.imgsz)
        sizes_hw = [self.pairs.records[tile].size_hw for tile in indices]
        places = mosaic_places(sizes_hw, self.imgsz, (centre_x, centre_y))
        return [(tile, affine @ place) for tile, place in zip(indices, places, strict=True)]

    def _partners(self, key: SampleKey, rng: np.random.Generator) -> list[int]:
        everyone = len(self.pairs)
        draws = rng.random(_NUM_PARTNERS)
        if not self.augment.mosaic_pool:
            return [int(draw * everyone) for draw in draws]
        pool = partner_pool(self.seed, key.epoch, everyone, self.augment.mosaic_pool, key.index)
        return [int(pool[int(draw * len(pool))]) for draw in draws]

    def _single(self, index: int, rng: np.random.Generator) -> list[tuple[int, Matrix]]:
        place = scale_and_shift(*letterbox(self.pairs.records[index].size_hw, (self.imgsz, self.imgsz)))
        return [(index, random_affine(rng, self.augment, self.imgsz, self.imgsz) @ place)]


class EvalDataset(Dataset[PairedSample]):
    """Letterboxed samples without augmentation; the longest side becomes ``imgsz``, upwards too."""

    def __init__(
        self, pairs: PairSet, imgsz: int, letterbox: Literal["square", "rect"] = "rect", stride: int = 32
    ) -> None:
        """Keep what samples are made of.

        Args:
            pairs: The split.
            imgsz: Longest side of an image in pixels, a multiple of ``stride``.
            letterbox: ``square`` pads to imgsz x imgsz, ``rect`` only to the next multiple of ``stride``.
            stride: What the model needs sides to be multiples of, in pixels.
        """
        self.pairs = pairs
        self.imgsz = imgsz
        self.letterbox = letterbox
        self.stride = stride
        self._reader = PairReader(capacity=0)

    def __len__(self) -> int:
        return len(self.pairs)

    def shape_hw(self, index: int) -> tuple[int, int]:
        """Height and width of a sample, known without reading it."""
        if self.letterbox == "square":
            return (self.imgsz, self.imgsz)
        size_hw = self.pairs.records[index].size_hw
        gain = self.imgsz / max(size_hw)
        height, width = (max(-(-round(side * gain) // self.stride), 1) * self.stride for side in size_hw)
        return (height, width)

    def __getitem__(self, index: int) -> PairedSample:
        record = self.pairs.records[index]
        canvas_hw = self.shape_hw(index)
        place = letterbox(record.size_hw, canvas_hw)
        matrix = scale_and_shift(*place)
        image, boxes_xyxy, class_ids = _compose(self.pairs, self._reader, [(index, matrix)], canvas_hw, self.imgsz)
        return PairedSample(image, boxes_xyxy, class_ids, record.image_id, record.size_hw, place)


def _compose(
    pairs: PairSet, reader: PairReader, tiles: list[tuple[int, Matrix]], canvas_hw: tuple[int, int], imgsz: int
) -> tuple[ByteArray, FloatArray, IntArray]:
    """Paint images, each through its own map from file pixels to canvas pixels, and gather their boxes."""
    canvas = np.full((*canvas_hw, 4), PAD, np.uint8)
    boxes: list[FloatArray] = []
    class_ids: list[IntArray] = []
    for index, matrix in tiles:
        record = pairs.records[index]
        window = covered_window(matrix, record.size_hw, canvas_hw)
        if window.is_empty:  # not worth decoding
            continue
        # A tile that is magnified past its place in the mosaic shows no more than imgsz pixels of detail, as in YOLO.
        detail = min(magnification(matrix), imgsz / max(record.size_hw))
        reduction = reduction_for(detail)
        paint(canvas, reader.read(record, reduction), matrix @ scale_and_shift(reduction, 0.0, 0.0), window)
        boxes_xywhn, tile_class_ids = pairs.labels(index)
        moved, kept_ids = move_boxes(xywhn_to_xyxy(boxes_xywhn, record.size_hw), tile_class_ids, matrix, canvas_hw)
        boxes.append(moved)
        class_ids.append(kept_ids)
    if not boxes:
        return canvas, np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    return canvas, np.concatenate(boxes), np.concatenate(class_ids)
