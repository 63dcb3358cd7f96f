from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from tests.support.descriptors import folders, write_coco, write_counts, write_descriptor
from tests.support.pairs import make_pairs, pairs_of
from yolofuse.data import load_descriptor, load_pairs
from yolofuse.data.images.read_pair import read_pair
from yolofuse.data.index.lenient_load import load_pairs_with_problems
from yolofuse.errors import DataError


def test_percentiles__are_computed_once_over_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for index in range(4):
        write_counts(tmp_path, f"pair{index}", rng.normal(7000, 100, (64, 96)).astype(np.uint16))
    (tmp_path / "val.txt").write_text("pair3\n")
    splits = {"train": folders(), "val": folders(list="val.txt")}
    descriptor = write_descriptor(tmp_path, splits, ir_window={"percentiles": [5, 95]})
    windows = {split: pairs_of(descriptor, split).records[0].format.ir_window for split in ("train", "val")}
    assert windows["train"] == windows["val"]
    assert windows["train"] == pytest.approx((7000 - 164, 7000 + 164), abs=6)  # 1.645 sigma
    monkeypatch.setattr("yolofuse.data.index.thermal_window.decode", lambda *_: pytest.fail("computed a second time"))
    assert pairs_of(descriptor).records[0].format.ir_window == windows["train"]
    known = {"data.yaml train 5..95": (1.0, 2.0)}
    again = load_pairs(load_descriptor(descriptor), "val", cache_dir=tmp_path / "cache", ir_windows=known)
    assert again.records[0].format.ir_window == (1.0, 2.0)


def test_windows__of_two_sets_that_are_both_called_data_yaml_stay_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, low in (("a", 7000), ("b", 20000)):
        write_counts(tmp_path / name, "pair", rng.integers(low, low + 1000, (64, 96)).astype(np.uint16))
        write_descriptor(tmp_path / name, {"train": folders()}, ir_window={"percentiles": [1, 99]})
    parts = [{"descriptor": "a/data.yaml", "name": "a"}, {"descriptor": "b/data.yaml", "name": "b"}]
    windows = [record.format.ir_window for record in pairs_of(write_descriptor(tmp_path, {"train": parts})).records]
    assert windows[0] == pytest.approx((7010, 7990), abs=40)
    assert windows[1] == pytest.approx((20010, 20990), abs=40)


def test_window__a_dead_border_line_does_not_weigh_more_than_its_pixels(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).integers(7000, 8000, (512, 640)).astype(np.uint16)
    counts[:, 0] = 0  # 0.16 % of the pixels
    write_counts(tmp_path, "pair", counts)
    pairs = pairs_of(write_descriptor(tmp_path, {"train": folders()}, ir_window={"percentiles": [0.5, 99.5]}))
    window = pairs.records[0].format.ir_window
    assert window is not None
    assert window[0] >= 7000


def test_window__is_computed_over_the_pairs_that_coco_lists(tmp_path: Path) -> None:
    for key, low in (("one", 7000), ("two", 20000)):
        write_counts(tmp_path, key, np.random.default_rng(0).integers(low, low + 500, (64, 96)).astype(np.uint16))
    write_coco(tmp_path / "train.json", {1: "one.png"})
    write_coco(tmp_path / "val.json", {1: "two.png"})
    splits = {split: {"rgb": "rgb/train", "ir": "ir/train", "coco": f"{split}.json"} for split in ("train", "val")}
    descriptor = write_descriptor(tmp_path, splits, ir_window={"percentiles": [1, 99]})
    for split in ("val", "train"):
        window = pairs_of(descriptor, split).records[0].format.ir_window
        assert window == pytest.approx((7005, 7495), abs=20)


