"""Paint mosaics and apply geometric and photometric augmentation to a batch on the training device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from yolofuse.batch import PairedBatch
from yolofuse.data.augment.photometry import apply_photometry_batch
from yolofuse.data.gpu.jpeg import decode_into
from yolofuse.data.gpu.tile_batch import TileBatch
from yolofuse.data.images.read_pair import PAD

_CHUNK_PIXELS = 1 << 23  # of canvases that are painted at once; they take about 0.6 GiB
_EDGE = 1e-3  # px of an image; tiles that meet overlap by this, so that rounding leaves no grey line between them


def augment_batch(
    batch: TileBatch, device: torch.device, imgsz: int, dtype: torch.dtype = torch.float32
) -> PairedBatch:
    """Make the batch that the CPU path makes of the same keys, with pixels 0..1, on ``device``.

    Draws, boxes and noise are the same. Pixels agree within rounding, since OpenCV rounds after every step and this
    once; a pixel on the edge of a rotated tile may fall to its neighbour. All arithmetic is in float32 for any
    ``dtype`` of the result. Nothing here waits for the device, except the decoder of encoded pairs; the copy of a
    page-locked batch overlaps with compute. ``imgsz`` is that of the data set that the batch is of.

    Raises:
        DataError: If encoded files are damaged.
    """
    images = _images_on(batch, device)
    full_scale = 65535.0 if images.dtype == torch.uint16 else 255.0
    image_index, canvas_to_image, crop_xyxy = (
        values.to(device, non_blocking=True) for values in (batch.image_index, batch.canvas_to_image, batch.crop_xyxy)
    )
    pixels = torch.empty((len(batch), 4, imgsz, imgsz), dtype=dtype, device=device, memory_format=torch.channels_last)
    step = max(_CHUNK_PIXELS // max(imgsz**2, images.shape[1] * images.shape[2]), 1)
    for first in range(0, len(batch), step):
        chunk = slice(first, first + step)
        canvas = torch.full((len(pixels[chunk]), 4, imgsz, imgsz), PAD / 255 * full_scale, device=device)
        for slot in range(len(image_index)):
            tiles = _select(images, image_index[slot, chunk])
            _paint(canvas, tiles, canvas_to_image[slot, chunk], crop_xyxy[slot, chunk])
        apply_photometry_batch(canvas, batch.photometry[chunk], full_scale)
        pixels[chunk] = canvas.div_(full_scale)
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
    """Copy all images of a batch to a device, (U, h, w, 4); encoded ones are decoded there."""
    if not batch.encoded_pairs:
        return batch.images.to(device, non_blocking=True)
    count, *shape = batch.images.shape
    images = torch.zeros((count + len(batch.encoded_pairs), *shape), dtype=torch.uint8, device=device)
    images[:count].copy_(batch.images, non_blocking=True)
    decode_into(images[count:], batch.encoded, batch.encoded_pairs)
    return images


def _select(images: Tensor, image_index: Tensor) -> Tensor:
    """Return some of the images as floats.

    Shapes:
        images: (U, h, w, 4), image_index: (n,) -> float32 (n, 4, h, w), a view with channels last
    """
    if images.dtype == torch.uint16:  # few operations support it, and index_select not everywhere: bits are bits
        selected = images.view(torch.int16).index_select(0, image_index).view(torch.uint16)
    else:
        selected = images.index_select(0, image_index)
    return selected.to(torch.float32).permute(0, 3, 1, 2)


def _paint(canvas: Tensor, images: Tensor, canvas_to_image: Tensor, crop_xyxy: Tensor) -> None:
    """Resample one tile of each sample onto its canvas, in place; bilinear.

    The window of a tile needs no test of its own: it is the canvas pixels whose centres lie within the crop.

    Shapes:
        canvas, images: float32 (n, 4, S, S), (n, 4, h, w); canvas_to_image: (n, 2, 3), crop_xyxy: (n, 4)
    """
    positions = torch.arange(canvas.shape[-1], dtype=torch.float32, device=canvas.device)
    covered = None
    axes = []
    for axis, side in enumerate((images.shape[3], images.shape[2])):
        along_x, along_y, shift = (canvas_to_image[:, axis, column, None, None] for column in range(3))
        source = along_x * positions + along_y * positions[:, None] + shift  # (n, S, S)
        low, high = crop_xyxy[:, axis, None, None], crop_xyxy[:, axis + 2, None, None] - 1.0
        inside = (source >= low - (0.5 + _EDGE)) & (source < high + (0.5 + _EDGE))
        covered = inside if covered is None else covered & inside
        # Clamped to the crop here, since beyond it lie other pixels of the image, or its padding.
        axes.append((source.clamp_(low, high) + 0.5) * (2.0 / side) - 1.0)
    assert covered is not None
    sampled = functional.grid_sample(
        images, torch.stack(axes, dim=-1), mode="bilinear", padding_mode="border", align_corners=False
    )
    torch.where(covered[:, None], sampled, canvas, out=canvas)
