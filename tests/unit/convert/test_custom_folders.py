"""Pairs of any layout: VOC, COCO and YOLO labels, and what a round trip keeps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.convert_trees import coco, descriptor, image, keys, labels, pixels, record, text, voc
from yolofuse.convert import ClassChoice, prepare
from yolofuse.convert.conversion_plan import Json
from yolofuse.errors import DataError

_FOLDERS: dict[str, Json] = {"rgb": "rgb", "ir": "ir"}


def _pairs(root: Path, *names: str, ir_size: tuple[int, int] = (64, 48)) -> Path:
    for name in names:
        image(root / "rgb" / f"{name}.jpg")
        image(root / "ir" / f"{name}.png", ir_size, gray=True)
    return root


def test_voc__classes_are_found_and_sorted(tmp_path: Path) -> None:
    src = _pairs(tmp_path / "src", "a", "b", "c", "d", "e")
    for name in "abcde":
        voc(src / "xml" / f"{name}.xml", [("van", 1, 2, 3, 4), ("bike", 5, 6, 7, 8)])
    prepare("voc", src, tmp_path / "out", options={**_FOLDERS, "xml": "xml"})
    assert descriptor(tmp_path / "out")["names"] == {0: "bike", 1: "van"}
    [split] = [split for split in ("train", "val") if "c" in keys(tmp_path / "out", split)]
    found = [pixels(line) for line in labels(tmp_path / "out", f"labels/{split}/c.txt")]
    assert found == [(1, [1, 2, 3, 4]), (0, [5, 6, 7, 8])]
    assert len(keys(tmp_path / "out", "val")) == 1  # a fifth


def test_voc__dropped_classes_are_not_among_the_names(tmp_path: Path) -> None:
    src = _pairs(tmp_path / "src", "a", "b", "c")
    for name in "abc":
        voc(src / "xml" / f"{name}.xml", [("van", 1, 2, 3, 4), ("bike", 5, 6, 7, 8)])
    options = {**_FOLDERS, "xml": "xml"}
    prepare("voc", src, tmp_path / "out", options=options, choice=ClassChoice(drop=("bike",)))
    assert descriptor(tmp_path / "out")["names"] == {0: "van"}
    with pytest.raises(DataError, match="unknown class 'bike'; known are van"):
        prepare("voc", src, tmp_path / "out", options=options, choice=ClassChoice(("van",)))


def test_splits__stand_for_themselves_in_folders(tmp_path: Path) -> None:
    src = tmp_path / "src"
    for split, name in (("train", "a"), ("test", "b")):
        image(src / split / "color" / f"{name}.jpg")
        image(src / split / "thermal" / f"{name}.jpg", gray=True)
        coco(src / f"{split}.json", {f"{name}.jpg": [(5, [1, 2, 3, 4])]}, {5: "car"})
    options: dict[str, Json] = {"rgb": "{split}/color", "ir": "{split}/thermal", "json": "{split}.json"}
    prepare("coco", src, tmp_path / "out", options={**options, "splits": ["train", "test"]})
    assert keys(tmp_path / "out", "train") == ["a"]
    assert [pixels(line) for line in labels(tmp_path / "out", "labels/test/b.txt")] == [(0, [1, 2, 4, 6])]


@pytest.mark.parametrize(("unlabelled", "num_pairs"), [("background", 3), ("leave-out", 2)])
def test_unlabelled__background_or_left_out_only_on_demand(tmp_path: Path, unlabelled: str, num_pairs: int) -> None:
    src = _pairs(tmp_path / "src", "a", "b", "c")
    coco(src / "all.json", {"a.jpg": [], "sub/b.jpg": [(1, [1, 2, 3, 4])], "gone.jpg": []}, {1: "car"})
    options: dict[str, Json] = {**_FOLDERS, "json": "all.json", "val_share": 0.5}
    with pytest.raises(DataError, match=r"c.jpg: no labels; add them, or set --unlabelled"):
        prepare("coco", src, tmp_path / "out", options=options)
    prepare("coco", src, tmp_path / "out", options={**options, "unlabelled": unlabelled})
    counts = record(tmp_path / "out")["counts"]["labels"]
    assert sum(found["pairs"] for found in counts.values()) == num_pairs
    assert sum(found["boxes"] for found in counts.values()) == 1
    assert record(tmp_path / "out")["left_out"]["records of the COCO file without a pair"]["first"] == ["gone.jpg"]


def test_stretch__labels_are_in_the_pixels_of_the_frame(tmp_path: Path) -> None:
    src = _pairs(tmp_path / "src", "a", "b", ir_size=(32, 24))
    for name in "ab":
        voc(src / "xml" / f"{name}.xml", [("car", 8, 6, 16, 12)], size_wh=(32, 24))
    options: dict[str, Json] = {**_FOLDERS, "xml": "xml", "val_share": 0.5, "frame": "ir"}
    with pytest.raises(DataError, match=r"sizes of the pair differ .*--resize stretch"):
        prepare("voc", src, tmp_path / "out", options=options)
    prepare("voc", src, tmp_path / "out", options={**options, "stretch": True})
    [split] = [split for split in ("train", "val") if "a" in keys(tmp_path / "out", split)]
    assert labels(tmp_path / "out", f"labels/{split}/a.txt") == [[0, 0.375, 0.375, 0.25, 0.25]]
    assert (descriptor(tmp_path / "out")["frame"], descriptor(tmp_path / "out")["resize"]) == ("ir", "stretch")


def test_yolo__needs_class_names(tmp_path: Path) -> None:
    src = _pairs(tmp_path / "src", "a", "b")
    with pytest.raises(DataError, match="--classes: required for YOLO labels"):
        prepare("yolo", src, tmp_path / "out", options={**_FOLDERS, "labels": "labels"})


def test_yolo__a_bad_line_is_named(tmp_path: Path) -> None:
    src = _pairs(tmp_path / "src", "a", "b")
    text(src / "labels" / "a.txt", "0 0.5 0.5 0.1 0.1\n7 0.5 0.5 0.1 0.1\n")
    options: dict[str, Json] = {**_FOLDERS, "labels": "labels"}
    with pytest.raises(DataError, match=r"a.txt:2: class must be 0 .. 0"):
        prepare("yolo", src, tmp_path / "out", options=options, choice=ClassChoice(("car",)))


@pytest.mark.parametrize("size_wh", [(64, 48), (333, 517)])
def test_round_trip__yolo_to_coco_to_yolo_keeps_boxes(tmp_path: Path, size_wh: tuple[int, int]) -> None:
    src, rng = tmp_path / "src", np.random.default_rng(1)
    wanted = {}
    for name in "abcd":
        image(src / "rgb" / f"{name}.png", size_wh)
        image(src / "ir" / f"{name}.png", size_wh, gray=True)
        size = rng.uniform(0.001, 1, (20, 2))
        centre = size / 2 + rng.uniform(0, 1, (20, 2)) * (1 - size)
        wanted[name] = np.column_stack([rng.integers(0, 3, 20), centre, size])
        lines = (" ".join((str(int(row[0])), *map(repr, row[1:].tolist()))) for row in wanted[name])
        text(src / "labels" / f"{name}.txt", "\n".join(lines) + "\n")
    choice = ClassChoice(("x", "y", "z"))
    options: dict[str, Json] = {**_FOLDERS, "val_share": 0.5}
    prepare("yolo", src, tmp_path / "coco", options={**options, "labels": "labels"}, choice=choice, label_format="coco")
    back: dict[str, Json] = {"rgb": "images/{split}", "ir": "imagesIR/{split}", "json": "annotations/{split}.json"}
    prepare("coco", tmp_path / "coco", tmp_path / "yolo", options={**back, "splits": ["train", "val"]})
    assert descriptor(tmp_path / "yolo")["names"] == {0: "x", 1: "y", 2: "z"}
    for split in ("train", "val"):
        for name in keys(tmp_path / "yolo", split):
            found = np.array(labels(tmp_path / "yolo", f"labels/{split}/{name}.txt"))
            np.testing.assert_allclose(found, wanted.pop(name), rtol=0, atol=1e-6)
    assert not wanted


def test_round_trip__coco_keeps_ignore_regions(tmp_path: Path) -> None:
    src = _pairs(tmp_path / "src", "a", "b")
    path = coco(src / "all.json", {"a.jpg": [(1, [1.25, 2.5, 3, 4])], "b.jpg": []}, {1: "car"})
    path.write_text(path.read_text().replace('"category_id"', '"iscrowd": 1, "category_id"'))
    options: dict[str, Json] = {**_FOLDERS, "json": "all.json", "val_share": 0.5}
    prepare("coco", src, tmp_path / "out", options=options, label_format="coco")
    files = [json.loads((tmp_path / "out" / "annotations" / f"{split}.json").read_text()) for split in ("train", "val")]
    [found] = [annotation for file in files for annotation in file["annotations"]]
    assert (found["bbox"], found["iscrowd"]) == ([1.25, 2.5, 3.0, 4.0], 1)
    prepare("coco", src, tmp_path / "out", options=options)
    [reason] = record(tmp_path / "out")["left_out"]
    assert reason.startswith("ignore regions")


def test_voc__difficult_objects_stay_regions_to_ignore(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    src = _pairs(tmp_path / "src", "a")
    path = voc(src / "xml" / "a.xml", [("car", 1, 2, 3, 4), ("car", 5, 6, 9, 10)])
    path.write_text(path.read_text().replace("<bndbox>", "<difficult>1</difficult><bndbox>", 1))
    options: dict[str, Json] = {**_FOLDERS, "xml": "xml", "splits": ["train"]}
    prepare("voc", src, tmp_path / "coco", options=options, label_format="coco")
    prepare("voc", src, tmp_path / "yolo", options=options, label_format="yolo")
    for name in ("coco", "yolo"):
        counts = record(tmp_path / name)["counts"]["labels"]["train"]
        assert (counts["boxes"], counts["ignore_regions"]) == (1, 1)
    assert "1 objects are marked difficult; they become regions to ignore" in caplog.text
    assert len(labels(tmp_path / "yolo", "labels/train/a.txt")) == 1
    [kept] = json.loads((tmp_path / "coco" / "annotations" / "train.json").read_text())["annotations"][:1]
    assert (kept["iscrowd"], kept["bbox"]) == (1, [1, 2, 2, 2])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 .7 .6 .1 .2 .71 .55", "1 label lines have more than 5 numbers, and they look like a box with key points"),
        ("0 .7 .6 .1 .2 .9 3", "are the sixth and seventh a confidence and a track id"),
    ],
)
def test_yolo__key_points_and_track_ids_are_refused(tmp_path: Path, line: str, message: str) -> None:
    src = _pairs(tmp_path / "src", "a")
    text(src / "labels" / "a.txt", line)
    options: dict[str, Json] = {**_FOLDERS, "labels": "labels", "splits": ["train"]}
    with pytest.raises(DataError, match=message):
        prepare("yolo", src, tmp_path / "out", options=options, choice=ClassChoice(("car",)))


def test_voc__classes_that_differ_in_case_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    src = _pairs(tmp_path / "src", "a", "b", "c")
    for key, name in zip("abc", ("person", "Person", "car"), strict=True):
        voc(src / "xml" / f"{key}.xml", [(name, 1, 2, 3, 4)])
    prepare("voc", src, tmp_path / "out", options={**_FOLDERS, "xml": "xml"})
    assert "classes 'Person', 'person' differ in case or spaces alone, and are probably one" in caplog.text
    choice = ClassChoice(("car", "person"))
    with pytest.raises(DataError, match=r"unknown class 'Person'; known are car, person; did you mean person\?"):
        prepare("voc", src, tmp_path / "chosen", choice=choice, options={**_FOLDERS, "xml": "xml"})


def test_yolo__names_in_two_unicode_forms_are_one(tmp_path: Path) -> None:
    src = _pairs(tmp_path / "src", "a", "b")
    image(src / "rgb" / "\u00fc.jpg")
    image(src / "ir" / "u\u0308.png", gray=True)
    text(src / "txt" / "u\u0308.txt", "0 0.5 0.5 0.1 0.1\n")
    prepare("yolo", src, tmp_path / "out", choice=ClassChoice(("car",)), options={**_FOLDERS, "labels": "txt"})
    assert {key for split in ("train", "val") for key in keys(tmp_path / "out", split)} == {"a", "b", "\u00fc"}
    assert [
        len(labels(file.parents[2], f"labels/{file.parent.name}/\u00fc.txt"))
        for file in (tmp_path / "out").glob("labels/*/\u00fc.txt")
    ] == [1]
