"""FLIR aligned: the pairs of its lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.convert_sources import flir_aligned
from tests.support.convert_trees import VocBox, keys, labels, pixels, record, text
from yolofuse.convert import prepare
from yolofuse.errors import DataError


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
