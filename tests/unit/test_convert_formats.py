"""Each published layout, small: which pairs, which boxes, and what is left out."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.unit.convert_trees import (
    VocBox,
    coco,
    descriptor,
    image,
    keys,
    labels,
    llvip,
    pixels,
    record,
    text,
    tree,
    voc,
)
from yolofuse.data.convert import ClassChoice, prepare
from yolofuse.data.convert.plan import Option
from yolofuse.data.descriptor import load_descriptor
from yolofuse.errors import DataError


def _head(folder: Path) -> str:
    lines = (folder / "data.yaml").read_text().splitlines()
    return "\n".join(line for line in lines if line.startswith("#"))


# LLVIP


def test_llvip__whole_scenes_are_held_out(tmp_path: Path) -> None:
    prepare("llvip", llvip(tmp_path / "src"), tmp_path / "out")
    out = tmp_path / "out"
    assert keys(out, "val") == ["020001"]  # 1 of 10 train pairs
    assert {key[:2] for key in keys(out, "train")} == {"01", "03"}
    assert keys(out, "test") == ["190001", "190002"]
    assert [pixels(line) for line in labels(out, "labels/val/020001.txt")] == [(0, [8, 6, 24, 42])]
    assert record(out)["val_scenes"] == ["02"]
    assert "scenes 02 of the published train part" in _head(out)
    assert "choose nothing by it" in _head(out)
    assert (out / "meta.csv").read_text().splitlines()[:2] == ["name,split,daynight,scene", "010001,train,night,01"]


def test_llvip__scenes_can_be_named(tmp_path: Path) -> None:
    src = llvip(tmp_path / "src")
    prepare("llvip", src, tmp_path / "out", options={"val_scenes": ("02", "03")})
    assert keys(tmp_path / "out", "val") == ["020001", "030001", "030002", "030003"]
    with pytest.raises(DataError, match="--val-scenes: no scene 19; train has 01, 02, 03"):
        prepare("llvip", src, tmp_path / "out", options={"val_scenes": ("19",)})


# M3FD


def test_m3fd__split_is_seeded_and_every_class_has_its_number(tmp_path: Path) -> None:
    src, names = tmp_path / "src", ("People", "Car", "Bus", "Motorcycle", "Lamp", "Truck")
    for number in range(10):
        image(src / "vis" / f"{number:05d}.png")
        image(src / "ir" / f"{number:05d}.png", gray=True)
        voc(src / "Annotations" / f"{number:05d}.xml", [(name, 1, 2, 3, 4 + i) for i, name in enumerate(names)])
    prepare("m3fd", src, tmp_path / "out")
    out = tmp_path / "out"
    assert keys(out, "val") == ["00005", "00008"]
    assert len(keys(out, "train")) == 8
    found = [pixels(line) for line in labels(out, "labels/val/00005.txt")]
    assert found == [(index, [1, 2, 3, 4 + index]) for index in range(6)]
    assert "fall on both sides" in _head(out)
    prepare("m3fd", src, out, options={"seed": 1, "val_share": 0.5})
    assert len(keys(out, "val")) == 5


# FLIR aligned


def _flir_aligned(root: Path, boxes: list[VocBox]) -> Path:
    for number in (2, 3, 8864):
        image(root / "JPEGImages" / f"FLIR_{number:05d}_RGB.jpg")
        image(root / "JPEGImages" / f"FLIR_{number:05d}_PreviewData.jpeg", gray=True)
        voc(root / "Annotations" / f"FLIR_{number:05d}_PreviewData.xml", boxes)
    text(root / "align_train.txt", "FLIR_00002_PreviewData\nFLIR_00003_PreviewData\n")
    text(root / "align_validation.txt", "FLIR_08864_PreviewData\n")
    return root


def test_flir_aligned__names_lose_their_modality_and_dogs_are_counted(tmp_path: Path) -> None:
    boxes: list[VocBox] = [("car", 1, 2, 3, 4), ("dog", 1, 1, 2, 2), ("bicycle", 5, 6, 7, 8), ("person", 9, 9, 12, 12)]
    prepare("flir-aligned", _flir_aligned(tmp_path / "src", boxes), tmp_path / "out")
    out = tmp_path / "out"
    assert keys(out, "train") == ["FLIR_00002", "FLIR_00003"]
    assert sorted(path.name for path in (out / "imagesIR" / "val").iterdir()) == ["FLIR_08864.jpeg"]
    assert [pixels(line)[0] for line in labels(out, "labels/val/FLIR_08864.txt")] == [2, 1, 0]
    assert record(out)["left_out"]["boxes of class 'dog'"]["count"] == 3


def test_flir_aligned__a_listed_pair_without_files_is_named(tmp_path: Path) -> None:
    src = _flir_aligned(tmp_path / "src", [])
    text(src / "align_validation.txt", "FLIR_08864_PreviewData\nFLIR_09999_PreviewData\n")
    (src / "JPEGImages" / "FLIR_08864_RGB.jpg").unlink()
    with pytest.raises(DataError) as caught:
        prepare("flir-aligned", src, tmp_path / "out")
    assert "align_validation.txt:1: FLIR_08864 has no visible image;" in str(caught.value)
    assert ":2: FLIR_09999 has no visible image, thermal image, annotation" in str(caught.value)


# FLIR ADAS v1


def _flir_v1(root: Path) -> Path:
    for part, numbers in (("train", (1, 2, 3)), ("val", (9,))):
        for number in numbers:
            image(root / part / "thermal_8_bit" / f"FLIR_{number:05d}.jpeg", gray=True)
            image(root / part / "thermal_16_bit" / f"FLIR_{number:05d}.tiff", gray=True)
            image(root / part / "RGB" / f"FLIR_{number:05d}.jpg", (160, 140))
        boxes = [(3, [8, 6, 16, 12]), (1, [0, 0, 64, 48]), (17, [1, 1, 5, 5])]
        images = {f"thermal_8_bit/FLIR_{number:05d}.jpeg": boxes for number in numbers}
        names = {1: "person", 2: "bicycle", 3: "car", 17: "dog"}
        coco(root / part / "thermal_annotations.json", images, names)
    (root / "train" / "RGB" / "FLIR_00002.jpg").unlink()
    return root


def test_flir_v1__labels_are_thermal_and_lonely_frames_are_counted(tmp_path: Path) -> None:
    prepare("flir-adas-v1", _flir_v1(tmp_path / "src"), tmp_path / "out")
    out = tmp_path / "out"
    assert keys(out, "train") == ["FLIR_00001", "FLIR_00003"]
    assert [pixels(line) for line in labels(out, "labels/val/FLIR_00009.txt")] == [
        (2, [8, 6, 24, 18]),
        (0, [0, 0, 64, 48]),
    ]
    found = descriptor(out)
    assert (found["frame"], found["resize"], "ir_window" in found) == ("ir", "stretch", False)
    left_out = record(out)["left_out"]
    assert left_out["thermal frames without a visible image"] == {"count": 1, "first": ["train/FLIR_00002"]}
    assert left_out["boxes of class 'dog'"]["count"] == 3
    assert record(out)["warnings"] == ["no folder video: the split is left out"]
    assert "Register the pairs first" in _head(out)


def test_flir_v1__16_bit_counts_get_a_window(tmp_path: Path) -> None:
    prepare("flir-adas-v1", _flir_v1(tmp_path / "src"), tmp_path / "out", options={"thermal": 16})
    out = tmp_path / "out"
    assert descriptor(out)["ir_window"] == {"percentiles": [0.5, 99.5]}
    assert sorted(path.name for path in (out / "imagesIR" / "val").iterdir()) == ["FLIR_00009.tiff"]


def test_flir_v1__a_thermal_frame_that_is_gone_is_a_problem(tmp_path: Path) -> None:
    src = _flir_v1(tmp_path / "src")
    (src / "train" / "thermal_8_bit" / "FLIR_00003.jpeg").unlink()
    with pytest.raises(DataError, match=r"thermal_8_bit/FLIR_00003.jpeg is not in .*; unpack"):
        prepare("flir-adas-v1", src, tmp_path / "out")


# FLIR ADAS v2

_BOX = [(3, [8, 6, 16, 12])]


def _flir_v2(root: Path) -> Path:
    parts = {
        "images_thermal_train": ["video-A-frame-000001-t1", "video-A-frame-000002-t2", "video-B-frame-000001-t3"],
        "images_rgb_train": ["video-A-frame-000001-r1", "video-C-frame-000001-r2"],
        "video_thermal_test": ["video-T-frame-000000-t4", "video-T-frame-000001-t5", "video-T-frame-000002-t6"],
        "video_rgb_test": ["video-R-frame-000000-r4", "video-R-frame-000001-r5", "video-R-frame-000002-r6"],
    }
    for part, stems in parts.items():
        thermal = "thermal" in part
        for stem in stems:
            image(root / part / "data" / f"{stem}.jpg", (64, 48) if thermal else (90, 80), gray=thermal)
        records = {f"data/{stem}.jpg": _BOX for stem in stems if not stem.endswith("t6")}
        coco(root / part / "coco.json", records, {1: "person", 3: "car", 79: "other vehicle"})
    names = {f"video-R-frame-00000{i}-r{i + 4}.jpg": f"video-T-frame-00000{i}-t{i + 4}.jpg" for i in range(3)}
    text(root / "rgb_to_thermal_vid_map.json", json.dumps(names))
    return root


def test_flir_v2__pairs_by_map_and_by_unique_frame(tmp_path: Path) -> None:
    prepare("flir-adas-v2", _flir_v2(tmp_path / "src"), tmp_path / "out")
    out = tmp_path / "out"
    assert keys(out, "train") == ["video-A-frame-000001-t1"]
    assert keys(out, "test") == ["video-T-frame-000000-t4", "video-T-frame-000001-t5"]
    rgb = out / "images" / "test" / "video-T-frame-000001-t5.jpg"
    assert rgb.readlink().name == "video-R-frame-000001-r5.jpg"
    assert [pixels(line) for line in labels(out, "labels/test/video-T-frame-000000-t4.txt")] == [(2, [8, 6, 24, 18])]
    left_out = {reason: found["count"] for reason, found in record(out)["left_out"].items()}
    assert left_out == {
        "pairs without a record in coco.json": 1,
        "thermal frames without a visible partner": 2,
        "visible frames without a thermal partner": 1,
    }
    assert record(out)["warnings"] == ["no pairs for the split val: it is left out"]
    assert sorted(descriptor(out)["splits"]) == ["test", "train"]


def test_flir_v2__several_candidates_are_left_out(tmp_path: Path) -> None:
    src = _flir_v2(tmp_path / "src")
    image(src / "images_rgb_train" / "data" / "video-A-frame-000001-r9.jpg", (90, 80))
    prepare("flir-adas-v2", src, tmp_path / "out")
    assert record(tmp_path / "out")["left_out"]["thermal frames with several candidates"]["count"] == 1
    assert "train" not in descriptor(tmp_path / "out")["splits"]


def test_flir_v2__a_map_to_a_file_that_is_gone_is_a_problem(tmp_path: Path) -> None:
    src = _flir_v2(tmp_path / "src")
    (src / "video_rgb_test" / "data" / "video-R-frame-000001-r5.jpg").unlink()
    with pytest.raises(DataError, match=r"r5.jpg -> video-T-frame-000001-t5.jpg: not in .*video_rgb_test/data"):
        prepare("flir-adas-v2", src, tmp_path / "out")


# KAIST


def _bbgt(path: Path, *lines: str) -> None:
    text(path, "\n".join(("% bbGt version=3", *lines)) + "\n")


def _kaist_images(root: Path) -> Path:
    videos = {"set00/V000": 8, "set00/V001": 2, "set03/V000": 8, "set03/V001": 2, "set06/V000": 40, "set09/V000": 20}
    for video, count in videos.items():
        for number in range(count):
            if video[:5] in ("set06", "set09") and (number + 1) % 20:
                continue
            for modality in ("visible", "lwir"):
                image(root / "images" / video / modality / f"I{number:05d}.jpg")
            _bbgt(root / "annotations" / f"{video.replace('/', '_')}_I{number:05d}.txt", "person 8 6 16 12" + " 0" * 7)
    return root


def test_kaist__official_parts_steps_and_held_out_videos(tmp_path: Path) -> None:
    prepare("kaist", _kaist_images(tmp_path / "src"), tmp_path / "out")
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
    _bbgt(src / "annotations" / "set06_V000_I00019.txt", line)
    prepare("kaist", src, tmp_path / "out", options={"cyclist": cyclist})
    [found] = json.loads((tmp_path / "out" / "annotations" / "test.json").read_text())["annotations"]
    assert (found["iscrowd"], found["category_id"], found["occlusion"]) == (iscrowd, 1, 1)


@pytest.mark.parametrize(("labels_of", "x"), [("rgb", 4.0), ("ir", 8.0)])
def test_kaist__paired_labels_of_either_modality(tmp_path: Path, labels_of: str, x: float) -> None:
    src = tmp_path / "src"
    for modality, left in (("visible", 4), ("lwir", 8)):
        image(src / "set06" / "V000" / modality / "I00019.jpg")
        folder = tmp_path / "labels" / "annotations_paired" / "set06" / "V000" / modality
        _bbgt(folder / "I00019.txt", f"person {left} 6 16 12" + " 0" * 7)
    options: dict[str, Option] = {
        "annotations": (str(tmp_path / "labels" / "annotations_paired"),),
        "labels_of": labels_of,
    }
    prepare("kaist", src, tmp_path / "out", options=options)
    [found] = json.loads((tmp_path / "out" / "annotations" / "test.json").read_text())["annotations"]
    assert found["bbox"][0] == x
    assert descriptor(tmp_path / "out").get("frame", "rgb") == labels_of


def test_kaist__frames_without_labels_are_left_out_and_counted(tmp_path: Path) -> None:
    src = _kaist_images(tmp_path / "src")
    (src / "annotations" / "set06_V000_I00019.txt").unlink()
    prepare("kaist", src, tmp_path / "out")
    assert keys(tmp_path / "out", "test") == ["set06_V000_I00039", "set09_V000_I00019"]
    assert record(tmp_path / "out")["left_out"]["frames without an annotation file"]["count"] == 1


def test_kaist__two_labels_of_one_frame_and_an_unknown_word_are_problems(tmp_path: Path) -> None:
    src = _kaist_images(tmp_path / "src")
    _bbgt(src / "annotations" / "set06" / "V000" / "I00019.txt")
    _bbgt(src / "annotations" / "set06_V000_I00039.txt", "horse 8 6 16 12" + " 0" * 7)
    with pytest.raises(DataError) as caught:
        prepare("kaist", src, tmp_path / "out")
    assert "set06_V000_I00019 has labels in" in str(caught.value)
    assert "set06_V000_I00039.txt:2: unknown label 'horse'" in str(caught.value)


def test_kaist__as_yolo_the_ignore_regions_are_counted(tmp_path: Path) -> None:
    src = _kaist_images(tmp_path / "src")
    _bbgt(src / "annotations" / "set06_V000_I00019.txt", "people 8 6 16 12" + " 0" * 7, "person 8 6 16 12" + " 0" * 7)
    prepare("kaist", src, tmp_path / "out", form="yolo")
    assert len(labels(tmp_path / "out", "labels/test/set06_V000_I00019.txt")) == 1
    assert [found["count"] for found in record(tmp_path / "out")["left_out"].values()] == [1]


# DroneVehicle


def _polygon(name: str, *corners: int) -> str:
    tags = "".join(f"<{tag}>{value}</{tag}>" for tag, value in zip(_CORNERS, corners, strict=True))
    return f"<object><name>{name}</name><polygon>{tags}</polygon></object>\n"


_CORNERS = ("x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4")


def _dronevehicle(root: Path, ir: str, rgb: str) -> Path:
    for folder, gray in (("trainimg", False), ("trainimgr", True)):
        path = image(root / "train" / folder / "00001.jpg", (840, 712), gray=gray)
        pixel = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert pixel is not None
        pixel[:] = 60
        pixel[:100], pixel[-100:], pixel[:, :100], pixel[:, -100:] = 255, 255, 255, 255
        cv2.imwrite(str(path), pixel)
    for folder, objects in (("trainlabelr", ir), ("trainlabel", rgb)):
        text(root / "train" / folder / "00001.xml", f"<annotation>\n{objects}</annotation>\n")
    return root


def test_dronevehicle__border_is_cut_and_both_labels_are_kept(tmp_path: Path) -> None:
    ir = _polygon("feright car", 110, 120, 150, 110, 160, 140, 120, 150)
    ir += _polygon("truvk", 0, 0, 130, 0, 130, 150, 0, 150)
    corners = "<xmin>100</xmin><ymin>100</ymin><xmax>740</xmax><ymax>612</ymax>"
    ir += f"<object><name>bus</name><bndbox>{corners}</bndbox></object>"
    ir += _polygon("*", 1, 1, 2, 2, 3, 3, 4, 4) + "<object><name>van</name><point/></object>"
    rgb = _polygon("car", 200, 200, 220, 200, 220, 230, 200, 230)
    prepare("dronevehicle", _dronevehicle(tmp_path / "src", ir, rgb), tmp_path / "out")
    out = tmp_path / "out"
    for folder, channels in (("images", 3), ("imagesIR", 1)):
        pixel = cv2.imread(str(out / folder / "train" / "00001.jpg"), cv2.IMREAD_UNCHANGED)
        assert pixel is not None
        assert pixel.shape[:2] == (512, 640)
        assert (pixel.shape[2] if pixel.ndim == 3 else 1) == channels
        assert np.ptp(pixel) <= 2  # nothing of the white border is left
    found = [pixels(line, (640, 512)) for line in labels(out, "labels/train/00001.txt")]
    assert found == [(4, [10, 10, 60, 50]), (1, [0, 0, 30, 50]), (2, [0, 0, 640, 512])]
    assert [pixels(line, (640, 512)) for line in labels(out, "labels_rgb/train/00001.txt")] == [
        (0, [100, 100, 120, 130])
    ]
    assert descriptor(out)["frame"] == "ir"
    assert "frame" not in descriptor(out, "data_rgb.yaml")
    assert descriptor(out, "data_rgb.yaml")["splits"]["train"]["labels"] == "labels_rgb/train"
    left_out = {reason: found["count"] for reason, found in record(out)["left_out"].items()}
    assert left_out == {"boxes of class '*'": 1, "objects without a polygon or a box": 1}


def test_dronevehicle__images_cut_before_are_refused(tmp_path: Path) -> None:
    src = _dronevehicle(tmp_path / "src", "", "")
    for folder in ("trainimg", "trainimgr"):
        image(src / "train" / folder / "00001.jpg", (640, 512))
    with pytest.raises(DataError, match="is 640x512, but its annotations are for 840x712"):
        prepare("dronevehicle", src, tmp_path / "out")


# VEDAI


def _vedai(root: Path) -> Path:
    for number in range(4):
        image(root / "Vehicules1024" / f"{number:08d}_co.png", (1024, 1024))
        image(root / "Vehicules1024" / f"{number:08d}_ir.png", (1024, 1024), gray=True)
    folder = root / "Annotations1024"
    box = "0 0 0 10 30 20 8 40 36 12"
    text(folder / "00000000.txt", "".join(f"20 20 0.5 {number} {box}\n" for number in (1, 2, 11, 4, 5, 23, 9, 31, 10)))
    text(folder / "00000001.txt", f"20 20 0.5 7 {box}\n20 20 0.5 8 {box}\n20 20 0.5 1 {box}\n")
    text(folder / "00000002.txt", "20 20 1 1 0\n")
    text(folder / "fold01.txt", "00000000\n00000002\n00000003\n")
    text(folder / "fold01test.txt", "00000001\n")
    return root


def test_vedai__nine_classes_in_order_and_the_rest_is_counted(tmp_path: Path) -> None:
    prepare("vedai", _vedai(tmp_path / "src"), tmp_path / "out")
    out = tmp_path / "out"
    assert keys(out, "train") == ["00000000"]
    found = [pixels(line, (1024, 1024)) for line in labels(out, "labels/train/00000000.txt")]
    assert found == [(class_id, [0, 8, 30, 40]) for class_id in range(9)]
    assert [pixels(line, (1024, 1024))[0] for line in labels(out, "labels/val/00000001.txt")] == [0]
    left_out = {reason: found["count"] for reason, found in record(out)["left_out"].items()}
    assert left_out == {
        "boxes of class 'bus'": 1,
        "boxes of class 'motorcycle'": 1,
        "pairs whose annotations have no corners": 1,
        "pairs without an annotation file": 1,
    }


def test_vedai__corners_are_four_x_then_four_y(tmp_path: Path) -> None:
    src = _vedai(tmp_path / "src")
    text(src / "Annotations1024" / "00000001.txt", "20 25 0.5 1 1 0 10 30 28 8 12 14 40 38\n")
    prepare("vedai", src, tmp_path / "out")
    [line] = labels(tmp_path / "out", "labels/val/00000001.txt")
    assert pixels(line, (1024, 1024)) == (0, [8, 12, 30, 40])


def test_vedai__the_older_single_file_says_the_same(tmp_path: Path) -> None:
    src = _vedai(tmp_path / "src")
    for number in range(3):
        (src / "Annotations1024" / f"{number:08d}.txt").unlink()
    lines = "00000000 20 25 0.5 10 30 28 8 12 14 40 38 11 1 0\n00000001 20 25 0.5 1 2 2 1 3 3 4 4 1 1 0\n"
    text(src / "Annotations1024" / "annotation1024.txt", lines)
    prepare("vedai", src, tmp_path / "out")
    [line] = labels(tmp_path / "out", "labels/train/00000000.txt")
    assert pixels(line, (1024, 1024)) == (2, [8, 12, 30, 40])


def test_vedai__an_unknown_number_and_a_short_line_are_named(tmp_path: Path) -> None:
    src = _vedai(tmp_path / "src")
    text(src / "Annotations1024" / "00000001.txt", "20 20 0.5 77 0 0 1 2 3 4 1 2 3 4\n20 20 0.5\n")
    with pytest.raises(DataError) as caught:
        prepare("vedai", src, tmp_path / "out")
    assert "00000001.txt:1: unknown class 'id 77'" in str(caught.value)
    assert "00000001.txt:2: expected 14 fields (got 3)" in str(caught.value)


# All


def _make(name: str, src: Path) -> None:
    """A source in the layout of a format."""
    if name == "m3fd":
        for number in range(3):
            image(src / "Vis" / f"{number:05d}.png")
            image(src / "Ir" / f"{number:05d}.png", gray=True)
            voc(src / "Annotation" / f"{number:05d}.xml", [("Car", 1, 2, 3, 4)])
    elif name == "flir-aligned":
        _flir_aligned(src, [("car", 1, 2, 3, 4)])
    elif name == "dronevehicle":
        _dronevehicle(src, _polygon("car", 200, 200, 220, 200, 220, 230, 200, 230), "")
    else:
        makers = {"llvip": llvip, "flir-adas-v1": _flir_v1, "flir-adas-v2": _flir_v2}
        {**makers, "kaist": _kaist_images, "vedai": _vedai}[name](src)


_NAMES = ("llvip", "m3fd", "flir-aligned", "flir-adas-v1", "flir-adas-v2", "kaist", "dronevehicle", "vedai")


@pytest.mark.parametrize("name", _NAMES)
def test_every_format__same_tree_twice_source_untouched_and_descriptor_readable(tmp_path: Path, name: str) -> None:
    src, out = tmp_path / "src", tmp_path / "out"
    _make(name, src)
    before = tree(src)
    made = prepare(name, src, out)
    first = tree(out)
    assert not prepare(name, src, out).is_new
    assert prepare(name, src, out, force=True).is_new
    assert tree(out) == first
    assert tree(src) == before
    assert list(load_descriptor(made.descriptor).splits) == list(descriptor(out)["splits"])


@pytest.mark.parametrize("name", _NAMES)
def test_every_format__an_empty_source_says_what_is_missing(tmp_path: Path, name: str) -> None:
    (tmp_path / "src").mkdir()
    with pytest.raises(DataError, match=r"no (folder|file|pairs|such folder)"):
        prepare(name, tmp_path / "src", tmp_path / "out", choice=ClassChoice())
    assert not (tmp_path / "out").exists()
