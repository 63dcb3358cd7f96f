"""LLVIP: whole scenes are held out as val."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.convert_trees import head, keys, labels, llvip, pixels, record
from yolofuse.convert import prepare
from yolofuse.errors import DataError


def test_llvip__whole_scenes_are_held_out(tmp_path: Path) -> None:
    prepare("llvip", llvip(tmp_path / "src"), tmp_path / "out")
    out = tmp_path / "out"
    assert keys(out, "val") == ["020001"]  # 1 of 10 train pairs
    assert {key[:2] for key in keys(out, "train")} == {"01", "03"}
    assert keys(out, "test") == ["190001", "190002"]
    assert [pixels(line) for line in labels(out, "labels/val/020001.txt")] == [(0, [8, 6, 24, 42])]
    assert record(out)["val_scenes"] == ["02"]
    assert "scenes 02 of the published train part" in head(out)
    assert "choose nothing by it" in head(out)
    assert (out / "meta.csv").read_text().splitlines()[:2] == ["name,split,daynight,scene", "010001,train,night,01"]


def test_llvip__scenes_can_be_named(tmp_path: Path) -> None:
    src = llvip(tmp_path / "src")
    prepare("llvip", src, tmp_path / "out", options={"val_scenes": ("02", "03")})
    assert keys(tmp_path / "out", "val") == ["020001", "030001", "030002", "030003"]
    with pytest.raises(DataError, match="--val-scenes: no scene 19; train has 01, 02, 03"):
        prepare("llvip", src, tmp_path / "out", options={"val_scenes": ("19",)})


def test_llvip__annotations_of_another_image_are_counted(tmp_path: Path) -> None:
    path = llvip(tmp_path / "src") / "Annotations" / "010001.xml"
    path.write_text(path.read_text().replace("<size>", "<filename>020001.jpg</filename><size>"))
    prepare("llvip", tmp_path / "src", tmp_path / "out")
    [warning] = record(tmp_path / "out")["warnings"]
    assert warning.startswith("1 label files name another image of the set")
