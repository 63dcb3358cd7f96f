"""LLVIP, M3FD and the FLIR sets: which pairs, which boxes, and what is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.convert_sources import (
    flir_aligned,
    flir_v1,
    flir_v2,
)
from tests.support.convert_trees import VocBox, descriptor, image, keys, labels, llvip, pixels, record, text, voc
from yolofuse.convert import prepare
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


def test_flir_aligned__names_lose_their_modality_and_dogs_are_counted(tmp_path: Path) -> None:
    boxes: list[VocBox] = [("car", 1, 2, 3, 4), ("dog", 1, 1, 2, 2), ("bicycle", 5, 6, 7, 8), ("person", 9, 9, 12, 12)]
    prepare("flir-aligned", flir_aligned(tmp_path / "src", boxes), tmp_path / "out")
    out = tmp_path / "out"
    assert keys(out, "train") == ["FLIR_00002", "FLIR_00003"]
    assert sorted(path.name for path in (out / "imagesIR" / "val").iterdir()) == ["FLIR_08864.jpeg"]
    assert [pixels(line)[0] for line in labels(out, "labels/val/FLIR_08864.txt")] == [2, 1, 0]
    assert record(out)["left_out"]["boxes of class 'dog'"]["count"] == 3


def test_flir_aligned__a_listed_pair_without_files_is_named(tmp_path: Path) -> None:
    src = flir_aligned(tmp_path / "src", [])
    text(src / "align_validation.txt", "FLIR_08864_PreviewData\nFLIR_09999_PreviewData\n")
    (src / "JPEGImages" / "FLIR_08864_RGB.jpg").unlink()
    with pytest.raises(DataError) as caught:
        prepare("flir-aligned", src, tmp_path / "out")
    assert "align_validation.txt:1: FLIR_08864 has no visible image;" in str(caught.value)
    assert ":2: FLIR_09999 has no visible image, thermal image, annotation" in str(caught.value)


# FLIR ADAS v1


def test_flir_v1__labels_are_thermal_and_lonely_frames_are_counted(tmp_path: Path) -> None:
    prepare("flir-adas-v1", flir_v1(tmp_path / "src"), tmp_path / "out")
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
    prepare("flir-adas-v1", flir_v1(tmp_path / "src"), tmp_path / "out", options={"thermal": 16})
    out = tmp_path / "out"
    assert descriptor(out)["ir_window"] == {"percentiles": [0.5, 99.5]}
    assert sorted(path.name for path in (out / "imagesIR" / "val").iterdir()) == ["FLIR_00009.tiff"]


def test_flir_v1__a_thermal_frame_that_is_gone_is_a_problem(tmp_path: Path) -> None:
    src = flir_v1(tmp_path / "src")
    (src / "train" / "thermal_8_bit" / "FLIR_00003.jpeg").unlink()
    with pytest.raises(DataError, match=r"thermal_8_bit/FLIR_00003.jpeg is not in .*; unpack"):
        prepare("flir-adas-v1", src, tmp_path / "out")


# FLIR ADAS v2


def test_flir_v2__pairs_by_map_and_by_unique_frame(tmp_path: Path) -> None:
    prepare("flir-adas-v2", flir_v2(tmp_path / "src"), tmp_path / "out")
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
    src = flir_v2(tmp_path / "src")
    image(src / "images_rgb_train" / "data" / "video-A-frame-000001-r9.jpg", (90, 80))
    prepare("flir-adas-v2", src, tmp_path / "out")
    assert record(tmp_path / "out")["left_out"]["thermal frames with several candidates"]["count"] == 1
    assert "train" not in descriptor(tmp_path / "out")["splits"]


def test_flir_v2__a_map_to_a_file_that_is_gone_is_a_problem(tmp_path: Path) -> None:
    src = flir_v2(tmp_path / "src")
    (src / "video_rgb_test" / "data" / "video-R-frame-000001-r5.jpg").unlink()
    with pytest.raises(DataError, match=r"r5.jpg -> video-T-frame-000001-t5.jpg: not in .*video_rgb_test/data"):
        prepare("flir-adas-v2", src, tmp_path / "out")
