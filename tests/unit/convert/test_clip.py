"""Boxes and images that do not fit, shown on LLVIP."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.convert_trees import image, labels, llvip, pixels, record, text, voc
from tests.support.pairs import save_stored
from yolofuse.convert import prepare
from yolofuse.errors import DataError


def test_boxes__are_clipped_and_counted(tmp_path: Path) -> None:
    boxes = [("person", -10, -5, 20, 100), ("person", 1, 2, 3, 4)]
    prepare("llvip", llvip(tmp_path / "src", boxes), tmp_path / "out")
    found = [pixels(line) for line in labels(tmp_path / "out", "labels/train/010001.txt")]
    assert found == [(0, [0, 0, 20, 48]), (0, [1, 2, 3, 4])]
    assert record(tmp_path / "out")["boxes_cut_at_the_border"] == 12


@pytest.mark.parametrize("box", [(70, 5, 90, 10), (5, 5, 5, 10)], ids=["outside", "flat"])
def test_boxes__empty_ones_are_left_out_counted_and_logged(
    tmp_path: Path, box: tuple[int, int, int, int], caplog: pytest.LogCaptureFixture
) -> None:
    src = llvip(tmp_path / "src")
    voc(src / "Annotations" / "010001.xml", [("person", *box), ("person", 1, 2, 3, 4)])
    prepare("llvip", src, tmp_path / "out")
    assert len(labels(tmp_path / "out", "labels/train/010001.txt")) == 1
    left_out = record(tmp_path / "out")["left_out"]["boxes that are empty inside the image"]
    assert left_out["count"] == 1
    assert left_out["first"][0].startswith("Annotations/010001.xml:3 ")
    assert "left out: 1 boxes that are empty" in caplog.text


def test_problems__of_all_files_at_once(tmp_path: Path) -> None:
    src = llvip(tmp_path / "src")
    text(src / "Annotations" / "010001.xml", "<annotation>\n<object>\n")
    (src / "Annotations" / "010002.xml").unlink()
    (src / "infrared" / "train" / "030001.jpg").unlink()
    with pytest.raises(DataError) as caught:
        prepare("llvip", src, tmp_path / "out")
    message = str(caught.value)
    assert "3 problems" in message
    assert "010001.xml:3: not valid XML" in message
    assert "010002.jpg: no " in message
    assert "030001.jpg: no thermal partner" in message


def test_images__unreadable_and_of_other_sizes_are_named(tmp_path: Path) -> None:
    src = llvip(tmp_path / "src")
    text(src / "infrared" / "train" / "010001.jpg", "no image")
    image(src / "infrared" / "train" / "010002.jpg", (32, 24))
    for kind in ("visible", "infrared"):
        image(src / kind / "train" / "010003.jpg", (128, 96))
    with pytest.raises(DataError) as caught:
        prepare("llvip", src, tmp_path / "out")
    message = str(caught.value)
    assert "infrared/train/010001.jpg: can't be decoded, damaged or no image" in message
    assert "sizes of the pair differ (rgb 64x48, ir 32x24)" in message
    assert "010003.jpg: is 128x96, but its annotations are for 64x48" in message


def test_any_size__takes_boxes_as_pixels_of_the_image(tmp_path: Path) -> None:
    src = llvip(tmp_path / "src")
    voc(src / "Annotations" / "010001.xml", [("person", 16, 12, 48, 36)], size_wh=(999, 999))
    prepare("llvip", src, tmp_path / "out", any_size=True)
    assert labels(tmp_path / "out", "labels/train/010001.txt") == [[0, 0.5, 0.5, 0.5, 0.5]]


def test_boxes__of_an_image_stored_turned_are_shares_of_the_upright_one(tmp_path: Path) -> None:
    src = llvip(tmp_path / "src")
    for kind in ("visible", "infrared"):
        save_stored(src / kind / "train" / "010001.jpg", np.zeros((48, 64, 3), np.uint8), 6)
    voc(src / "Annotations" / "010001.xml", [("person", 16, 12, 48, 36)])
    prepare("llvip", src, tmp_path / "out")
    assert labels(tmp_path / "out", "labels/train/010001.txt") == [[0, 0.5, 0.5, 0.5, 0.5]]
