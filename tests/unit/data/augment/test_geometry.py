from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.gpu_batches import augmentation
from tests.support.pairs import LabelledPair, make_pairs, pairs_of
from yolofuse.config.schema import AugmentConfig
from yolofuse.data.augment.geometry import clip_boxes, covered_window, paint, paint_mean, scale_and_shift
from yolofuse.data.dataset import SampleKey, TrainDataset
from yolofuse.data.images.read_pair import PAD

_IMGSZ = 128


_GEOMETRIES = {
    "scale and shift": augmentation(),
    "rotated and sheared": augmentation(degrees=25.0, shear=8.0, flip_ud=0.5),
    "tilted": augmentation(perspective=0.001, degrees=10.0, flip_lr=0.5),
    "blended": augmentation(mixup=1.0),
    "cut": augmentation(cutmix=1.0),
    "strong": augmentation(degrees=180.0, shear=20.0, scale=0.9, translate=0.4),
}


def _same_in_both(index: int) -> LabelledPair:
    """A grey texture, the same in every channel."""
    noise = np.random.default_rng(index).integers(0, 256, (20, 30), dtype=np.uint8)
    grey = np.asarray(cv2.resize(noise, (240, 160)), np.uint8)
    return np.repeat(grey[..., None], 3, axis=2), grey, []


def _red_block(index: int) -> LabelledPair:
    """One block that stands out in both modalities, away from the border."""
    bgr, ir = np.full((160, 240, 3), 20, np.uint8), np.full((160, 240), 20, np.uint8)
    x, y = 30 + 17 * index, 25 + 11 * index
    bgr[y : y + 60, x : x + 80] = (0, 0, 250)
    ir[y : y + 60, x : x + 80] = 250
    return bgr, ir, [(0, (x + 40) / 240, (y + 30) / 160, 80 / 240, 60 / 160)]


@pytest.mark.parametrize("mosaic", [True, False])
@pytest.mark.parametrize("augment", _GEOMETRIES.values(), ids=_GEOMETRIES.keys())
def test_geometry__is_shared_to_the_pixel(tmp_path: Path, augment: AugmentConfig, mosaic: bool) -> None:
    pairs = pairs_of(make_pairs(tmp_path, 5, 0, pair_at=_same_in_both))
    dataset = TrainDataset(pairs, _IMGSZ, augment, seed=1)
    for epoch in range(5):
        image = dataset[SampleKey(epoch, 2, mosaic)].image
        assert image.std() > 10
        for channel in range(3):
            np.testing.assert_array_equal(image[..., channel], image[..., 3])


_FORMATS = {"png": (".png", ".png"), "jpg": (".jpg", ".jpg"), "jpg and png": (".jpg", ".png")}
_FAST = {("png", 128), ("jpg", 64), ("jpg and png", 320)}


def _mark(name: str, imgsz: int) -> tuple[pytest.MarkDecorator, ...]:
    return () if (name, imgsz) in _FAST else (pytest.mark.soak,)


_CASES = [
    *(
        pytest.param("scale and shift", mosaic, name, imgsz, marks=_mark(name, imgsz), id=f"{name}-{imgsz}-{mosaic}")
        for name in _FORMATS
        for imgsz in (64, 128, 320)
        for mosaic in (True, False)
    ),
    pytest.param("tilted", False, "png", 128, id="tilted"),
]


@pytest.mark.parametrize(("geometry", "mosaic", "formats", "imgsz"), _CASES)
def test_boxes__follow_the_pixels(tmp_path: Path, geometry: str, mosaic: bool, formats: str, imgsz: int) -> None:
    pairs = pairs_of(make_pairs(tmp_path, 4, 0, pair_at=_red_block, suffixes=_FORMATS[formats]))
    dataset = TrainDataset(pairs, imgsz, _GEOMETRIES[geometry], seed=3)
    checked = 0
    for epoch in range(12):
        for index in range(4):
            sample = dataset[SampleKey(epoch, index, mosaic)]
            for channel in (0, 3):
                hot = sample.image[..., channel] > 135
                for x0, y0, x1, y1 in sample.boxes_xyxy:
                    # The block's own pixels in and just around its box; a neighbour further away is another block.
                    left, top = max(int(x0) - 3, 0), max(int(y0) - 3, 0)
                    rows, columns = np.nonzero(hot[top : int(y1) + 4, left : int(x1) + 4])
                    found = (left + columns.min(), top + rows.min(), left + columns.max() + 1, top + rows.max() + 1)
                    np.testing.assert_allclose(found, (x0, y0, x1, y1), atol=1.6)
                    checked += 1
    assert checked > 60


