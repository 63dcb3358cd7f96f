"""Batches whose pixels are still those of the files: what a loader sends where the device does the augmentation."""

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
from yolofuse.data.augment.sample_plan import SamplePlan
from yolofuse.data.dataset import SampleKey, TrainDataset
from yolofuse.data.gpu.jpeg import CodedPair, read_coded, require_decoder
from yolofuse.data.images.read_pair import pixel_dtype, training_hw
from yolofuse.types import ByteArray, PixelArray

_Batch = TypeVar("_Batch")
_NOWHERE = np.array([0, 0, -1, -1], np.float32)


@dataclass(slots=True)
class TileBatch:
    """Samples before their pixels: images once each, and which part of which goes where, in which colours.

    A sample has up to K tiles, painted in order; K is that of the sample with the most.

    Attributes:
        images: uint8 or uint16 (P, h, w, 4): pairs at training size, R, G, B, IR; smaller ones are filled up with 0.
        coded: uint8 (bytes,): the files of further pairs.
        coded_pairs: What ``coded`` holds; the first of them counts as image P, the next as P + 1.
        numbers: int64 (K, B): which image a tile shows.
        backs: float32 (K, B, 2, 3): from a canvas pixel to a pixel of the image, centres as whole numbers.
        bounds: float32 (K, B, 4): x0, y0, x1, y1: the image's pixels that are shown; x1 < x0 where there is no tile.
        colors: float32 (B, 3, 3): for R, G, B columns.
        ir_changes: float32 (B, 3): gain, bias and noise, see ``Photometry``.
        noise_firsts: int64 (B,): where in the table of noise a sample's cut starts.
        boxes_xyxy: float32 (M, 4), and so on: as in ``PairedBatch``.
        class_ids: int64 (M,).
        batch_index: int64 (M,).
        image_ids: int64 (B,).
        sizes_hw: int64 (B, 2).
    """

    images: Tensor
    coded: Tensor
    coded_pairs: tuple[CodedPair, ...]
    numbers: Tensor
    backs: Tensor
    bounds: Tensor
    colors: Tensor
    ir_changes: Tensor
    noise_firsts: Tensor
    boxes_xyxy: Tensor
    class_ids: Tensor
    batch_index: Tensor
    image_ids: Tensor
    sizes_hw: Tensor

    def __len__(self) -> int:
        return len(self.image_ids)

    def pin_memory(self) -> TileBatch:
        """The batch in page-locked memory, so that the copy to the device overlaps with compute."""
        pinned = copy(self)
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor) and field.name != "coded":  # that is read by the decoder's host half
                setattr(pinned, field.name, value.pin_memory())
        return pinned


