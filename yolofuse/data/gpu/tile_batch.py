"""Make batches of stored images and the plan of what is painted where, for augmentation on the training device."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, fields
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from yolofuse.data.augment.geometry import Window, scale_and_shift
from yolofuse.data.augment.photometry import Photometry
from yolofuse.data.augment.sample_plan import SamplePlan
from yolofuse.data.dataset import SampleKey, TrainDataset
from yolofuse.data.gpu.jpeg import EncodedPair, read_encoded, require_decoder
from yolofuse.data.images.read_pair import pixel_dtype, training_hw
from yolofuse.types import ByteArray, PixelArray

_Batch = TypeVar("_Batch")
_EMPTY_CROP = np.array([0, 0, -1, -1], np.float32)


@dataclass(slots=True)
class TileBatch:
    """A batch before augmentation: each image once, and for each sample its tiles, boxes and photometric changes.

    A sample has up to K tiles, painted in order; K is that of the sample with the most.
    """

    images: Tensor  # uint8 or uint16 (P, h, w, 4): pairs at training size, R, G, B, IR; smaller ones padded with 0
    encoded: Tensor  # uint8 (bytes,): the files of further pairs
    encoded_pairs: tuple[EncodedPair, ...]  # what ``encoded`` holds: images P, P + 1, ...
    image_index: Tensor  # int64 (K, B): the image that a tile shows
    canvas_to_image: Tensor  # float32 (K, B, 2, 3): from a canvas pixel to an image pixel, centres as whole numbers
    crop_xyxy: Tensor  # float32 (K, B, 4): the image pixels that are shown; x1 < x0 where there is no tile
    photometry: tuple[Photometry, ...]  # no tensors: each tensor of a worker's batch costs the parent an open file
    boxes_xyxy: Tensor  # float32 (M, 4): from here on as in PairedBatch
    class_ids: Tensor  # int64 (M,)
    batch_index: Tensor  # int64 (M,)
    image_ids: Tensor  # int64 (B,)
    sizes_hw: Tensor  # int64 (B, 2)

    def __len__(self) -> int:
        return len(self.image_ids)

    def pin_memory(self) -> TileBatch:
        """Copy the batch to page-locked memory, so that the copy to the device overlaps with compute."""
        pinned = copy(self)
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor) and field.name != "encoded":  # read by the part of the decoder on the CPU
                setattr(pinned, field.name, value.pin_memory())
        return pinned


class TileDataset(Dataset[TileBatch]):
    """Make the batches of a training data set for ``gpu.augment_batch``.

    An image that several samples of a batch show is read and sent once: see ``train.augment.mosaic_pool``. With
    ``nvjpeg``, JPEG files are sent as they are where the device decodes them to the same pixels within a few levels;
    other pairs are still read here.

    Raises:
        ConfigError: If ``decode`` is ``nvjpeg`` and torchvision can't decode.
    """

    def __init__(self, dataset: TrainDataset, decode: Literal["cpu", "nvjpeg"] = "cpu") -> None:
        self.dataset = dataset
        self._sends_files = decode == "nvjpeg"
        if self._sends_files:
            require_decoder()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, keys: list[SampleKey]) -> TileBatch:
        """Make the batch of some keys; a loader calls this once per batch, and collates with :func:`identity`."""
        pairs, imgsz = self.dataset.pairs, self.dataset.imgsz
        plans = [self.dataset.plan(key) for key in keys]
        used = list(dict.fromkeys(tile.index for plan in plans for tile in plan.tiles))
        sizes_hw = {index: training_hw(pairs.size_hw(index), imgsz) for index in used}
        files = self._read_files(used)
        read = [index for index in used if index not in files]
        position_of = {index: position for position, index in enumerate([*read, *files])}
        counts = torch.tensor([len(plan.class_ids) for plan in plans])
        return TileBatch(
            self._read_images(read, list(sizes_hw.values())),
            *self._join_files(files, sizes_hw),
            *_stack_tiles(plans, position_of, sizes_hw),
            photometry=tuple(plan.photometry for plan in plans),
            boxes_xyxy=torch.from_numpy(np.concatenate([plan.boxes_xyxy for plan in plans])),
            class_ids=torch.from_numpy(np.concatenate([plan.class_ids for plan in plans])),
            batch_index=torch.repeat_interleave(torch.arange(len(plans)), counts),
            image_ids=torch.tensor([key.index + 1 for key in keys]),
            sizes_hw=torch.tensor([pairs.size_hw(key.index) for key in keys]),
        )

    def _read_files(self, used: Sequence[int]) -> dict[int, tuple[ByteArray, ByteArray]]:
        """Read the pairs that are sent as files."""
        if not self._sends_files:
            return {}
        files = ((index, read_encoded(self.dataset.pairs.records[index])) for index in used)
        return {index: both for index, both in files if both is not None}

    def _read_images(self, read: Sequence[int], sizes_hw: Sequence[tuple[int, int]]) -> Tensor:
        """Read pairs at training size, (P, h, w, 4), padded to the largest of the batch."""
        height, width = (max((size[axis] for size in sizes_hw), default=1) for axis in (0, 1))
        images: PixelArray = np.zeros((len(read), height, width, 4), pixel_dtype(self.dataset.pairs.records[0].format))
        for image, index in zip(images, read, strict=True):
            pixels = self.dataset.reader.read(index)
            image[: pixels.shape[0], : pixels.shape[1]] = pixels
        return torch.from_numpy(images)

    def _join_files(
        self, files: dict[int, tuple[ByteArray, ByteArray]], sizes_hw: dict[int, tuple[int, int]]
    ) -> tuple[Tensor, tuple[EncodedPair, ...]]:
        """Join all files to one tensor, because each tensor of a worker's batch costs the parent an open file."""
        ends = np.cumsum([0, *(len(file) for both in files.values() for file in both)]).tolist()
        pairs = []
        for position, index in enumerate(files):
            start, middle, stop = ends[2 * position : 2 * position + 3]
            record = self.dataset.pairs.records[index]
            spans = ((start, middle), (middle, stop))
            pairs.append(EncodedPair(record.rgb, record.ir, record.rgb_hw, record.ir_hw, sizes_hw[index], *spans))
        joined = np.concatenate([np.zeros(0, np.uint8), *(file for both in files.values() for file in both)])
        return torch.from_numpy(joined), tuple(pairs)


