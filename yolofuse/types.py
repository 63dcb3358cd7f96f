"""The words every part speaks: a pair on disk, a sample, a batch, and what was detected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
Modality = Literal["rgb", "ir"]
ByteArray = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class PairRecord:
    """One scene through two cameras, as it lies on disk.

    Attributes:
        image_id: Stable integer id, unique within the split (1, 2, ... in the order of the sorted keys).
        key: Path of the pair relative to its folder, without extension: what RGB, IR and label share.
        rgb: File of the visible image.
        ir: File of the thermal image.
        label: YOLO txt file, or None where the pair has none (a background image).
        size_hw: Height and width of the pair in pixels; both modalities have it.
        tags: Free words for slices of the evaluation, such as ``{"daynight": "night"}``.
    """

    image_id: int
    key: str
    rgb: Path
    ir: Path
    label: Path | None
    size_hw: tuple[int, int]
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class PairedSample:
    """One training or evaluation sample, still on the CPU.

    Attributes:
        image: uint8 (H, W, 4): R, G, B, IR.
        boxes_xyxy: float32 (N, 4) in pixels of ``image``.
        class_ids: int64 (N,).
        image_id: The record's id.
        size_hw: Height and width of the original pair in pixels.
        letterbox: (gain, pad_left, pad_top): original pixel * gain + pad = pixel of ``image``. (1, 0, 0) in training.
    """

    image: ByteArray
    boxes_xyxy: FloatArray
    class_ids: IntArray
    image_id: int
    size_hw: tuple[int, int]
    letterbox: tuple[float, float, float] = (1.0, 0.0, 0.0)


@dataclass(slots=True)
class PairedBatch:
    """Samples stacked; from here on modality is two arguments, ``model(batch.rgb, batch.ir)``.

    Attributes:
        pixels: (B, 4, H, W) in R, G, B, IR order; uint8 as loaded, floating 0..1 after :meth:`to`.
        boxes_xyxy: float32 (M, 4) in pixels of the batch's images.
        class_ids: int64 (M,).
        batch_index: int64 (M,): which image of the batch each box belongs to.
        image_ids: int64 (B,).
        sizes_hw: int64 (B, 2): original height and width of each pair.
        letterboxes: float32 (B, 3): gain, pad_left, pad_top of each image.
    """

    pixels: Tensor
    boxes_xyxy: Tensor
    class_ids: Tensor
    batch_index: Tensor
    image_ids: Tensor
    sizes_hw: Tensor
    letterboxes: Tensor

    def __len__(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def rgb(self) -> Tensor:
        """The visible half, (B, 3, H, W), R G B: a view."""
        return self.pixels[:, :3]

    @property
    def ir(self) -> Tensor:
        """The thermal half, (B, 1, H, W): a view."""
        return self.pixels[:, 3:]

    def to(self, device: torch.device, dtype: torch.dtype = torch.float32) -> PairedBatch:
        """The batch on ``device`` with pixels scaled to 0..1; one copy for both modalities."""
        pixels = self.pixels.to(device, non_blocking=True).to(dtype).div_(255.0)
        return PairedBatch(
            pixels=pixels,
            boxes_xyxy=self.boxes_xyxy.to(device, non_blocking=True),
            class_ids=self.class_ids.to(device, non_blocking=True),
            batch_index=self.batch_index.to(device, non_blocking=True),
            image_ids=self.image_ids,
            sizes_hw=self.sizes_hw,
            letterboxes=self.letterboxes,
        )

    def pin_memory(self) -> PairedBatch:
        """The batch in page-locked memory, so that the copy to the device overlaps with compute."""
        return PairedBatch(
            pixels=self.pixels.pin_memory(),
            boxes_xyxy=self.boxes_xyxy.pin_memory(),
            class_ids=self.class_ids.pin_memory(),
            batch_index=self.batch_index.pin_memory(),
            image_ids=self.image_ids,
            sizes_hw=self.sizes_hw,
            letterboxes=self.letterboxes,
        )


@dataclass(frozen=True, slots=True)
class Detections:
    """What was found in one pair, best first.

    Attributes:
        image_id: The record's id.
        boxes_xyxy: float32 (N, 4) in original image pixels.
        scores: float32 (N,) in 0..1.
        class_ids: int64 (N,), counted from 0.
    """

    image_id: int
    boxes_xyxy: FloatArray
    scores: FloatArray
    class_ids: IntArray

    def __len__(self) -> int:
        return len(self.scores)
