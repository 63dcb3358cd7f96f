"""FLIR ADAS v1: thermal labels, and frames without a partner."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.convert_sources import flir_v1
from tests.support.convert_trees import descriptor, head, keys, labels, pixels, record
from yolofuse.convert import prepare
from yolofuse.errors import DataError


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
    assert "Register the pairs first" in head(out)


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
