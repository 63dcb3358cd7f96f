from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.support.descriptors import folders, write_counts, write_descriptor
from tests.support.pairs import LabelledPair, make_pairs, pairs_of, real_data, write_pair
from yolofuse.config.schema import AugmentConfig
from yolofuse.data import load_descriptor, load_pairs
from yolofuse.data.dataset import EvalDataset, SampleKey, TrainDataset
from yolofuse.data.images.read_pair import (
    PAD,
    fitted_hw,
    luma_and_ir,
    pad_value,
    read_pair,
    read_thumbnail,
    to_bytes,
    training_hw,
)
from yolofuse.data.index.pair_set import PairSet


@pytest.mark.parametrize("size_hw", [(64, 96), (48, 80)])
@pytest.mark.parametrize("reduction", [2, 4, 8])
@pytest.mark.parametrize("suffixes", [(".jpg", ".jpg"), (".png", ".png"), (".jpg", ".png")])
def test_read_pair__reduced_size_is_the_mean_of_blocks(
    tmp_path: Path, size_hw: tuple[int, int], reduction: int, suffixes: tuple[str, str]
) -> None:
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    ramp = (x * 2 + y).astype(np.uint8)
    sample: LabelledPair = (np.repeat(ramp[..., None], 3, axis=2), ramp, [])
    record = pairs_of(make_pairs(tmp_path, 1, 0, pair_at=lambda index: sample, suffixes=suffixes)).records[0]
    small = read_pair(record, (size_hw[0] // reduction, size_hw[1] // reduction))
    assert small.shape == (size_hw[0] // reduction, size_hw[1] // reduction, 4)
    # Pixel i of the small image is the mean of its block of file pixels.
    blocks = ramp.astype(float).reshape(small.shape[0], reduction, -1, reduction).mean(axis=(1, 3))
    for channel in (0, 3):
        assert np.abs(small[..., channel] - blocks).max() < 4


@pytest.mark.parametrize(
    ("size_hw", "expected"),
    [((64, 96), (64, 96)), ((120, 256), (60, 128)), ((1024, 1280), (128, 160)), ((97, 300), (97, 300))],
)
def test_training_hw__reduces_by_whole_factors_only(size_hw: tuple[int, int], expected: tuple[int, int]) -> None:
    assert training_hw(size_hw, 128) == expected


@pytest.mark.parametrize(("size_hw", "expected"), [((64, 96), (32, 48)), ((20, 30), (20, 30)), ((1, 480), (1, 48))])
def test_fitted_hw__never_enlarges(size_hw: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fitted_hw(size_hw, 48) == expected


def test_read_thumbnail__is_the_pair_in_8_bits(ten_pairs: PairSet) -> None:
    record = ten_pairs.records[3]
    np.testing.assert_array_equal(read_thumbnail(record, 200), read_pair(record))
    assert read_thumbnail(record, 48).shape == (32, 48, 4)


def test_luma_and_ir__splits_a_pair(ten_pairs: PairSet) -> None:
    pixels = read_thumbnail(ten_pairs.records[0], 96)
    luma, ir = luma_and_ir(pixels)
    np.testing.assert_allclose(luma, pixels[..., :3] @ [0.299, 0.587, 0.114], atol=1)
    np.testing.assert_array_equal(ir, pixels[..., 3])
    assert ir.flags.c_contiguous


def test_to_bytes__keeps_the_level_of_both_depths() -> None:
    deep = np.full((2, 2, 4), pad_value(np.dtype(np.uint16)), np.uint16)
    assert (to_bytes(deep) == PAD).all()
    shallow = np.full((2, 2, 4), PAD, np.uint8)
    assert to_bytes(shallow) is shallow


def _write_unequal(root: Path, rgb_hw: tuple[int, int], ir_hw: tuple[int, int], box: tuple[float, ...]) -> None:
    """One pair that shows one bright box, at the same place of both images in shares of their sides."""
    images = []
    for height, width in (rgb_hw, ir_hw):
        image = np.zeros((height, width), np.uint8)
        left, top, right, bottom = (round(share * side) for share, side in zip(box, (width, height) * 2, strict=True))
        image[top:bottom, left:right] = 250
        images.append(image)
    x0, y0, x1, y1 = box
    label = (0, (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0)
    write_pair(root, "train", "pair", (np.repeat(images[0][..., None], 3, 2), images[1], [label]))


_STILL = AugmentConfig(hsv_h=0, hsv_s=0, hsv_v=0, ir_gain=0, ir_bias=0, ir_noise=0, scale=0, translate=0)


@pytest.mark.parametrize("frame", ["rgb", "ir"])
def test_stretch__both_modalities_and_boxes_meet_in_the_frame(tmp_path: Path, frame: str) -> None:
    _write_unequal(tmp_path, (280, 400), (100, 160), (0.25, 0.4, 0.5, 0.8))
    pairs = pairs_of(write_descriptor(tmp_path, {"train": folders()}, frame=frame, resize="stretch"))
    size_hw = (280, 400) if frame == "rgb" else (100, 160)
    assert pairs.records[0].size_hw == size_hw
    assert read_pair(pairs.records[0]).shape == (*size_hw, 4)
    train = TrainDataset(pairs, 96, _STILL, seed=0)
    samples = [EvalDataset(pairs, 96)[0], train[SampleKey(0, 0, False)], train[SampleKey(0, 0, True)]]
    for sample in samples:
        assert len(sample.boxes_xyxy)
        x0, y0, x1, y1 = sample.boxes_xyxy[0]
        for channel in (0, 3):
            rows, columns = np.nonzero(sample.image[..., channel] > 180)
            inside = (columns > x0 - 3) & (columns < x1 + 3) & (rows > y0 - 3) & (rows < y1 + 3)
            found = (columns[inside].min(), rows[inside].min(), columns[inside].max() + 1, rows[inside].max() + 1)
            np.testing.assert_allclose(found, (x0, y0, x1, y1), atol=1.6)
    gain, left, top = samples[0].letterbox
    back = (samples[0].boxes_xyxy[0] - [left, top, left, top]) / gain
    np.testing.assert_allclose(back, np.array([0.25, 0.4, 0.5, 0.8]) * ([*size_hw[::-1]] * 2), atol=0.5)


def test_affine__places_the_other_image(tmp_path: Path) -> None:
    """A thermal image of 60x40 that shows the part of a 200x100 visible one from (30, 20), twice enlarged."""
    rgb, ir = np.zeros((100, 200, 3), np.uint8), np.zeros((40, 60), np.uint8)
    rgb[40:60, 70:110] = 250
    ir[10:20, 20:40] = 250
    write_pair(tmp_path, "train", "pair", (rgb, ir, [(0, 0.45, 0.5, 0.2, 0.2)]))
    resize = {"affine": [[2, 0, 30], [0, 2, 20]]}
    (record,) = pairs_of(write_descriptor(tmp_path, {"train": folders()}, frame="rgb", resize=resize)).records
    pixels = read_pair(record)
    rows, columns = np.nonzero(pixels[..., 3] > 180)
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (70, 40, 110, 60)
    assert (pixels[:18, :, 3] == PAD).all()
    assert (pixels[:, :28, 3] == PAD).all()


@pytest.mark.real
def test_high_resolution_visible_images__lie_on_their_thermal_partners(tmp_path: Path) -> None:
    """roadscene's imagesHR show what images show, 2.8 times larger in another aspect."""
    root = real_data("roadscene-flir")
    sets = {}
    for name in ("images", "imagesHR"):
        file = tmp_path / f"{name}.yaml"
        splits = {"val": {"rgb": f"{name}/val", "ir": "imagesIR/val", "labels": "labels/val"}}
        content = {"root": str(root), "names": ["person", "bicycle", "car"], "splits": splits}
        file.write_text(yaml.safe_dump({**content, "frame": "ir", "resize": "stretch"}))
        sets[name] = load_pairs(load_descriptor(file), "val", cache_dir=tmp_path)
    likeness = []
    for one, two in zip(sets["images"].records, sets["imagesHR"].records, strict=True):
        small, large = (read_pair(record).astype(np.float32) for record in (one, two))
        assert small.shape == large.shape
        np.testing.assert_array_equal(small[..., 3], large[..., 3])
        likeness.append(np.corrcoef(small[..., 1].ravel(), large[..., 1].ravel())[0, 1])
    assert np.median(likeness) > 0.95


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_window__keeps_more_than_8_bits(tmp_path: Path, dtype: Any) -> None:
    counts = np.linspace(7000, 8000, 64 * 96).reshape(64, 96).astype(dtype)
    for index in range(2):
        write_counts(tmp_path, f"pair{index}", counts, ".tiff" if index or dtype is np.float32 else ".png")
    pairs = pairs_of(write_descriptor(tmp_path, {"train": folders()}, ir_window=[7200, 7800]))
    pixels = read_pair(pairs.records[0])
    assert pixels.dtype == np.uint16
    expected = ((counts.astype(np.float64) - 7200) / 600).clip(0, 1)
    np.testing.assert_allclose(pixels[..., 3] / 65535, expected, atol=1e-4)
    assert len(np.unique(pixels[..., 3])) > 256
    np.testing.assert_array_equal(pixels[..., :3] % 257, 0)  # 8 bits, spread over 16
