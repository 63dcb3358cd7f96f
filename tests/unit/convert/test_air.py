"""DroneVehicle and VEDAI: upright hulls of oriented boxes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.convert_sources import (
    dronevehicle,
    polygon,
    vedai,
)
from tests.support.convert_trees import descriptor, image, keys, labels, pixels, record, text
from yolofuse.convert import prepare
from yolofuse.errors import DataError

# DroneVehicle


def test_dronevehicle__border_is_cut_and_both_labels_are_kept(tmp_path: Path) -> None:
    ir = polygon("feright car", 110, 120, 150, 110, 160, 140, 120, 150)
    ir += polygon("truvk", 0, 0, 130, 0, 130, 150, 0, 150)
    corners = "<xmin>100</xmin><ymin>100</ymin><xmax>740</xmax><ymax>612</ymax>"
    ir += f"<object><name>bus</name><bndbox>{corners}</bndbox></object>"
    ir += polygon("*", 1, 1, 2, 2, 3, 3, 4, 4) + "<object><name>van</name><point/></object>"
    rgb = polygon("car", 200, 200, 220, 200, 220, 230, 200, 230)
    prepare("dronevehicle", dronevehicle(tmp_path / "src", ir, rgb), tmp_path / "out")
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
    src = dronevehicle(tmp_path / "src", "", "")
    for folder in ("trainimg", "trainimgr"):
        image(src / "train" / folder / "00001.jpg", (640, 512))
    with pytest.raises(DataError, match="is 640x512, but its annotations are for 840x712"):
        prepare("dronevehicle", src, tmp_path / "out")


# VEDAI


def test_vedai__nine_classes_in_order_and_the_rest_is_counted(tmp_path: Path) -> None:
    prepare("vedai", vedai(tmp_path / "src"), tmp_path / "out")
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
    src = vedai(tmp_path / "src")
    text(src / "Annotations1024" / "00000001.txt", "20 25 0.5 1 1 0 10 30 28 8 12 14 40 38\n")
    prepare("vedai", src, tmp_path / "out")
    [line] = labels(tmp_path / "out", "labels/val/00000001.txt")
    assert pixels(line, (1024, 1024)) == (0, [8, 12, 30, 40])


def test_vedai__the_older_single_file_says_the_same(tmp_path: Path) -> None:
    src = vedai(tmp_path / "src")
    for number in range(3):
        (src / "Annotations1024" / f"{number:08d}.txt").unlink()
    lines = "00000000 20 25 0.5 10 30 28 8 12 14 40 38 11 1 0\n00000001 20 25 0.5 1 2 2 1 3 3 4 4 1 1 0\n"
    text(src / "Annotations1024" / "annotation1024.txt", lines)
    prepare("vedai", src, tmp_path / "out")
    [line] = labels(tmp_path / "out", "labels/train/00000000.txt")
    assert pixels(line, (1024, 1024)) == (2, [8, 12, 30, 40])


def test_vedai__an_unknown_number_and_a_short_line_are_named(tmp_path: Path) -> None:
    src = vedai(tmp_path / "src")
    text(src / "Annotations1024" / "00000001.txt", "20 20 0.5 77 0 0 1 2 3 4 1 2 3 4\n20 20 0.5\n")
    with pytest.raises(DataError) as caught:
        prepare("vedai", src, tmp_path / "out")
    assert "00000001.txt:1: unknown class 'id 77'" in str(caught.value)
    assert "00000001.txt:2: expected 14 fields (got 3)" in str(caught.value)
