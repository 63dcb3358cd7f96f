"""Classes: unknown ones are named, others dropped or kept on demand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.convert_trees import descriptor, labels, llvip, pixels, record, voc
from yolofuse.convert import ClassChoice, prepare
from yolofuse.errors import DataError


def test_class__an_unknown_one_is_named_with_its_line(tmp_path: Path) -> None:
    src = llvip(tmp_path / "src")
    voc(src / "Annotations" / "010002.xml", [("person", 1, 2, 3, 4), ("dog", 1, 2, 3, 4)])
    with pytest.raises(DataError, match=r"010002.xml:4: unknown class 'dog'; known are person.*--classes"):
        prepare("llvip", src, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_class__dropped_or_taken_on_demand(tmp_path: Path) -> None:
    src = llvip(tmp_path / "src")
    voc(src / "Annotations" / "010002.xml", [("person", 1, 2, 3, 4), ("dog", 5, 6, 7, 8)])
    prepare("llvip", src, tmp_path / "dropped", choice=ClassChoice(drop=("dog",)))
    assert record(tmp_path / "dropped")["left_out"]["boxes of class 'dog'"]["count"] == 1
    prepare("llvip", src, tmp_path / "taken", choice=ClassChoice(("dog", "person")))
    assert [pixels(line)[0] for line in labels(tmp_path / "taken", "labels/train/010002.txt")] == [1, 0]
    assert descriptor(tmp_path / "taken")["names"] == {0: "dog", 1: "person"}
