"""VEDAI: upright hulls of oriented boxes, from either kind of annotation file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.convert_sources import VEDAI_WH, vedai
from tests.support.convert_trees import keys, labels, pixels, record, text
from yolofuse.convert import prepare
from yolofuse.errors import DataError


def test_vedai__nine_classes_in_order_and_the_rest_is_counted(tmp_path: Path) -> None:
    prepare("vedai", vedai(tmp_path / "src"), tmp_path / "out")
    out = tmp_path / "out"
    assert keys(out, "train") == ["00000000"]
    found = [pixels(line, VEDAI_WH) for line in labels(out, "labels/train/00000000.txt")]
    assert found == [(class_id, [0, 8, 30, 40]) for class_id in range(9)]
    assert [pixels(line, VEDAI_WH)[0] for line in labels(out, "labels/val/00000001.txt")] == [0]
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
    assert pixels(line, VEDAI_WH) == (0, [8, 12, 30, 40])


def test_vedai__the_older_single_file_says_the_same(tmp_path: Path) -> None:
    src = vedai(tmp_path / "src")
    for number in range(3):
        (src / "Annotations1024" / f"{number:08d}.txt").unlink()
    lines = "00000000 20 25 0.5 10 30 28 8 12 14 40 38 11 1 0\n00000001 20 25 0.5 1 2 2 1 3 3 4 4 1 1 0\n"
    text(src / "Annotations1024" / "annotation1024.txt", lines)
    prepare("vedai", src, tmp_path / "out")
    [line] = labels(tmp_path / "out", "labels/train/00000000.txt")
    assert pixels(line, VEDAI_WH) == (2, [8, 12, 30, 40])


def test_vedai__an_unknown_number_and_a_short_line_are_named(tmp_path: Path) -> None:
    src = vedai(tmp_path / "src")
    text(src / "Annotations1024" / "00000001.txt", "20 20 0.5 77 0 0 1 2 3 4 1 2 3 4\n20 20 0.5\n")
    with pytest.raises(DataError) as caught:
        prepare("vedai", src, tmp_path / "out")
    assert "00000001.txt:1: unknown class 'id 77'" in str(caught.value)
    assert "00000001.txt:2: expected 14 fields (got 3)" in str(caught.value)
