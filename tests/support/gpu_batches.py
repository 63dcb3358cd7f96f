"""Images, keys and options for tests of augmentation, and the same batch made on the CPU and on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Literal

import cv2
import numpy as np
import torch

from tests.support.pairs import LabelledPair, random_pair
from yolofuse.batch import PairedBatch
from yolofuse.config.schema import AugmentConfig
from yolofuse.data.dataloader import collate
from yolofuse.data.dataset import SampleKey, TrainDataset
from yolofuse.data.gpu.augment_batch import augment_batch
from yolofuse.data.gpu.tile_batch import TileBatch, TileDataset

Decode = Literal["cpu", "nvjpeg"]
CPU = torch.device("cpu")
IMGSZ = 128
PHOTOMETRY = ("hsv_h", "hsv_s", "hsv_v", "ir_gain", "ir_bias", "ir_noise")
SIZES_HW = ((90, 150), (150, 90), (40, 60), (128, 128), (300, 211))  # wide, upright, small, exact, reduced


def augmentation(**options: float) -> AugmentConfig:
    """Return options with all photometry off, except for the given ones."""
    return AugmentConfig.model_validate({**dict.fromkeys(PHOTOMETRY, 0.0), **options})


STILL = {"scale": 0.0, "translate": 0.0, "flip_lr": 0.0}
GEOMETRIES = {
    "upright": augmentation(flip_lr=0.0),
    "mirrored": augmentation(flip_lr=1.0, flip_ud=1.0),
    "rotated": augmentation(degrees=25.0, shear=8.0, flip_ud=0.5),
    "strong": augmentation(degrees=180.0, shear=20.0, scale=0.9, translate=0.4),
}


def noisy(index: int) -> LabelledPair:
    """Return noise with one box, of five sizes in turn."""
    return random_pair(index, SIZES_HW[index % len(SIZES_HW)])


def smooth(index: int) -> LabelledPair:
    """Return enlarged coarse noise, so that JPEG and OpenCV's fixed point have little to round."""
    height, width = SIZES_HW[index % len(SIZES_HW)]
    coarse = np.random.default_rng(index).integers(0, 256, (6, 8, 4), dtype=np.uint8)
    fine = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    return np.ascontiguousarray(fine[..., :3]), np.ascontiguousarray(fine[..., 3]), noisy(index)[2]


def keys_of(mosaic: bool, epochs: int = 2, num: int = 5) -> list[SampleKey]:
    """Return the keys of the first samples of some epochs."""
    return [SampleKey(epoch, index, mosaic) for epoch in range(epochs) for index in range(num)]


def tiles_of(dataset: TrainDataset, keys: Sequence[SampleKey], decode: Decode = "cpu") -> TileBatch:
    """Return the batch that a loader sends to the device."""
    return TileDataset(dataset, decode).__getitems__(list(keys))


def composed_of(dataset: TrainDataset, keys: Sequence[SampleKey], decode: Decode = "cpu") -> PairedBatch:
    """Return the batch that the device augments."""
    return augment_batch(tiles_of(dataset, keys, decode), CPU, dataset.imgsz)


def expected_of(dataset: TrainDataset, keys: Sequence[SampleKey]) -> PairedBatch:
    """Return the batch that the CPU path makes."""
    return collate([dataset[key] for key in keys]).to(CPU)


def levels_apart(one: PairedBatch, other: PairedBatch, full_scale: int = 255) -> torch.Tensor:
    """Return differences of pixels in levels of the file."""
    return ((one.pixels.float() - other.pixels.float()).abs() * full_scale).cpu()


def assert_same_but_pixels(one: PairedBatch, other: PairedBatch) -> None:
    """Compare two batches in all but the values of their pixels."""
    assert one.pixels.shape == other.pixels.shape
    assert one.pixels.dtype == other.pixels.dtype
    assert one.pixels.stride() == other.pixels.stride()
    for field in fields(PairedBatch):
        if field.name not in {"pixels", "on_host"}:
            mine, theirs = getattr(one, field.name).cpu(), getattr(other, field.name).cpu()
            assert mine.dtype == theirs.dtype, field.name
            assert torch.equal(mine, theirs), field.name
