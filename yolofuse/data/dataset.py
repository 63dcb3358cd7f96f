"""Make training and evaluation samples.

A training sample is a function of (seed, epoch, index, mosaic), an evaluation sample of its index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from torch.utils.data import Dataset

from yolofuse.boxes import transform_xyxy, xywhn_to_xyxy
from yolofuse.config.parts import make_part
from yolofuse.config.schema import AugmentConfig
from yolofuse.data.augment.extra import AUGMENTATIONS
from yolofuse.data.augment.geometry import (
    Matrix,
    Window,
    clip_boxes,
    covered_window,
    letterbox,
    mosaic_places,
    paint,
    paint_crop,
    paint_mean,
    random_affine,
    scale_and_shift,
)
from yolofuse.data.augment.mixing import Mixing, draw_mixing, mix_labels, mix_pixels
from yolofuse.data.augment.photometry import apply_photometry, draw_photometry, keep_one_camera
from yolofuse.data.augment.sample_plan import SamplePlan, Tile, plan_tiles
from yolofuse.data.images.decode import reduction_for
from yolofuse.data.images.lru_reader import LruReader, Reader
from yolofuse.data.images.read_pair import PairImages, pad_value, pixel_dtype, read_pair
from yolofuse.data.index.pair_set import PairSet
from yolofuse.types import CHANNELS, FloatArray, IntArray, PairedSample, PairRecord, PixelArray

_GEOMETRY, _PHOTOMETRY, _EXTRA, _MIXING = 1, 2, 3, 4  # purposes of draws: a draw added to one does not shift the other
_NUM_PARTNERS = 3


@dataclass(frozen=True, slots=True)
class SampleKey:
    """Everything that a training sample depends on besides the run's seed."""

    epoch: int  # counted from 0
    index: int  # into the pair set
    mosaic: bool  # whether mosaics are made in this epoch, with the probability of ``AugmentConfig.mosaic``
    # Pairs that a mosaic's partners are drawn from, itself a function of (seed, epoch, index); empty: all.
    pool: tuple[int, ...] = ()


class TrainDataset(Dataset[PairedSample]):
    """Make augmented square samples of ``imgsz`` pixels, with one geometry for both modalities.

    Pixels are read by ``reader``; by default from the files.
    """

    def __init__(
        self, pairs: PairSet, imgsz: int, augment: AugmentConfig, seed: int, reader: Reader | None = None
    ) -> None:
        self.pairs = pairs
        self.imgsz = imgsz
        self.augment = augment
        self.seed = seed
        self._extra = [make_part("train.augment.extra", part, AUGMENTATIONS) for part in augment.extra]
        self._dtype = pixel_dtype(pairs.records[0].format)  # all pairs of a split have one depth
        self.reader = reader or LruReader(pairs.records, imgsz, capacity=augment.mosaic_pool)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: SampleKey) -> PairedSample:
        plan = self.plan(key)
        image = self._paint(plan.tiles)
        if plan.mixing is not None:
            mix_pixels(image, self._paint(plan.other_tiles), plan.mixing)
        for change in self._extra:
            change(image, self._rng(key, _EXTRA))
        apply_photometry(image, plan.photometry)
        return PairedSample(image, plan.boxes_xyxy, plan.class_ids, key.index + 1, self.pairs.size_hw(key.index))

    def _paint(self, tiles: Sequence[Tile]) -> PixelArray:
        image = np.full((self.imgsz, self.imgsz, 4), pad_value(self._dtype), self._dtype)
        for tile in tiles:
            pixels = self.reader.read(tile.index)
            if tile.crop is None:
                paint(image, pixels, tile.matrix, tile.window)
            else:
                paint_crop(image, pixels, tile.matrix, tile.window, tile.crop)
        return image

    def plan(self, key: SampleKey) -> SamplePlan:
        """Plan a sample without reading a file."""
        tiles, boxes_xyxy, class_ids = self._place(key, self._rng(key, _GEOMETRY))
        mixing = self._mixing(key)
        other_tiles: tuple[Tile, ...] = ()
        if mixing is not None:
            rng = self._rng(key, _MIXING, 1)
            other_tiles, other_xyxy, other_ids = self._place(replace(key, index=self._partners(key, rng)[0]), rng)
            boxes_xyxy, class_ids = mix_labels((boxes_xyxy, class_ids), (other_xyxy, other_ids), mixing)
        photometry = draw_photometry(self.augment, self._rng(key, _PHOTOMETRY))
        if self.pairs.num_missing:
            shown = [self.pairs.records[tile.index].missing for tile in (*tiles, *other_tiles)]
            photometry = keep_one_camera(photometry, shown)
        return SamplePlan(tiles, boxes_xyxy, class_ids, photometry, mixing, other_tiles)

    def _place(self, key: SampleKey, rng: np.random.Generator) -> tuple[tuple[Tile, ...], FloatArray, IntArray]:
        mosaic = key.mosaic and rng.random() < self.augment.mosaic
        placed = self._mosaic(key, rng) if mosaic else self._single(key.index, rng)
        return plan_tiles(self.pairs, placed, self.imgsz)

    def _mixing(self, key: SampleKey) -> Mixing | None:
        is_on = key.mosaic and (self.augment.mixup or self.augment.cutmix)
        return draw_mixing(self.augment, self._rng(key, _MIXING), self.imgsz) if is_on else None

    def _rng(self, key: SampleKey, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, key.epoch, key.index, *purpose])

    def _mosaic(self, key: SampleKey, rng: np.random.Generator) -> list[tuple[int, Matrix]]:
        indices = [key.index, *self._partners(key, rng)]
        centre_x, centre_y = rng.uniform(0.5, 1.5, size=2) * self.imgsz
        affine = random_affine(rng, self.augment, 2 * self.imgsz, self.imgsz)
        sizes_hw = [self.pairs.size_hw(tile) for tile in indices]
        places = mosaic_places(sizes_hw, self.imgsz, (centre_x, centre_y))
        return [(tile, affine @ place) for tile, place in zip(indices, places, strict=True)]

    def _partners(self, key: SampleKey, rng: np.random.Generator) -> list[int]:
        draws = rng.random(_NUM_PARTNERS)
        if not key.pool:
            return [int(draw * len(self.pairs)) for draw in draws]
        return [key.pool[int(draw * len(key.pool))] for draw in draws]

    def _single(self, index: int, rng: np.random.Generator) -> list[tuple[int, Matrix]]:
        place = scale_and_shift(*letterbox(self.pairs.size_hw(index), (self.imgsz, self.imgsz)))
        return [(index, random_affine(rng, self.augment, self.imgsz, self.imgsz) @ place)]


