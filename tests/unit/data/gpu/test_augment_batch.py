from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torchvision
from torch.nn import functional

from tests.support.gpu_batches import (
    CPU,
    GEOMETRIES,
    IMGSZ,
    PHOTOMETRY,
    SIZES_HW,
    STILL,
    Decode,
    assert_same_but_pixels,
    augmentation,
    composed_of,
    expected_of,
    keys_of,
    levels_apart,
    noisy,
    tiles_of,
)
from tests.support.pairs import LabelledPair, make_pairs, pairs_of, record_calls
from yolofuse.config.schema import AugmentConfig
from yolofuse.data.dataset import SampleKey, TrainDataset
from yolofuse.data.gpu import augment_batch as augment_module
from yolofuse.data.gpu import jpeg
from yolofuse.data.gpu.augment_batch import augment_batch
from yolofuse.data.images.read_pair import PAD
from yolofuse.data.index.pair_set import PairSet


def _ramp(index: int) -> LabelledPair:
    """R is a pixel's column, G its row, IR which image it is of."""
    height, width = SIZES_HW[index % 4]
    rows, columns = np.mgrid[:height, :width]
    bgr = np.stack([np.full_like(rows, 7), rows, columns], axis=-1).astype(np.uint8)
    return bgr, np.full((height, width), 10 * index, np.uint8), []


