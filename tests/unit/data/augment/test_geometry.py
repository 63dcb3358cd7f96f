from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.pairs import Picture, make_pairs, pairs_of, record_calls
from yolofuse.config.schema import AugmentConfig
from yolofuse.data.augment.geometry import clip_boxes, covered_window, paint, scale_and_shift
from yolofuse.data.augment.photometry import apply_photometry, color_matrix, draw_photometry
from yolofuse.data.dataset import EvalDataset, SampleKey, TrainDataset
from yolofuse.data.images.decode import reduction_for
from yolofuse.data.images.lru_reader import PairReader
from yolofuse.data.images.read_pair import PAD, read_pair

_IMGSZ = 128


def _still(**options: float) -> AugmentConfig:
    """Photometry off, but for what is given."""
    photometry = dict.fromkeys(("hsv_h", "hsv_s", "hsv_v", "ir_gain", "ir_bias", "ir_noise"), 0.0)
    return AugmentConfig.model_validate({**photometry, **options})


GEOMETRIES = {
    "scale and shift": _still(),
    "turned and sheared": _still(degrees=25.0, shear=8.0, flip_ud=0.5),
    "strong": _still(degrees=180.0, shear=20.0, scale=0.9, translate=0.4),
}


def _same_in_both(index: int) -> Picture:
    """A grey texture, the same in every channel."""
    noise = np.random.default_rng(index).integers(0, 256, (20, 30), dtype=np.uint8)
    grey = np.asarray(cv2.resize(noise, (240, 160)), np.uint8)
    return np.repeat(grey[..., None], 3, axis=2), grey, []


def _red_block(index: int) -> Picture:
    """One block that stands out in both modalities, away from the border."""
    bgr, ir = np.full((160, 240, 3), 20, np.uint8), np.full((160, 240), 20, np.uint8)
    x, y = 30 + 17 * index, 25 + 11 * index
    bgr[y : y + 60, x : x + 80] = (0, 0, 250)
    ir[y : y + 60, x : x + 80] = 250
    return bgr, ir, [(0, (x + 40) / 240, (y + 30) / 160, 80 / 240, 60 / 160)]