class EvalDataset(Dataset[PairedSample]):
    """Make letterboxed samples without augmentation; the longest side becomes ``imgsz``, also of smaller images.

    ``square`` pads to imgsz x imgsz, ``rect`` only to the next multiple of ``stride``, the model's largest; both in
    pixels.
    """

    def __init__(
        self, pairs: PairSet, imgsz: int, letterbox: Literal["square", "rect"] = "rect", stride: int = 32
    ) -> None:
        self.pairs = pairs
        self.imgsz = imgsz
        self.letterbox = letterbox
        self.stride = stride

    def __len__(self) -> int:
        return len(self.pairs)

    def shape_hw(self, index: int) -> tuple[int, int]:
        """Return height and width of a sample without reading it."""
        if self.letterbox == "square":
            return (self.imgsz, self.imgsz)
        return rect_hw(self.pairs.size_hw(index), self.imgsz, self.stride)

    def __getitem__(self, index: int) -> PairedSample:
        record = self.pairs.records[index]
        sample = read_letterboxed(record, self.shape_hw(index))
        boxes_xywhn, class_ids = self.pairs.labels(index)
        moved = transform_xyxy(xywhn_to_xyxy(boxes_xywhn, record.size_hw), scale_and_shift(*sample.letterbox))
        boxes_xyxy, class_ids = clip_boxes(moved, class_ids, self.shape_hw(index))
        return replace(sample, boxes_xyxy=boxes_xyxy, class_ids=class_ids)


def rect_hw(size_hw: tuple[int, int], imgsz: int, stride: int) -> tuple[int, int]:
    """Return height and width to which an image whose longest side becomes ``imgsz`` is padded, multiples of stride."""
    gain = imgsz / max(size_hw)
    height, width = (max(-(-round(side * gain) // stride), 1) * stride for side in size_hw)
    return height, width


def read_letterboxed(record: PairRecord, canvas_hw: tuple[int, int], images: PairImages | None = None) -> PairedSample:
    """Read a pair as it is evaluated: scaled into the middle of a grey canvas, without boxes.

    An image that is black throughout gets a black margin too: by that the detector knows a camera without an image.

    Raises:
        DataError: If a file is gone, damaged, or of another size than the record says.
    """
    place = letterbox(record.size_hw, canvas_hw)
    matrix = scale_and_shift(*place)
    # Decoded smaller only where that is exact, so that an image is resampled once.
    reduction = reduction_for(place[0], record.size_hw)
    grid_hw = (record.size_hw[0] // reduction, record.size_hw[1] // reduction)
    image = np.full((*canvas_hw, 4), pad_value(pixel_dtype(record.format)), pixel_dtype(record.format))
    window = covered_window(matrix, record.size_hw, canvas_hw)
    if window.is_empty:  # a side of less than a pixel, which may cover no centre of one
        window = replace(window, x1=max(window.x1, window.x0 + 1), y1=max(window.y1, window.y0 + 1))
    pixels = read_pair(record, grid_hw, images)
    _paint_or_copy(image, pixels, matrix @ scale_and_shift(reduction, 0.0, 0.0), window)
    for channels in CHANNELS.values():
        if not pixels[..., channels].any():
            image[..., channels] = 0
    no_boxes = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    return PairedSample(image, *no_boxes, record.image_id, record.size_hw, place)


def _paint_or_copy(image: PixelArray, pixels: PixelArray, matrix: Matrix, window: Window) -> None:
    """Paint pixels into their window; where the map is a shift by whole pixels, copy them.

    YOLOv5 evaluates without aliasing as well, which moved AP50 by up to .005 on street scenes.
    """
    if window.size_wh == pixels.shape[1::-1] and np.allclose(matrix, scale_and_shift(1.0, window.x0, window.y0)):
        window.view(image)[:] = pixels
    else:
        paint_mean(image, pixels, matrix, window)