def identity(batch: _Batch) -> _Batch:
    """Collate a batch that is complete already."""
    return batch


def _stack_tiles(
    plans: Sequence[SamplePlan], position_of: dict[int, int], sizes_hw: dict[int, tuple[int, int]]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``image_index``, ``canvas_to_image`` and ``crop_xyxy`` of a batch."""
    shape = (max(len(plan.tiles) for plan in plans), len(plans))
    image_index = np.zeros(shape, np.int64)
    matrices = np.tile(np.eye(3), (*shape, 1, 1))
    crop_xyxy = np.tile(_EMPTY_CROP, (*shape, 1))
    for sample, plan in enumerate(plans):
        for slot, tile in enumerate(plan.tiles):
            height, width = sizes_hw[tile.index]
            # An upright tile is resized from its crop alone, as if nothing were beside it.
            crop = tile.crop or Window(0, 0, width, height)
            image_index[slot, sample] = position_of[tile.index]
            matrices[slot, sample] = tile.matrix
            crop_xyxy[slot, sample] = (crop.x0, crop.y0, crop.x1, crop.y1)
    # Coordinates are areas, and augment_batch counts pixels: the centre of pixel 0 lies at 0.5.
    back = (np.linalg.inv(matrices) @ scale_and_shift(1.0, 0.5, 0.5))[..., :2, :] - [[0, 0, 0.5], [0, 0, 0.5]]
    return torch.from_numpy(image_index), torch.from_numpy(back.astype(np.float32)), torch.from_numpy(crop_xyxy)
