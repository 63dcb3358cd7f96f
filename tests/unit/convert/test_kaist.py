"""KAIST: its parts, its labels and what counts as a person."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.convert_sources import bbgt, kaist
from tests.support.convert_trees import descriptor, image, keys, labels, record
from yolofuse.convert import prepare
from yolofuse.convert.conversion_plan import Option
from yolofuse.errors import DataError


def test_kaist__official_parts_steps_and_held_out_videos(tmp_path: Path) -> None:
    prepare("kaist", kaist(tmp_path / "src"), tmp_path / "out")
    out = tmp_path / "out"
    assert keys(out, "test") == ["set06_V000_I00019", "set06_V000_I00039", "set09_V000_I00019"]
    assert keys(out, "val") == ["set00_V001_I00001", "set03_V001_I00001"]  # one video of day, one of night
    assert keys(out, "train") == [f"{name}_V000_I0000{n}" for name in ("set00", "set03") for n in (1, 3, 5, 7)]
    rows = (out / "meta.csv").read_text().splitlines()
    assert "set03_V000_I00001,train,night,set03/V000" in rows
    assert "set06_V000_I00019,test,day,set06/V000" in rows
    found = json.loads((out / "annotations" / "test.json").read_text())
    assert found["images"][0] == {"id": 1, "file_name": "set06_V000_I00019.jpg", "width": 64, "height": 48}
    assert found["annotations"][0]["bbox"] == [8.0, 6.0, 16.0, 12.0]
    assert descriptor(out)["splits"]["test"]["coco"] == "annotations/test.json"
    assert not (out / "labels").exists()


@pytest.mark.parametrize(
    ("line", "cyclist", "iscrowd"),
    [
        ("person 8 6 16 12 1 0 0 0 0 0 0", "ignore", 0),
        ("person 8 6 16 12 1 0 0 0 0 1 0", "ignore", 1),
        ("people 8 6 16 12 1 0 0 0 0 0 0", "ignore", 1),
        ("person? 8 6 16 12 1 0 0 0 0 0 0", "ignore", 1),
        ("cyclist 8 6 16 12 1 0 0 0 0 0 0", "ignore", 1),
        ("cyclist 8 6 16 12 1 0 0 0 0 0 0", "person", 0),
        ("people 8 6 16 12 1 0 0 0 0 0 0", "person", 1),
        ("cyclist 8 6 16 12 1 0 0 0 0 1 0", "person", 1),
    ],
)
def test_kaist__positives_and_ignore_regions(tmp_path: Path, line: str, cyclist: str, iscrowd: int) -> None:
    src = tmp_path / "src"
    for modality in ("visible", "lwir"):
        image(src / "set06" / "V000" / modality / "I00019.jpg")
    bbgt(src / "annotations" / "set06_V000_I00019.txt", line)
    prepare("kaist", src, tmp_path / "out", options={"cyclist": cyclist})
    [found] = json.loads((tmp_path / "out" / "annotations" / "test.json").read_text())["annotations"]
    assert (found["iscrowd"], found["category_id"], found["occlusion"]) == (iscrowd, 1, 1)


@pytest.mark.parametrize(("labels_of", "x"), [("rgb", 4.0), ("ir", 8.0)])
def test_kaist__paired_labels_of_either_modality(tmp_path: Path, labels_of: str, x: float) -> None:
    src = tmp_path / "src"
    for modality, left in (("visible", 4), ("lwir", 8)):
        image(src / "set06" / "V000" / modality / "I00019.jpg")
        folder = tmp_path / "labels" / "annotations_paired" / "set06" / "V000" / modality
        bbgt(folder / "I00019.txt", f"person {left} 6 16 12" + " 0" * 7)
    options: dict[str, Option] = {
        "annotations": (str(tmp_path / "labels" / "annotations_paired"),),
        "labels_of": labels_of,
    }
    prepare("kaist", src, tmp_path / "out", options=options)
    [found] = json.loads((tmp_path / "out" / "annotations" / "test.json").read_text())["annotations"]
    assert found["bbox"][0] == x
    assert descriptor(tmp_path / "out").get("frame", "rgb") == labels_of


def test_kaist__frames_without_labels_are_left_out_and_counted(tmp_path: Path) -> None:
    src = kaist(tmp_path / "src")
    (src / "annotations" / "set06_V000_I00019.txt").unlink()
    prepare("kaist", src, tmp_path / "out")
    assert keys(tmp_path / "out", "test") == ["set06_V000_I00039", "set09_V000_I00019"]
    assert record(tmp_path / "out")["left_out"]["frames without an annotation file"]["count"] == 1


def test_kaist__two_labels_of_one_frame_and_an_unknown_word_are_problems(tmp_path: Path) -> None:
    src = kaist(tmp_path / "src")
    bbgt(src / "annotations" / "set06" / "V000" / "I00019.txt")
    bbgt(src / "annotations" / "set06_V000_I00039.txt", "horse 8 6 16 12" + " 0" * 7)
    with pytest.raises(DataError) as caught:
        prepare("kaist", src, tmp_path / "out")
    assert "set06_V000_I00019 has labels in" in str(caught.value)
    assert "set06_V000_I00039.txt:2: unknown label 'horse'" in str(caught.value)


def test_kaist__as_yolo_the_ignore_regions_are_counted(tmp_path: Path) -> None:
    src = kaist(tmp_path / "src")
    bbgt(src / "annotations" / "set06_V000_I00019.txt", "people 8 6 16 12" + " 0" * 7, "person 8 6 16 12" + " 0" * 7)
    prepare("kaist", src, tmp_path / "out", label_format="yolo")
    assert len(labels(tmp_path / "out", "labels/test/set06_V000_I00019.txt")) == 1
    assert [found["count"] for found in record(tmp_path / "out")["left_out"].values()] == [1]