@pytest.mark.parametrize("mosaic", [True, False])
@pytest.mark.parametrize("kind", ["noisy", "smooth"])
@pytest.mark.parametrize("augment", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_compose__gives_the_pixels_of_the_cpu_path(
    augment: AugmentConfig, kind: str, mosaic: bool, png_pairs: PairSet, jpeg_pairs: PairSet
) -> None:
    dataset = TrainDataset(png_pairs if kind == "noisy" else jpeg_pairs, IMGSZ, augment, seed=1)
    keys = keys_of(mosaic)
    composed, expected = composed_of(dataset, keys), expected_of(dataset, keys)
    assert_same_but_pixels(composed, expected)
    assert len(expected.boxes_xyxy) > 5
    apart = levels_apart(composed, expected)
    assert apart.mean() < 0.25
    if augment.degrees:
        # OpenCV 4 warps in steps of 1/32 px, OpenCV 5 does not; a pixel on a tile's edge may fall to its neighbour.
        assert (apart > 5).float().mean() < 3e-4
    else:
        assert apart.max() < 1.01


@pytest.mark.parametrize("mosaic", [True, False])
@pytest.mark.parametrize("augment", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_compose__shows_each_place_where_the_plan_puts_it(tmp_path: Path, augment: AugmentConfig, mosaic: bool) -> None:
    """Compare with the plan's matrices, without the CPU path."""
    pairs = pairs_of(make_pairs(tmp_path, 4, 0, pair_at=_ramp))
    imgsz = 192  # larger than the images, so that a stored pixel is one of the file
    dataset = TrainDataset(pairs, imgsz, augment, seed=2)
    keys = keys_of(mosaic, 3, 4)
    pixels = (composed_of(dataset, keys).pixels * 255).numpy()
    rows, columns = np.mgrid[:imgsz, :imgsz]
    centres = np.stack([columns + 0.5, rows + 0.5, np.ones_like(rows)])
    for image, key in zip(pixels, keys, strict=True):
        owner, found = np.full((imgsz, imgsz), -1), np.zeros((2, imgsz, imgsz))
        tiles = dataset.plan(key).tiles
        for slot, tile in enumerate(tiles):
            height, width = pairs.size_hw(tile.index)
            x, y, _ = np.tensordot(np.linalg.inv(tile.matrix), centres, axes=1)
            inside = (x > 0) & (y > 0) & (x < width) & (y < height)
            window = np.zeros_like(inside)
            tile.window.view(window.view(np.uint8))[:] = 1
            inside &= window
            owner[inside] = slot
            found[:, inside] = np.stack([x, y])[:, inside]
        covered = owner >= 0
        assert covered.any()
        near = cv2.dilate((~covered).astype(np.uint8), np.ones((3, 3))) > 0
        for slot in range(len(tiles)):  # a seam between two images may belong to either
            near |= (cv2.dilate((owner == slot).astype(np.uint8), np.ones((3, 3))) > 0) & (owner != slot)
        shown, empty = covered & ~near, ~covered & (cv2.dilate(covered.astype(np.uint8), np.ones((3, 3))) == 0)
        indices = np.array([tile.index for tile in tiles])[owner]
        np.testing.assert_allclose(image[3][shown], 10 * indices[shown], atol=1e-3)
        np.testing.assert_allclose(image[:, empty], PAD, atol=1e-3)
        # Half a level of rounding, and half a pixel where an image's outermost pixel extends to its edge.
        assert np.abs(image[:2, shown] - (found[:, shown] - 0.5)).max() < 1.0
        assert np.abs(image[:2, shown] - (found[:, shown] - 0.5)).mean() < 0.3


def test_compose__tiles_leave_no_seam(tmp_path: Path) -> None:
    white: LabelledPair = (np.full((200, 200, 3), 255, np.uint8), np.full((200, 200), 255, np.uint8), [])
    pairs = pairs_of(make_pairs(tmp_path, 2, 0, pair_at=lambda index: white))
    dataset = TrainDataset(pairs, IMGSZ, augmentation(degrees=180.0, scale=0.2, translate=0.0), seed=5)
    pixels = composed_of(dataset, [SampleKey(epoch, 0, True) for epoch in range(50)]).pixels
    middle = slice(IMGSZ * 3 // 10, IMGSZ * 7 // 10)
    assert (pixels[:, :, middle, middle] == 1).all()


@pytest.mark.parametrize("depth", ["8 bits", "16 bits"])
@pytest.mark.parametrize("name", ["hsv_s", "ir_noise", "all"])
def test_compose__changes_colours_as_the_cpu_path(
    name: str, depth: str, png_pairs: PairSet, deep_pairs: PairSet
) -> None:
    strong = dict.fromkeys(PHOTOMETRY if name == "all" else [name], 0.5)
    pairs = png_pairs if depth == "8 bits" else deep_pairs
    dataset = TrainDataset(pairs, IMGSZ, augmentation(**strong, **STILL), seed=1)
    keys = [SampleKey(epoch, 3, False) for epoch in range(4)]  # image 3 is copied unchanged
    composed, expected = composed_of(dataset, keys), expected_of(dataset, keys)
    assert not torch.equal(expected.pixels[0], expected.pixels[1])
    apart = levels_apart(composed, expected, 255 if depth == "8 bits" else 65535)
    assert apart.max() <= 1.5
    assert (apart > 0.5).float().mean() < 0.04  # OpenCV's matrices of 8 bits are in fixed point


def test_compose__draws_the_same_noise(png_pairs: PairSet) -> None:
    dataset = TrainDataset(png_pairs, IMGSZ, augmentation(ir_noise=0.2), seed=4)
    keys = keys_of(mosaic=True)
    plain = TrainDataset(png_pairs, IMGSZ, augmentation(), seed=4)
    mine = composed_of(dataset, keys).ir - composed_of(plain, keys).ir
    theirs = expected_of(dataset, keys).ir - expected_of(plain, keys).ir
    for one, other in zip(mine, theirs, strict=True):
        assert torch.corrcoef(torch.stack([one.ravel(), other.ravel()]))[0, 1] > 0.99
    assert abs(torch.corrcoef(torch.stack([mine[0].ravel(), theirs[1].ravel()]))[0, 1]) < 0.2


@pytest.mark.parametrize("mosaic", [True, False])
def test_compose__keeps_16_bits(deep_pairs: PairSet, mosaic: bool) -> None:
    dataset = TrainDataset(deep_pairs, IMGSZ, GEOMETRIES["rotated"], seed=1)
    keys = keys_of(mosaic)
    batch = tiles_of(dataset, keys)
    assert batch.images.dtype == torch.uint16
    composed, expected = augment_batch(batch, CPU, IMGSZ), expected_of(dataset, keys)
    assert_same_but_pixels(composed, expected)
    assert levels_apart(composed, expected).mean() < 0.05
    assert len(np.unique(composed.ir.numpy())) > 1000


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_compose__returns_any_dtype(deep_pairs: PairSet, dtype: torch.dtype) -> None:
    batch = tiles_of(TrainDataset(deep_pairs, IMGSZ, AugmentConfig(), seed=1), keys_of(mosaic=True, epochs=1))
    composed = augment_batch(batch, CPU, IMGSZ, dtype)
    assert composed.pixels.dtype == dtype
    assert torch.equal(composed.pixels, augment_batch(batch, CPU, IMGSZ).pixels.to(dtype))


def test_compose__images_without_objects_make_no_boxes(tmp_path: Path) -> None:
    empty: Callable[[int], LabelledPair] = lambda index: (*noisy(index)[:2], [])  # noqa: E731
    dataset = TrainDataset(pairs_of(make_pairs(tmp_path, 3, 0, pair_at=empty)), IMGSZ, AugmentConfig(), seed=1)
    keys = keys_of(mosaic=True, num=3)
    composed = composed_of(dataset, keys)
    assert composed.boxes_xyxy.shape == (0, 4)
    assert_same_but_pixels(composed, expected_of(dataset, keys))


def test_compose__an_image_outside_the_canvas_leaves_it_grey(png_pairs: PairSet) -> None:
    dataset = TrainDataset(png_pairs, IMGSZ, augmentation(translate=1.0, scale=0.9), seed=1)
    beside = [key for key in keys_of(mosaic=False, epochs=200, num=2) if not dataset.plan(key).tiles][:3]
    shown = SampleKey(0, 3, True)
    alone = composed_of(dataset, beside)
    assert len(alone) == 3
    torch.testing.assert_close(alone.pixels, torch.full_like(alone.pixels, PAD / 255))
    mixed = composed_of(dataset, [beside[0], shown])
    assert torch.equal(mixed.pixels[0], alone.pixels[0])
    assert torch.equal(mixed.pixels[1], composed_of(dataset, [shown]).pixels[0])


@pytest.mark.parametrize("decode", ["cpu", "nvjpeg"])
def test_compose__chunks_change_no_byte(jpeg_pairs: PairSet, decode: Decode, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = tiles_of(TrainDataset(jpeg_pairs, IMGSZ, AugmentConfig(degrees=5.0), seed=1), keys_of(mosaic=True), decode)
    whole = augment_batch(batch, CPU, IMGSZ)
    largest = max(IMGSZ**2, batch.images.shape[1] * batch.images.shape[2])
    monkeypatch.setattr(augment_module, "_CHUNK_PIXELS", 3 * largest)
    monkeypatch.setattr(jpeg, "_CHUNK_PIXELS", 40_000)
    decoded = record_calls(monkeypatch, torchvision.io, "decode_jpeg")
    painted = record_calls(monkeypatch, functional, "grid_sample")
    assert torch.equal(augment_batch(batch, CPU, IMGSZ).pixels, whole.pixels)
    assert len(decoded) == (0 if decode == "cpu" else 2 * 4)
    assert len(painted) == 4 * 4  # four slots, ten samples by threes


@pytest.mark.gpu
@pytest.mark.parametrize("mosaic", [True, False])
@pytest.mark.parametrize("depth", ["8 bits", "16 bits"])
def test_gpu__composes_as_the_cpu_without_waiting(
    mosaic: bool, depth: str, png_pairs: PairSet, deep_pairs: PairSet
) -> None:
    augment = AugmentConfig(degrees=10.0, ir_noise=0.1)
    pairs = png_pairs if depth == "8 bits" else deep_pairs
    batch = tiles_of(TrainDataset(pairs, IMGSZ, augment, seed=1), keys_of(mosaic)).pin_memory()
    expected = augment_batch(batch, CPU, IMGSZ)
    augment_batch(batch, torch.device("cuda"), IMGSZ)  # the first call uploads the noise table
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        composed = augment_batch(batch, torch.device("cuda"), IMGSZ)
        halved = augment_batch(batch, torch.device("cuda"), IMGSZ, torch.float16)
    finally:
        torch.cuda.set_sync_debug_mode(mode)
    assert_same_but_pixels(composed, expected)
    apart = levels_apart(composed, expected)
    assert apart.mean() < 0.05
    assert (apart > 2.01).float().mean() < 3e-4
    assert torch.equal(halved.pixels, composed.pixels.to(torch.float16))