@pytest.mark.parametrize("mosaic", [True, False])
def test_boxes__bound_rotated_pixels(tmp_path: Path, mosaic: bool) -> None:
    pairs = pairs_of(make_pairs(tmp_path, 4, 0, pair_at=_red_block))
    dataset = TrainDataset(pairs, _IMGSZ, _GEOMETRIES["rotated and sheared"], seed=3)
    for epoch in range(40):
        sample = dataset[SampleKey(epoch, epoch % 4, mosaic)]
        inside = np.zeros(sample.image.shape[:2], bool)
        for x0, y0, x1, y1 in sample.boxes_xyxy:
            inside[max(int(y0) - 2, 0) : int(y1) + 3, max(int(x0) - 2, 0) : int(x1) + 3] = True
            if not mosaic:
                hot = sample.image[..., 3] > 180
                for lines, (low, high) in ((hot.any(axis=0), (x0, x1)), (hot.any(axis=1), (y0, y1))):
                    (places,) = np.nonzero(lines)
                    np.testing.assert_allclose((places[0], places[-1] + 1), (low, high), atol=3)
        hot = (sample.image[..., 3] > 180) & ~inside
        assert hot.sum() < 0.02 * _IMGSZ**2  # the rest: slivers whose boxes were dropped


@pytest.mark.parametrize("degrees", [0.0, 180.0])
def test_mosaic__tiles_leave_no_seam(tmp_path: Path, degrees: float) -> None:
    """White square tiles cover the middle of the canvas at any meeting point; a seam would show the grey below."""
    white: LabelledPair = (np.full((200, 200, 3), 255, np.uint8), np.full((200, 200), 255, np.uint8), [])
    pairs = pairs_of(make_pairs(tmp_path, 2, 0, pair_at=lambda index: white))
    dataset = TrainDataset(pairs, _IMGSZ, augmentation(degrees=degrees, scale=0.2, translate=0.0), seed=5)
    middle = slice(_IMGSZ * 3 // 10, _IMGSZ * 7 // 10)
    for epoch in range(40):
        assert (dataset[SampleKey(epoch, 0, True)].image[middle, middle] == 255).all()


def test_paint__whole_shift_moves_pixels_exactly() -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 4), dtype=np.uint8)
    canvas = np.full((10, 10, 4), PAD, np.uint8)
    matrix = scale_and_shift(1.0, 3.0, -2.0)
    window = covered_window(matrix, (6, 8), (10, 10))
    paint(canvas, image, matrix, window)
    expected = np.full((10, 10, 4), PAD, np.uint8)
    expected[:4, 3:] = image[2:, :7]
    np.testing.assert_array_equal(canvas, expected)


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_paint_mean__averages_whole_factors_exactly(factor: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (6 * factor, 8 * factor, 4), dtype=np.uint8)
    canvas = np.zeros((6, 8, 4), np.uint8)
    matrix = scale_and_shift(1 / factor, 0.0, 0.0)
    paint_mean(canvas, image, matrix, covered_window(matrix, image.shape[:2], (6, 8)))
    expected = image.reshape(6, factor, 8, factor, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(canvas, expected, atol=1.5)  # rounded twice


@pytest.mark.parametrize("scale", [0.64, 0.4, 0.23])
def test_paint_mean__shows_no_pattern_that_is_too_fine(scale: float) -> None:
    """Lines of one pixel have the mean 127.5; a single bilinear sample swings far from it."""
    image = np.zeros((200, 200, 4), np.uint8)
    image[:, ::2] = 255
    side = int(200 * scale)
    matrix = scale_and_shift(scale, 0.0, 0.0)
    window = covered_window(matrix, (200, 200), (side, side))
    mean, sampled = np.zeros((side, side, 4), np.uint8), np.zeros((side, side, 4), np.uint8)
    paint_mean(mean, image, matrix, window)
    paint(sampled, image, matrix, window)
    inside = slice(2, side - 2)
    assert mean[:, inside].std() < 0.6 * sampled[:, inside].std()
    assert mean[:, inside].mean() == pytest.approx(127.5, abs=6)


def test_paint_mean__keeps_the_place_of_an_edge() -> None:
    image = np.zeros((100, 100, 4), np.uint8)
    image[:, 40:] = 200
    canvas = np.full((80, 80, 4), PAD, np.uint8)
    matrix = scale_and_shift(0.7, 5.0, 3.0)
    paint_mean(canvas, image, matrix, covered_window(matrix, (100, 100), (80, 80)))
    assert canvas[10, 5:75, 0].sum() / 200 == pytest.approx(75 - (40 * 0.7 + 5), abs=0.1)
    assert (canvas[:, 75:] == PAD).all()
    assert (canvas[:, :5] == PAD).all()


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ((10, 10, 30, 30), True),
        ((-20, 10, 30, 30), True),
        ((-300, 10, 20, 30), False),  # a sixteenth is left
        ((10, 10, 11.5, 30), False),  # too narrow
        ((0, 50, 100, 50.5), False),
        ((120, 10, 140, 30), False),  # outside
    ],
)
def test_clip_boxes__drops_those_that_are_mostly_hidden(box: tuple[float, ...], kept: bool) -> None:
    boxes_xyxy, class_ids = clip_boxes(np.array([box], np.float32), np.array([3]), (100, 100))
    assert class_ids.tolist() == [3] * kept
    assert boxes_xyxy.shape == (int(kept), 4)
    assert ((boxes_xyxy >= 0) & (boxes_xyxy <= 100)).all()