@pytest.mark.parametrize("mosaic", [True, False])
@pytest.mark.parametrize("augment", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_geometry__is_shared_to_the_pixel(tmp_path: Path, augment: AugmentConfig, mosaic: bool) -> None:
    pairs = pairs_of(make_pairs(tmp_path, 5, 0, picture=_same_in_both))
    dataset = TrainDataset(pairs, _IMGSZ, augment, seed=1)
    for epoch in range(5):
        image = dataset[SampleKey(epoch, 2, mosaic)].image
        assert image.std() > 10
        for channel in range(3):
            np.testing.assert_array_equal(image[..., channel], image[..., 3])


@pytest.mark.parametrize("mosaic", [True, False])
@pytest.mark.parametrize("suffixes", [(".png", ".png"), (".jpg", ".jpg"), (".jpg", ".png")])
@pytest.mark.parametrize("imgsz", [64, 128, 320])
def test_boxes__follow_the_pixels(tmp_path: Path, mosaic: bool, suffixes: tuple[str, str], imgsz: int) -> None:
    pairs = pairs_of(make_pairs(tmp_path, 4, 0, picture=_red_block, suffixes=suffixes))
    dataset = TrainDataset(pairs, imgsz, GEOMETRIES["scale and shift"], seed=3)
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
def test_boxes__bound_turned_pixels(tmp_path: Path, mosaic: bool) -> None:
    pairs = pairs_of(make_pairs(tmp_path, 4, 0, picture=_red_block))
    dataset = TrainDataset(pairs, _IMGSZ, GEOMETRIES["turned and sheared"], seed=3)
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
        assert hot.sum() < 0.02 * _IMGSZ**2  # what is left: slivers whose boxes were dropped


@pytest.mark.parametrize("degrees", [0.0, 180.0])
def test_mosaic__tiles_leave_no_seam(tmp_path: Path, degrees: float) -> None:
    """White square tiles cover the middle of the canvas wherever they meet; a seam would show the grey below."""
    white: Picture = (np.full((200, 200, 3), 255, np.uint8), np.full((200, 200), 255, np.uint8), [])
    pairs = pairs_of(make_pairs(tmp_path, 2, 0, picture=lambda index: white))
    dataset = TrainDataset(pairs, _IMGSZ, _still(degrees=degrees, scale=0.2, translate=0.0), seed=5)
    middle = slice(_IMGSZ * 3 // 10, _IMGSZ * 7 // 10)
    for epoch in range(100):
        assert (dataset[SampleKey(epoch, 0, True)].image[middle, middle] == 255).all()


def test_mosaic__tile_beside_the_canvas_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = pairs_of(make_pairs(tmp_path, 4, 0))
    dataset = TrainDataset(pairs, _IMGSZ, AugmentConfig(scale=0.99, translate=0.0), seed=0)
    decoded = record_calls(monkeypatch, PairReader, "read")
    for epoch in range(50):
        dataset[SampleKey(epoch, 0, True)]
    assert 50 <= len(decoded) < 4 * 50


@pytest.mark.parametrize("size_hw", [(64, 96), (48, 80)])
@pytest.mark.parametrize("reduction", [2, 4, 8])
@pytest.mark.parametrize("suffixes", [(".jpg", ".jpg"), (".png", ".png"), (".jpg", ".png")])
def test_reduced_decode__agrees_with_averaging(
    tmp_path: Path, size_hw: tuple[int, int], reduction: int, suffixes: tuple[str, str]
) -> None:
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    ramp = (x * 2 + y).astype(np.uint8)
    picture: Picture = (np.repeat(ramp[..., None], 3, axis=2), ramp, [])
    record = pairs_of(make_pairs(tmp_path, 1, 0, picture=lambda index: picture, suffixes=suffixes)).records[0]
    small = read_pair(record, (size_hw[0] // reduction, size_hw[1] // reduction))
    assert small.shape == (size_hw[0] // reduction, size_hw[1] // reduction, 4)
    # Pixel i of the small image is the mean of its block of file pixels.
    blocks = ramp.astype(float).reshape(small.shape[0], reduction, -1, reduction).mean(axis=(1, 3))
    for channel in (0, 3):
        assert np.abs(small[..., channel] - blocks).max() < 4


@pytest.mark.parametrize(("scale", "reduction"), [(2.0, 1), (0.51, 1), (0.5, 2), (0.3, 2), (0.25, 4), (0.01, 8)])
def test_reduction__never_magnifies(scale: float, reduction: int) -> None:
    assert reduction_for(scale, (64, 96)) == reduction


@pytest.mark.parametrize(("size_hw", "reduction"), [((64, 100), 4), ((62, 96), 2), ((63, 96), 1), ((64, 97), 1)])
def test_reduction__divides_both_sides(size_hw: tuple[int, int], reduction: int) -> None:
    assert reduction_for(0.01, size_hw) == reduction


def test_paint__whole_shift_moves_pixels_exactly() -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 4), dtype=np.uint8)
    canvas = np.full((10, 10, 4), PAD, np.uint8)
    matrix = scale_and_shift(1.0, 3.0, -2.0)
    window = covered_window(matrix, (6, 8), (10, 10))
    paint(canvas, image, matrix, window)
    expected = np.full((10, 10, 4), PAD, np.uint8)
    expected[:4, 3:] = image[2:, :7]
    np.testing.assert_array_equal(canvas, expected)


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
def test_boxes__too_little_left_is_dropped(box: tuple[float, ...], kept: bool) -> None:
    boxes_xyxy, class_ids = clip_boxes(np.array([box], np.float32), np.array([3]), (100, 100))
    assert class_ids.tolist() == [3] * kept
    assert boxes_xyxy.shape == (int(kept), 4)
    assert ((boxes_xyxy >= 0) & (boxes_xyxy <= 100)).all()


def _flat_image() -> np.ndarray:
    return np.full((32, 32, 4), (200, 100, 50, 90), np.uint8)


@pytest.mark.parametrize(
    ("options", "rgb_changes", "ir_changes"),
    [
        ({}, False, False),
        ({"hsv_h": 0.1}, True, False),
        ({"hsv_s": 0.5}, True, False),
        ({"hsv_v": 0.5}, True, False),
        ({"ir_gain": 0.5}, False, True),
        ({"ir_bias": 0.5}, False, True),
        ({"ir_noise": 0.2}, False, True),
    ],
)
def test_photometry__is_per_modality(options: dict[str, float], rgb_changes: bool, ir_changes: bool) -> None:
    image = _flat_image()
    apply_photometry(image, draw_photometry(_still(**options), np.random.default_rng(0)))
    assert bool((image[..., :3] != _flat_image()[..., :3]).any()) == rgb_changes
    assert bool((image[..., 3] != _flat_image()[..., 3]).any()) == ir_changes


def test_photometry__noise_has_the_asked_spread() -> None:
    image = np.full((256, 256, 4), 128, np.uint8)
    augment = _still(ir_noise=0.1)
    rng = np.random.default_rng(0)
    rng.uniform(-1, 1, 5)
    sigma = rng.uniform(0, 0.1) * 255
    apply_photometry(image, draw_photometry(augment, np.random.default_rng(0)))
    assert image[..., 3].std() == pytest.approx(sigma, rel=0.05)
    assert image[..., 3].mean() == pytest.approx(128, abs=0.5)


@pytest.mark.parametrize("hue", [0.0, 0.1, -0.3])
def test_color_matrix__keeps_grey(hue: float) -> None:
    np.testing.assert_allclose(color_matrix(hue, 1.7, 1.0) @ [100, 100, 100], [100] * 3, rtol=1e-5)


def test_color_matrix__third_of_a_turn_permutes_channels() -> None:
    np.testing.assert_allclose(color_matrix(1 / 3, 1.0, 1.0) @ [9, 0, 0], [0, 9, 0], atol=1e-5)  # red to green


@pytest.mark.parametrize("letterbox", ["rect", "square"])
@pytest.mark.parametrize("size_hw", [(160, 240), (97, 64), (300, 300), (31, 200)])
def test_letterbox__geometry_goes_there_and_back(tmp_path: Path, letterbox: str, size_hw: tuple[int, int]) -> None:
    pairs = pairs_of(make_pairs(tmp_path, 1, 0, size_hw))
    sample = EvalDataset(pairs, _IMGSZ, "rect" if letterbox == "rect" else "square")[0]
    height, width = sample.image.shape[:2]
    assert height % 32 == width % 32 == 0
    assert max(height, width) == _IMGSZ
    assert letterbox == "rect" or height == width
    gain, pad_left, pad_top = sample.letterbox
    back = (sample.boxes_xyxy - [pad_left, pad_top, pad_left, pad_top]) / gain
    x, y, w, h = pairs.labels(0)[0][0] * [size_hw[1], size_hw[0], size_hw[1], size_hw[0]]
    np.testing.assert_allclose(back[0], [x - w / 2, y - h / 2, x + w / 2, y + h / 2], atol=1e-3)
    # The bright rectangle stands in its box, and the rest of the canvas is padding in all four channels.
    (x0, y0, x1, y1) = sample.boxes_xyxy[0].round().astype(int)
    assert np.median(sample.image[y0:y1, x0:x1, 3]) > 200
    if round(size_hw[0] * gain) < height - 2:
        assert (sample.image[-1] == PAD).all() or (sample.image[0] == PAD).all()
