"""Mosaic, geometry and colours of a batch in one go, on the device that trains."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from yolofuse.data.augment.photometry import NOISE_MEAN, NOISE_STD, noise_grain
from yolofuse.data.gpu.batch import TileBatch, TileDataset, unchanged
from yolofuse.data.gpu.jpeg import decode_into
from yolofuse.data.images.read_pair import PAD
from yolofuse.types import PairedBatch

__all__ = ["TileBatch", "TileDataset", "compose", "unchanged"]

_CHUNK_PIXELS = 1 << 23  # of canvases that are painted at once; they take about 0.6 GiB
_EDGE = 1e-3  # px of an image; tiles that meet overlap by this, so that rounding leaves no grey line between them


def compose(batch: TileBatch, device: torch.device, imgsz: int, dtype: torch.dtype = torch.float32) -> PairedBatch:
    """The batch that the CPU path would have made of the same keys, with pixels 0..1, on ``device``.

    Draws, boxes and noise are the same. Pixels agree within rounding, since OpenCV rounds after every step and this
    once; a pixel on the edge of a turned tile may fall to its neighbour. All arithmetic is in float32, whatever
    ``dtype`` is. Nothing here waits for the device, except the decoder of coded pairs.

    Args:
        batch: What to paint; page-locked, its copy overlaps with compute.
        device: Where to.
        imgsz: Side of a sample in pixels, as in the data set that the batch is of.
        dtype: Of the pixels.

    Raises:
        DataError: If coded files are damaged.
    """
    images = _images_on(batch, device)
    full_scale = 65535.0 if images.dtype == torch.uint16 else 255.0
    numbers, backs, bounds, colors, ir_changes = (
        values.to(device, non_blocking=True)
        for values in (batch.numbers, batch.backs, batch.bounds, batch.colors, batch.ir_changes)
    )
    pixels = torch.empty((len(batch), 4, imgsz, imgsz), dtype=dtype, device=device, memory_format=torch.channels_last)
    step = max(_CHUNK_PIXELS // max(imgsz**2, images.shape[1] * images.shape[2]), 1)
    for first in range(0, len(batch), step):
        part = slice(first, first + step)
        canvas = torch.full((len(pixels[part]), 4, imgsz, imgsz), PAD / 255 * full_scale, device=device)
        for slot in range(len(numbers)):
            _paint(canvas, _chosen(images, numbers[slot, part]), backs[slot, part], bounds[slot, part])
        _recolor(canvas[:, :3], colors[part], full_scale)
        _change_ir(canvas[:, 3], ir_changes[part], batch.noise_firsts[part].tolist(), full_scale)
        pixels[part] = canvas.div_(full_scale)
    return PairedBatch(
        pixels=pixels,
        boxes_xyxy=batch.boxes_xyxy.to(device, non_blocking=True),
        class_ids=batch.class_ids.to(device, non_blocking=True),
        batch_index=batch.batch_index.to(device, non_blocking=True),
        image_ids=batch.image_ids,
        sizes_hw=batch.sizes_hw,
        letterboxes=torch.tensor([[1.0, 0.0, 0.0]]).repeat(len(batch), 1),
        on_host=(batch.boxes_xyxy, batch.batch_index),
    )


def _images_on(batch: TileBatch, device: torch.device) -> Tensor:
    """All images of a batch, (U, h, w, 4); coded ones are decoded."""
    if not batch.coded_pairs:
        return batch.images.to(device, non_blocking=True)
    count, *shape = batch.images.shape
    images = torch.zeros((count + len(batch.coded_pairs), *shape), dtype=torch.uint8, device=device)
    images[:count].copy_(batch.images, non_blocking=True)
    decode_into(images[count:], batch.coded, batch.coded_pairs)
    return images


def _chosen(images: Tensor, numbers: Tensor) -> Tensor:
    """Some images as floats, in place of the layout that files have.

    Shapes:
        images: (U, h, w, 4), numbers: (n,) -> float32 (n, 4, h, w), a view with channels last
    """
    if images.dtype == torch.uint16:  # few operations know it, picking rows not everywhere; bits are bits
        chosen = images.view(torch.int16).index_select(0, numbers).view(torch.uint16)
    else:
        chosen = images.index_select(0, numbers)
    return chosen.to(torch.float32).permute(0, 3, 1, 2)


def _paint(canvas: Tensor, images: Tensor, backs: Tensor, bounds: Tensor) -> None:
    """Resample one tile of each sample onto its canvas, in place; bilinear.

    The window of a tile needs no test of its own: it is the pixels whose centres lie within the bounds.

    Shapes:
        canvas, images: float32 (n, 4, S, S), (n, 4, h, w); backs: (n, 2, 3), bounds: (n, 4)
    """
    places = torch.arange(canvas.shape[-1], dtype=torch.float32, device=canvas.device)
    covered = None
    axes = []
    for axis, side in enumerate((images.shape[3], images.shape[2])):
        along_x, along_y, shift = (backs[:, axis, column, None, None] for column in range(3))
        source = along_x * places + along_y * places[:, None] + shift  # (n, S, S)
        low, high = bounds[:, axis, None, None], bounds[:, axis + 2, None, None] - 1.0
        inside = (source >= low - (0.5 + _EDGE)) & (source < high + (0.5 + _EDGE))
        covered = inside if covered is None else covered & inside
        # Kept within the bounds here, since beyond them lie other pixels of the image, or of the filling.
        axes.append((source.clamp_(low, high) + 0.5) * (2.0 / side) - 1.0)
    assert covered is not None
    sampled = functional.grid_sample(
        images, torch.stack(axes, dim=-1), mode="bilinear", padding_mode="border", align_corners=False
    )
    torch.where(covered[:, None], sampled, canvas, out=canvas)


def _recolor(rgb: Tensor, colors: Tensor, full_scale: float) -> None:
    """Apply colour matrices in place.

    Written out, because a matrix product may be computed in TF32, which has too few digits for 16 bits.

    Shapes:
        rgb: (n, 3, S, S), colors: (n, 3, 3)
    """
    red, green, blue = (colors[:, :, channel, None, None] * rgb[:, channel, None] for channel in range(3))
    rgb.copy_(red.add_(green).add_(blue).round_().clamp_(0, full_scale))


def _change_ir(ir: Tensor, changes: Tensor, noise_firsts: Sequence[int], full_scale: float) -> None:
    """Apply gain, bias and noise in place.

    Shapes:
        ir: (n, S, S), changes: (n, 3)
    """
    size = ir[0].numel()
    gain, bias, noise = (changes[:, column, None, None] for column in range(3))
    weight = full_scale / NOISE_STD * noise
    shift = full_scale * bias - NOISE_MEAN * weight
    table = _grain_table(size, ir.device)
    # The places are known on the CPU, so that the cuts are views and nothing is indexed.
    grain = torch.stack([table[first : first + size] for first in noise_firsts]).view(ir.shape).to(ir.dtype)
    ir.mul_(gain).add_(grain.mul_(weight)).add_(shift).round_().clamp_(0, full_scale)


@lru_cache(maxsize=4)
def _grain_table(size: int, device: torch.device) -> Tensor:
    """The whole table of noise for frames of ``size`` pixels: its first and its last cut, end to end."""
    return torch.from_numpy(np.concatenate([noise_grain(size, 0.0), noise_grain(size, 1.0)])).to(device)