def _window_of(
    tmp_path: Path, counts: np.ndarray, nodata: str = "", suffix: str = ".tiff"
) -> tuple[float, float] | None:
    """Return the window at 0.5 and 99.5 percent of one thermal image, whose tag GDAL_NODATA is ``nodata``."""
    write_counts(tmp_path, "pair", counts, suffix)
    if nodata:
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[42113] = nodata
        Image.fromarray(counts).save(tmp_path / "ir" / "train" / "pair.tiff", tiffinfo=tags)
    pairs = pairs_of(write_descriptor(tmp_path, {"train": folders()}, ir_window={"percentiles": [0.5, 99.5]}))
    return pairs.records[0].format.ir_window


@pytest.mark.parametrize(
    ("value", "nodata"),
    [(np.nan, ""), (np.inf, ""), (-np.inf, ""), (-9999, "-9999"), (-3.4e38, "-3.4e+38"), (np.inf, "1.7e308")],
)
def test_window__pixels_that_hold_no_measurement_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, value: float, nodata: str
) -> None:
    temperatures = np.random.default_rng(0).uniform(-10, 30, (64, 96)).astype(np.float32)
    temperatures[:48] = value  # three quarters
    with caplog.at_level("INFO"):
        assert _window_of(tmp_path, temperatures, nodata) == pytest.approx((-9.8, 29.8), abs=0.2)
    assert "75.00% of the pixels hold no measurement and are left out" in caplog.text


def test_window__the_nodata_of_counts_is_left_out(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).integers(7000, 8000, (64, 96)).astype(np.uint16)
    counts[:8] = 65535
    assert _window_of(tmp_path, counts, "65535") == pytest.approx((7005, 7995), abs=5)


@pytest.mark.parametrize(("value", "dtype"), [(-9999, np.float32), (0, np.uint16), (65535, np.uint16)])
def test_window__a_repeated_count_far_from_all_others_is_refused(tmp_path: Path, value: float, dtype: type) -> None:
    counts: np.ndarray = np.random.default_rng(0).uniform(7000, 8000, (64, 96)).astype(dtype)
    counts[:2] = value
    with pytest.raises(
        DataError, match=rf"data\.yaml.*: 3\.1% of the thermal pixels are {value} counts, far from .*give"
    ):
        _window_of(tmp_path, counts)


@pytest.mark.parametrize("repeated", [7000, 6500, 8000, 10000])
def test_window__a_repeated_count_near_the_others_is_kept(tmp_path: Path, repeated: int) -> None:
    counts = np.random.default_rng(0).integers(7000, 8000, (64, 96)).astype(np.uint16)
    counts[:16] = repeated
    window = _window_of(tmp_path, counts)
    assert window is not None
    assert repeated in window


def test_window__images_without_any_measurement_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the images are flat or hold no numbers"):
        _window_of(tmp_path, np.full((64, 96), np.nan, np.float32))


@pytest.mark.parametrize("window", [[3000, 13200], {"percentiles": [1, 99]}], ids=["counts", "percentiles"])
def test_window__of_counts_that_eight_bits_do_not_hold_is_refused(tmp_path: Path, window: object) -> None:
    descriptor = make_pairs(tmp_path, 2, 2)
    for file in sorted((tmp_path / "ir" / "train").iterdir()):
        counts = np.random.default_rng(0).integers(3000, 13200, (64, 96)).astype(np.uint16)
        assert cv2.imwrite(str(file), counts)
    descriptor = write_descriptor(tmp_path, {name: folders(name) for name in ("train", "val")}, ir_window=window)
    assert len(pairs_of(descriptor)) == 2
    message = r"ir/val/val_000\.png: 8 bits hold counts of 0 \.\. 255, but its ir_window is \[30\d+, 13\d+\]; leave"
    with pytest.raises(DataError, match=message):
        pairs_of(descriptor, "val")
    found = load_pairs_with_problems(load_descriptor(descriptor), "val", cache_dir=tmp_path / "cache")
    assert [problem.kind for problem in found.problems] == ["bit-depth"]


def test_window__of_eight_bits_stretches_them(tmp_path: Path) -> None:
    pairs = pairs_of(make_pairs(tmp_path, 1, 0, extra={"ir_window": [0, 230]}))
    assert read_pair(pairs.records[0])[..., 3].max() == 255