class TileDataset(Dataset[TileBatch]):
    """The samples of a training data set, batch by batch, for ``device.compose``.

    An image that several samples of a batch show is read and sent once: see ``train.augment.mosaic_pool``.
    """

    def __init__(self, dataset: TrainDataset, decode: Literal["cpu", "nvjpeg"] = "cpu") -> None:
        """Keep what batches are made of.

        Args:
            dataset: Decides about samples, and reads pairs.
            decode: ``nvjpeg`` sends JPEG files as they are, wherever the device makes the same pixels of them within
                a few levels; other pairs are still read here.

        Raises:
            ConfigError: If ``nvjpeg`` is wanted and torchvision can't decode.
        """
        self.dataset = dataset
        self._keeps_coded = decode == "nvjpeg"
        if self._keeps_coded:
            require_decoder()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, keys: list[SampleKey]) -> TileBatch:
        """The batch of some keys. A loader calls this once per batch, and needs :func:`unchanged` to collate."""
        pairs, imgsz = self.dataset.pairs, self.dataset.imgsz
        plans = [self.dataset.plan(key) for key in keys]
        used = list(dict.fromkeys(tile.index for plan in plans for tile in plan.tiles))
        sizes_hw = {index: training_hw(pairs.size_hw(index), imgsz) for index in used}
        files = self._coded_files(used)
        read = [index for index in used if index not in files]
        images = self._images(read, list(sizes_hw.values()))
        number_of = {index: number for number, index in enumerate([*read, *files])}
        coded, coded_pairs = self._joined(files, sizes_hw)
        counts = torch.tensor([len(plan.class_ids) for plan in plans])
        changes = [(p.photometry.ir_gain, p.photometry.ir_bias, p.photometry.ir_noise) for p in plans]
        colors = [np.eye(3) if plan.photometry.color is None else plan.photometry.color for plan in plans]
        return TileBatch(
            images,
            coded,
            coded_pairs,
            *_geometry(plans, number_of, sizes_hw),
            colors=torch.from_numpy(np.stack(colors).astype(np.float32)),
            ir_changes=torch.tensor(changes, dtype=torch.float32),
            noise_firsts=torch.tensor([int(plan.photometry.noise_start * imgsz**2) for plan in plans]),
            boxes_xyxy=torch.from_numpy(np.concatenate([plan.boxes_xyxy for plan in plans])),
            class_ids=torch.from_numpy(np.concatenate([plan.class_ids for plan in plans])),
            batch_index=torch.repeat_interleave(torch.arange(len(plans)), counts),
            image_ids=torch.tensor([key.index + 1 for key in keys]),
            sizes_hw=torch.tensor([pairs.size_hw(key.index) for key in keys]),
        )

    def _coded_files(self, used: Sequence[int]) -> dict[int, tuple[ByteArray, ByteArray]]:
        if not self._keeps_coded:
            return {}
        files = ((index, read_coded(self.dataset.pairs.records[index])) for index in used)
        return {index: both for index, both in files if both is not None}

    def _images(self, read: Sequence[int], sizes_hw: Sequence[tuple[int, int]]) -> Tensor:
        """Pairs at training size, (P, h, w, 4), with room for the largest of the batch."""
        height, width = (max((size[axis] for size in sizes_hw), default=1) for axis in (0, 1))
        images: PixelArray = np.zeros((len(read), height, width, 4), pixel_dtype(self.dataset.pairs.records[0].format))
        for image, index in zip(images, read, strict=True):
            pixels = self.dataset.reader.read(index)
            image[: pixels.shape[0], : pixels.shape[1]] = pixels
        return torch.from_numpy(images)

    def _joined(
        self, files: dict[int, tuple[ByteArray, ByteArray]], sizes_hw: dict[int, tuple[int, int]]
    ) -> tuple[Tensor, tuple[CodedPair, ...]]:
        """All files end to end, because each tensor of a worker's batch costs the parent an open file."""
        ends = np.cumsum([0, *(len(file) for both in files.values() for file in both)]).tolist()
        pairs = []
        for position, index in enumerate(files):
            start, middle, stop = ends[2 * position : 2 * position + 3]
            record = self.dataset.pairs.records[index]
            spans = ((start, middle), (middle, stop))
            pairs.append(CodedPair(record.rgb, record.ir, record.rgb_hw, record.ir_hw, sizes_hw[index], *spans))
        joined = np.concatenate([np.zeros(0, np.uint8), *(file for both in files.values() for file in both)])
        return torch.from_numpy(joined), tuple(pairs)


def unchanged(batch: _Batch) -> _Batch:
    """A collate function for what is a batch already."""
    return batch


def _geometry(
    plans: Sequence[SamplePlan], number_of: dict[int, int], sizes_hw: dict[int, tuple[int, int]]
) -> tuple[Tensor, Tensor, Tensor]:
    """``numbers``, ``backs`` and ``bounds`` of a batch."""
    shape = (max(len(plan.tiles) for plan in plans), len(plans))
    numbers = np.zeros(shape, np.int64)
    matrices = np.tile(np.eye(3), (*shape, 1, 1))
    bounds = np.tile(_NOWHERE, (*shape, 1))
    for sample, plan in enumerate(plans):
        for slot, tile in enumerate(plan.tiles):
            height, width = sizes_hw[tile.index]
            # An upright tile is resized from its crop alone, as if nothing were beside it.
            part = tile.crop or Window(0, 0, width, height)
            numbers[slot, sample] = number_of[tile.index]
            matrices[slot, sample] = tile.matrix
            bounds[slot, sample] = (part.x0, part.y0, part.x1, part.y1)
    # Coordinates are areas, and pixels of the canvas are asked for by their numbers: the centre of 0 lies at 0.5.
    backs = (np.linalg.inv(matrices) @ scale_and_shift(1.0, 0.5, 0.5))[..., :2, :] - [[0, 0, 0.5], [0, 0, 0.5]]
    return torch.from_numpy(numbers), torch.from_numpy(backs.astype(np.float32)), torch.from_numpy(bounds)
