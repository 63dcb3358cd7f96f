"""Every way a data set may come: manifests, lists, COCO, other data sets, sizes that differ, deep thermal images."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml

from tests.support.pairs import make_pairs, pairs_of, random_picture, real_data, write_pair
from yolofuse.boxes import xywhn_to_xyxy
from yolofuse.config.schema import AugmentConfig
from yolofuse.data import load_descriptor, load_pairs, load_pairs_with_problems
from yolofuse.data.dataloader import collate
from yolofuse.data.dataset import EvalDataset, SampleKey, TrainDataset
from yolofuse.data.images.read_pair import PAD, read_pair
from yolofuse.errors import DataError

_STILL = AugmentConfig(hsv_h=0, hsv_s=0, hsv_v=0, ir_gain=0, ir_bias=0, ir_noise=0, scale=0, translate=0)


def _descriptor(root: Path, splits: Mapping[str, object], **more: object) -> Path:
    file = root / "data.yaml"
    file.write_text(yaml.safe_dump({"root": ".", "names": ["person"], "splits": splits, **more}))
    return file


def _folders(split: str = "train", **more: object) -> dict[str, object]:
    return {"rgb": f"rgb/{split}", "ir": f"ir/{split}", "labels": f"labels/{split}", **more}


def _rows(root: Path, split: str = "train", count: int = 3) -> list[dict[str, str]]:
    keys = [f"{split}_{number:03d}" for number in range(count)]
    names = {"rgb": "rgb/{}/{}.png", "ir": "ir/{}/{}.png", "label": "labels/{}/{}.txt"}
    return [{column: name.format(split, key) for column, name in names.items()} for key in keys]


def _write_csv(file: Path, rows: list[dict[str, str]]) -> None:
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _write_jsonl(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


# Manifests


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_manifest__gives_the_pairs_of_its_folders(tmp_path: Path, suffix: str) -> None:
    from_folders = pairs_of(make_pairs(tmp_path, 3, 2))
    rows = [{**row, "split": split} for split, n in (("train", 3), ("val", 2)) for row in _rows(tmp_path, split, n)]
    manifest = tmp_path / f"pairs{suffix}"
    (_write_csv if suffix == ".csv" else _write_jsonl)(manifest, rows)
    part = {"manifest": manifest.name}
    pairs = pairs_of(_descriptor(tmp_path, {"train": part, "val": part}))
    assert [record.rgb for record in pairs.records] == [record.rgb for record in from_folders.records]
    np.testing.assert_array_equal(pairs.scan.boxes_xywhn, from_folders.scan.boxes_xywhn)
    assert len(pairs_of(_descriptor(tmp_path, {"train": part, "val": part}), "val")) == 2


def test_manifest__columns_and_tag_cells_become_tags(tmp_path: Path) -> None:
    make_pairs(tmp_path, 2, 0)
    rows = [
        {**row, "daynight": word, "tags": "weather=fog;"}
        for row, word in zip(_rows(tmp_path, count=2), "dn", strict=True)
    ]
    _write_csv(tmp_path / "pairs.csv", rows)
    records = pairs_of(_descriptor(tmp_path, {"train": {"manifest": "pairs.csv"}})).records
    assert [record.tags for record in records] == [{"daynight": word, "weather": "fog"} for word in "dn"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ir": "ir/train/none.png"}, r"pairs\.csv:3: no such file .*none\.png"),
        ({"ir": ""}, r"pairs\.csv:3: ir: empty or missing"),
        ({"ir": "../outside.png"}, r"pairs\.csv:3: ir: '\.\./outside\.png' leaves the root"),
        ({"ir": "/etc/passwd"}, r"pairs\.csv:3: ir: .* leaves the root"),
        ({"ir": "labels/train/train_001.txt"}, r"pairs\.csv:3: ir: .* is no image"),
        ({"label": "labels/train/none.txt"}, r"pairs\.csv:3: no such file .*none\.txt"),
        ({"rgb": "rgb/train/train_000.png"}, r"pairs\.csv:3: rgb/train/train_000 stands twice"),
        ({"tags": "night"}, r"pairs\.csv:3: tags: expected name=word"),
    ],
)
def test_manifest__mistake_is_named(tmp_path: Path, change: dict[str, str], message: str) -> None:
    make_pairs(tmp_path, 3, 0)
    rows = [{**row, "tags": ""} for row in _rows(tmp_path)]
    rows[1] |= change
    _write_csv(tmp_path / "pairs.csv", rows)
    with pytest.raises(DataError, match=message):
        pairs_of(_descriptor(tmp_path, {"train": {"manifest": "pairs.csv"}}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "no column rgb and ir; its columns are a, b"),
        ("rgb,ir\nrgb/train/train_000.png,ir/train/train_000.png,more\n", r":2: more cells than the header"),
        ("rgb,ir,split\nx.png,y.png,other\n", "no row has split 'train'"),
        ("", "no column rgb and ir; its columns are none"),
    ],
)
def test_manifest__unusable_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    make_pairs(tmp_path, 1, 0)
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        pairs_of(_descriptor(tmp_path, {"train": {"manifest": "pairs.csv"}}))


@pytest.mark.parametrize("line", ["{", "[1, 2]", "[" * 100_000, '{"rgb": 3, "ir": "x.png"}'])
def test_manifest__broken_json_line_is_named(tmp_path: Path, line: str) -> None:
    make_pairs(tmp_path, 1, 0)
    (tmp_path / "pairs.jsonl").write_text(f"\n{line}\n")
    with pytest.raises(DataError, match=r"pairs\.jsonl:2"):
        pairs_of(_descriptor(tmp_path, {"train": {"manifest": "pairs.jsonl"}}))


# Lists


@pytest.mark.parametrize(
    "line", ["train_001", "train_001.png", "./rgb/train/train_001.png", "rgb\\train\\train_001.png"]
)
def test_list__names_pairs_as_people_do(tmp_path: Path, line: str) -> None:
    make_pairs(tmp_path, 3, 0)
    (tmp_path / "train.txt").write_text(f"# chosen\n{line}\n\n")
    (tmp_path / "rgb" / "train" / "lonely.png").write_bytes(b"not listed, so not looked at")
    (record,) = pairs_of(_descriptor(tmp_path, {"train": _folders(list="train.txt")})).records
    assert record.key == "train_001"


def test_list__unknown_and_lonely_names_are_told(tmp_path: Path) -> None:
    make_pairs(tmp_path, 2, 0)
    (tmp_path / "ir" / "train" / "train_001.png").unlink()
    (tmp_path / "train.txt").write_text("train_000\nnowhere\ntrain_001.png\n")
    with pytest.raises(DataError, match="2 problems") as caught:
        pairs_of(_descriptor(tmp_path, {"train": _folders(list="train.txt")}))
    assert "train.txt:2: nowhere: no pair" in str(caught.value)
    assert "train.txt:3: train_001.png: has no partner" in str(caught.value)


# COCO


def _coco(root: Path, **more: object) -> None:
    images = [{"id": 7 + n, "file_name": f"train_{n:03d}.png", "width": 96, "height": 64} for n in (0, 1)]
    boxes = [
        {"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 20, 30, 40]},
        {"id": 2, "image_id": 7, "category_id": 3, "bbox": [0, 0, 90, 10], "iscrowd": 1},
        {"id": 3, "image_id": 8, "category_id": 3, "bbox": [-5, -5, 20, 20]},
    ]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 3, "name": "person"}], **more}
    (root / "gt.json").write_text(json.dumps(content))


def test_coco__boxes_regions_to_ignore_and_what_it_lists(tmp_path: Path) -> None:
    make_pairs(tmp_path, 3, 0)
    _coco(tmp_path)
    descriptor = _descriptor(tmp_path, {"train": {"rgb": "rgb/train", "ir": "ir/train", "coco": "gt.json"}})
    for pairs in (pairs_of(descriptor), pairs_of(descriptor)):  # read, and from the cache
        assert [record.key for record in pairs.records] == ["train_000", "train_001"]  # the third is not listed
        np.testing.assert_allclose(xywhn_to_xyxy(pairs.labels(0)[0], (64, 96)), [[10, 20, 40, 60]], atol=1e-4)
        np.testing.assert_allclose(xywhn_to_xyxy(pairs.ignored(0)[0], (64, 96)), [[0, 0, 90, 10]], atol=1e-4)
        np.testing.assert_allclose(xywhn_to_xyxy(pairs.labels(1)[0], (64, 96)), [[0, 0, 15, 15]], atol=1e-4)
        assert pairs.num_boxes == 2
        assert len(pairs.ignored(1)[1]) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"images": [{"id": 1, "file_name": "none.png", "width": 96, "height": 64}]},
            r"none\.png: no pair",
        ),
        ({"images": [{"id": 1, "file_name": "train_000.png", "width": 0, "height": 64}]}, "expected width and height"),
        ({"annotations": [{"image_id": 99, "category_id": 3, "bbox": [1, 1, 2, 2]}]}, r"annotations\[0\]: image_id"),
        ({"annotations": [{"image_id": 7, "category_id": 9, "bbox": [1, 1, 2, 2]}]}, "category_id: no category"),
        ({"annotations": [{"image_id": 7, "category_id": 3, "bbox": [1, 1, 0, 2]}]}, "must be above 0"),
        ({"annotations": [{"image_id": 7, "category_id": 3, "bbox": [200, 1, 5, 5]}]}, "lies outside its image"),
        ({"annotations": [{"image_id": 7, "category_id": 3, "bbox": [1, 2, "x", 4]}]}, r"expected \[x, y, width"),
        ({"annotations": [3]}, r"annotations\[0\]"),
        ({"categories": [{"id": 3, "name": "dog"}]}, "none of its categories is among names"),
        ({"images": None}, "no COCO ground truth"),
    ],
)
def test_coco__mistake_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    make_pairs(tmp_path, 2, 0)
    _coco(tmp_path, **change)
    with pytest.raises(DataError, match=message):
        pairs_of(_descriptor(tmp_path, {"train": {"rgb": "rgb/train", "ir": "ir/train", "coco": "gt.json"}}))


@pytest.mark.real
@pytest.mark.parametrize("name", ["roadscene-flir", "llvip-hr"])
def test_coco__real_files_say_what_the_txt_labels_say(tmp_path: Path, name: str) -> None:
    root = real_data(name)
    names = list(yaml.safe_load((root / "data.yaml").read_text())["names"].values())
    file = tmp_path / "data.yaml"
    splits = {"val": {"rgb": "images/val", "ir": "imagesIR/val", "coco": "annotations/coco_val.json"}}
    file.write_text(yaml.safe_dump({"root": str(root), "names": names, "splits": splits}))
    ours = load_pairs(load_descriptor(file), "val", cache_dir=tmp_path)
    txt = load_pairs(load_descriptor(root / "data.yaml"), "val", cache_dir=tmp_path)
    assert [record.key for record in ours.records] == [record.key for record in txt.records]
    for index in range(len(ours)):
        (one, classes), (two, expected) = ours.labels(index), txt.labels(index)
        order, other = np.lexsort(one.round(3).T), np.lexsort(two.round(3).T)
        np.testing.assert_allclose(one[order], two[other], atol=2e-3)
        np.testing.assert_array_equal(classes[order], expected[other])


# Several sources


def test_sources__are_joined_and_classes_go_by_name(tmp_path: Path) -> None:
    make_pairs(tmp_path / "ours", 2, 0, names=("person", "car"))
    make_pairs(tmp_path / "theirs", 3, 0, names=("dog", "pedestrian", "car"))
    file = tmp_path / "ours" / "data.yaml"
    include = {"descriptor": "../theirs/data.yaml", "name": "other", "classes": {"pedestrian": "person", "dog": None}}
    file.write_text(
        yaml.safe_dump({"root": ".", "names": ["person", "car"], "splits": {"train": [_folders(), include]}})
    )
    pairs = pairs_of(file)
    assert [record.key for record in pairs.records] == [
        *("1/train_000", "1/train_001"),
        *("other/train_000", "other/train_001", "other/train_002"),
    ]
    # Of three of theirs, one box each: dog is left out, pedestrian is our person, car our car.
    assert [pairs.labels(index)[1].tolist() for index in range(5)] == [[0], [1], [], [0], [1]]
    assert pairs.records[4].rgb == tmp_path / "theirs" / "rgb" / "train" / "train_002.png"


@pytest.mark.parametrize(
    ("include", "message"),
    [
        ({"descriptor": "../theirs/data.yaml"}, "its class 'dog' is unknown here"),
        ({"descriptor": "../theirs/data.yaml", "classes": {"cat": None}}, "'cat' is not among dog"),
        ({"descriptor": "../theirs/data.yaml", "classes": {"dog": None}, "split": "x"}, "has no 'x'; it has train"),
        ({"descriptor": "../none.yaml"}, "cannot be read"),
        ({"descriptor": "data.yaml"}, "includes itself"),
        ({"rgb": "rgb/train", "ir": "ir/train", "labels": "labels/train", "coco": "x"}, "exclude each other"),
        ({"manifest": "x.csv", "rgb": "rgb/train"}, "exclude each other"),
        (3, "expected {rgb"),
    ],
)
def test_sources__mistake_is_named(tmp_path: Path, include: object, message: str) -> None:
    make_pairs(tmp_path / "ours", 1, 0)
    make_pairs(tmp_path / "theirs", 1, 0, names=("dog",))
    with pytest.raises(DataError, match=message):
        load_descriptor(_descriptor(tmp_path / "ours", {"train": [_folders(), include]}))


def test_sources__that_include_each_other_are_refused(tmp_path: Path) -> None:
    for one, other in (("a", "b"), ("b", "a")):
        text = {"root": ".", "names": ["x"], "splits": {"train": {"descriptor": f"{other}.yaml"}}}
        (tmp_path / f"{one}.yaml").write_text(yaml.safe_dump(text))
    with pytest.raises(DataError, match="includes itself"):
        load_descriptor(tmp_path / "a.yaml")


# Sizes that differ


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


@pytest.mark.parametrize("frame", ["rgb", "ir"])
def test_stretch__both_modalities_and_boxes_meet_in_the_frame(tmp_path: Path, frame: str) -> None:
    _write_unequal(tmp_path, (280, 400), (100, 160), (0.25, 0.4, 0.5, 0.8))
    pairs = pairs_of(_descriptor(tmp_path, {"train": _folders()}, frame=frame, resize="stretch"))
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


def test_affine__lays_the_other_image_where_it_says(tmp_path: Path) -> None:
    """A thermal image of 60x40 that shows the part of a 200x100 visible one from (30, 20), twice enlarged."""
    rgb, ir = np.zeros((100, 200, 3), np.uint8), np.zeros((40, 60), np.uint8)
    rgb[40:60, 70:110] = 250
    ir[10:20, 20:40] = 250
    write_pair(tmp_path, "train", "pair", (rgb, ir, [(0, 0.45, 0.5, 0.2, 0.2)]))
    resize = {"affine": [[2, 0, 30], [0, 2, 20]]}
    (record,) = pairs_of(_descriptor(tmp_path, {"train": _folders()}, frame="rgb", resize=resize)).records
    pixels = read_pair(record)
    rows, columns = np.nonzero(pixels[..., 3] > 180)
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (70, 40, 110, 60)
    assert (pixels[:18, :, 3] == PAD).all()
    assert (pixels[:, :28, 3] == PAD).all()


@pytest.mark.parametrize("resize", ["crop", {"affine": [[1, 0, 0]]}, {"affine": [[0, 0, 1], [0, 0, 1]]}, 3])
def test_resize__mistake_is_named(tmp_path: Path, resize: object) -> None:
    make_pairs(tmp_path, 1, 0)
    with pytest.raises(DataError, match="resize"):
        load_descriptor(_descriptor(tmp_path, {"train": _folders()}, resize=resize))


def test_coco_sizes_of_the_other_modality__ask_for_its_frame(tmp_path: Path) -> None:
    _write_unequal(tmp_path, (280, 400), (100, 160), (0.25, 0.4, 0.5, 0.8))
    image = {"id": 1, "file_name": "pair.png", "width": 160, "height": 100}
    _coco(tmp_path, images=[image], annotations=[])
    split = {"rgb": "rgb/train", "ir": "ir/train", "coco": "gt.json"}
    with pytest.raises(DataError, match="the size of the other image: frame: ir"):
        pairs_of(_descriptor(tmp_path, {"train": split}, resize="stretch"))
    assert len(pairs_of(_descriptor(tmp_path, {"train": split}, resize="stretch", frame="ir"))) == 1


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


# Deep thermal images


def _write_deep(root: Path, name: str, counts: np.ndarray, index: int = 0) -> None:
    rgb, _, boxes = random_picture(index)
    write_pair(root, "train", name, (rgb, np.zeros((64, 96), np.uint8), boxes))
    (root / "ir" / "train" / f"{name}.png").unlink()
    suffix = ".tiff" if counts.dtype == np.float32 or index % 2 else ".png"
    assert cv2.imwrite(str(root / "ir" / "train" / f"{name}{suffix}"), counts)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_window__keeps_more_than_8_bits(tmp_path: Path, dtype: Any) -> None:
    counts = np.linspace(7000, 8000, 64 * 96).reshape(64, 96).astype(dtype)
    for index in range(2):
        _write_deep(tmp_path, f"pair{index}", counts, index)
    pairs = pairs_of(_descriptor(tmp_path, {"train": _folders()}, ir_window=[7200, 7800]))
    pixels = read_pair(pairs.records[0])
    assert pixels.dtype == np.uint16
    expected = ((counts.astype(np.float64) - 7200) / 600).clip(0, 1)
    np.testing.assert_allclose(pixels[..., 3] / 65535, expected, atol=1e-4)
    assert len(np.unique(pixels[..., 3])) > 256
    np.testing.assert_array_equal(pixels[..., :3] % 257, 0)  # 8 bits, spread over 16


def test_deep_batches__carry_the_levels_to_the_tensor(tmp_path: Path) -> None:
    counts = np.linspace(7000, 8000, 64 * 96).reshape(64, 96).astype(np.uint16)
    _write_deep(tmp_path, "pair", counts)
    pairs = pairs_of(_descriptor(tmp_path, {"train": _folders()}, ir_window=[7000, 8000]))
    for sample in (EvalDataset(pairs, 96)[0], TrainDataset(pairs, 96, _STILL, 0)[SampleKey(0, 0, False)]):
        batch = collate([sample]).to(torch.device("cpu"))
        assert len(np.unique(batch.ir.numpy())) > 512
        assert batch.pixels.min() >= 0
        assert batch.pixels.max() <= 1
    surrounding = batch.pixels[0, :, 0, 0]  # of the square training sample
    np.testing.assert_allclose(surrounding, [PAD / 255] * 4, atol=1e-6)


def test_deep_photometry__is_that_of_8_bits(tmp_path: Path) -> None:
    """The same picture in 8 and in 16 bits goes through the same changes, to a level or two."""
    for bits in (8, 16):
        counts = np.linspace(0, 250, 64 * 96).reshape(64, 96).astype(np.uint8)
        deep = counts if bits == 8 else counts.astype(np.uint16) * 257
        _write_deep(tmp_path / str(bits), "pair", deep)
    samples = []
    for bits, window in ((8, [0, 255]), (16, [0, 65535])):
        pairs = pairs_of(_descriptor(tmp_path / str(bits), {"train": _folders()}, ir_window=window))
        samples.append(TrainDataset(pairs, 64, AugmentConfig(), seed=3)[SampleKey(2, 0, True)])
    levels = samples[1].image.astype(np.float64) / 257
    assert np.abs(levels - samples[0].image).max() < 2.1
    np.testing.assert_allclose(samples[0].boxes_xyxy, samples[1].boxes_xyxy, atol=1e-4)


def test_percentiles__are_taken_once_over_the_training_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for index in range(4):
        _write_deep(tmp_path, f"pair{index}", rng.normal(7000, 100, (64, 96)).astype(np.uint16), index)
    (tmp_path / "val.txt").write_text("pair3\n")
    splits = {"train": _folders(), "val": _folders(list="val.txt")}
    descriptor = _descriptor(tmp_path, splits, ir_window={"percentiles": [5, 95]})
    windows = {split: pairs_of(descriptor, split).records[0].format.ir_window for split in ("train", "val")}
    assert windows["train"] == windows["val"]
    assert windows["train"] == pytest.approx((7000 - 164, 7000 + 164), abs=6)  # 1.645 sigma
    monkeypatch.setattr(
        "yolofuse.data.index.thermal_window._pixels", lambda file: pytest.fail("computed a second time")
    )
    assert pairs_of(descriptor).records[0].format.ir_window == windows["train"]
    known = {"data.yaml train 5..95": (1.0, 2.0)}
    again = load_pairs(load_descriptor(descriptor), "val", cache_dir=tmp_path / "cache", ir_windows=known)
    assert again.records[0].format.ir_window == (1.0, 2.0)


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ([8000, 7000], "ir_window: expected"),
        ([1], "ir_window: expected"),
        ({"percentiles": [99, 1]}, "ir_window: expected"),
        ({"percentiles": [1, 99], "split": "none"}, "no split 'none' to take percentiles over"),
        ("auto", "ir_window: expected"),
    ],
)
def test_window__mistake_is_named(tmp_path: Path, window: object, message: str) -> None:
    make_pairs(tmp_path, 1, 0)
    with pytest.raises(DataError, match=message):
        load_descriptor(_descriptor(tmp_path, {"train": _folders()}, ir_window=window))


def test_depths__mixed_under_one_window_are_told(tmp_path: Path) -> None:
    for index in range(3):
        _write_deep(tmp_path, f"pair{index}", np.full((64, 96), 7000 + index, np.uint16), index)
    make_pairs(tmp_path, 1, 0)
    with pytest.raises(DataError, match=r"train_000\.png: 8 bits, but most of splits\.train have 16"):
        pairs_of(_descriptor(tmp_path, {"train": _folders()}, ir_window=[7000, 8000]))


# Surveys


def test_survey__keeps_the_good_pairs_and_every_fault(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path, 5, 0)
    (tmp_path / "ir" / "train" / "train_001.png").unlink()
    (tmp_path / "rgb" / "train" / "train_002.png").write_bytes(b"no image")
    (tmp_path / "labels" / "train" / "train_003.txt").write_text("0 2 2 2 2\n")
    found = load_pairs_with_problems(load_descriptor(descriptor), "train", cache_dir=tmp_path)
    assert [record.key for record in found.pairs.records] == ["train_000", "train_004"]
    assert [len(found.pairs.labels(index)[1]) for index in (0, 1)] == [1, 1]
    assert sorted(problem.kind for problem in found.problems) == ["bad-label", "unpaired-rgb", "unreadable"]
