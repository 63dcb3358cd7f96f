"""Define the batch of pairs that a model gets."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(slots=True)
class PairedBatch:
    """Stacked samples; models take the modalities as two arguments, ``model(batch.rgb, batch.ir)``.

    Attributes:
        pixels: (B, 4, H, W) in R, G, B, IR order; uint8 or uint16 as loaded, floating 0..1 after :meth:`to`.
        boxes_xyxy: float32 (M, 4) in pixels of the batch's images.
        class_ids: int64 (M,).
        batch_index: int64 (M,): which image of the batch each box belongs to.
        image_ids: int64 (B,).
        sizes_hw: int64 (B, 2): original height and width of each pair.
        letterboxes: float32 (B, 3): gain, pad_left, pad_top of each image.
        on_host: ``boxes_xyxy`` and ``batch_index`` on the CPU, to read shapes without waiting for the device; None
            where they were not kept.
    """

    pixels: Tensor
    boxes_xyxy: Tensor
    class_ids: Tensor
    batch_index: Tensor
    image_ids: Tensor
    sizes_hw: Tensor
    letterboxes: Tensor
    on_host: tuple[Tensor, Tensor] | None = None

    def __len__(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def rgb(self) -> Tensor:
        """Return the visible images, (B, 3, H, W), R G B: a view."""
        return self.pixels[:, :3]

    @property
    def ir(self) -> Tensor:
        """Return the thermal images, (B, 1, H, W): a view."""
        return self.pixels[:, 3:]

    def to(self, device: torch.device, dtype: torch.dtype = torch.float32) -> PairedBatch:
        """Return the batch on ``device`` with pixels scaled to 0..1; one copy for both modalities."""
        full_scale = 65535.0 if self.pixels.dtype == torch.uint16 else 255.0
        return replace(
            self,
            pixels=self.pixels.to(device, non_blocking=True).to(torch.float32).div_(full_scale).to(dtype),
            boxes_xyxy=self.boxes_xyxy.to(device, non_blocking=True),
            class_ids=self.class_ids.to(device, non_blocking=True),
            batch_index=self.batch_index.to(device, non_blocking=True),
            on_host=(self.boxes_xyxy, self.batch_index),
        )

    def pin_memory(self) -> PairedBatch:
        """Return the batch in page-locked memory, so that the copy to the device overlaps with compute."""
        return replace(
            self,
            pixels=self.pixels.pin_memory(),
            boxes_xyxy=self.boxes_xyxy.pin_memory(),
            class_ids=self.class_ids.pin_memory(),
            batch_index=self.batch_index.pin_memory(),
        )

    def scaled(self, pixels: Tensor, gain: float) -> PairedBatch:
        """Return the batch with other pixels, its box coordinates multiplied by ``gain``."""
        on_host = None if self.on_host is None else (self.on_host[0] * gain, self.on_host[1])
        return replace(self, pixels=pixels, boxes_xyxy=self.boxes_xyxy * gain, on_host=on_host)

    def split(self, parts: int) -> list[PairedBatch]:
        """Split the batch into up to ``parts`` micro-batches of whole pairs, in order."""
        if parts <= 1:
            return [self]
        size = -(-len(self) // parts)
        return [self._slice(slice(start, start + size)) for start in range(0, len(self), size)]

    def _slice(self, images: slice) -> PairedBatch:
        inside = (self.batch_index >= images.start) & (self.batch_index < images.stop)
        return replace(
            self,
            pixels=self.pixels[images],
            boxes_xyxy=self.boxes_xyxy[inside],
            class_ids=self.class_ids[inside],
            batch_index=self.batch_index[inside] - images.start,
            image_ids=self.image_ids[images],
            sizes_hw=self.sizes_hw[images],
            letterboxes=self.letterboxes[images],
            on_host=None,
        )
