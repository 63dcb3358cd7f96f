"""Classes: unknown ones are named, others dropped or kept on demand."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from tests.support.convert_trees import descriptor, labels, llvip, pixels, record, voc
from yolofuse.convert import ClassChoice, prepare
from yolofuse.convert.classes import ClassTable
from yolofuse.convert.conversion_plan import SourceObject
from yolofuse.convert.source_folder import SourceFolder
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


def test_class__has_one_name_in_both_unicode_forms(tmp_path: Path) -> None:
    src = llvip(tmp_path / "src")
    nfc, nfd = (unicodedata.normalize(form, "véhicule") for form in ("NFC", "NFD"))
    voc(src / "Annotations" / "010002.xml", [(nfc, 1, 2, 3, 4), (nfd, 5, 6, 7, 8)])
    prepare("llvip", src, tmp_path / "out", choice=ClassChoice(("person", nfd)))
    assert [pixels(line)[0] for line in labels(tmp_path / "out", "labels/train/010002.txt")] == [1, 1]
    assert descriptor(tmp_path / "out")["names"] == {0: "person", 1: nfc}


def test_boxes__an_object_without_a_box_is_a_problem_or_left_out_for_a_reason(tmp_path: Path) -> None:
    source = SourceFolder(tmp_path)
    table = ClassTable(source, ClassChoice(), ("car",))
    objects = [SourceObject("car", None, "a.xml:3"), SourceObject("car", (1, 2, 3, 4), "a.xml:4", ignore=True)]
    [box] = table.boxes(objects, boxless="objects without a box")
    assert (box.class_id, box.xyxy, box.where, box.ignore) == (0, (1, 2, 3, 4), "a.xml:4", True)
    assert source.left_out() == {"objects without a box": (1, ["a.xml:3"])}
    assert len(table.boxes(objects)) == 1
    assert source.problems == ["a.xml:3: <object> without <bndbox>; add one or remove the object"]


def test_class__to_drop_that_no_box_has_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    src = llvip(tmp_path / "src")
    voc(src / "Annotations" / "010002.xml", [("person", 1, 2, 3, 4), ("dog", 5, 6, 7, 8)])
    prepare("llvip", src, tmp_path / "out", choice=ClassChoice(drop=("dog", "persom")))
    told = [text for text in caplog.messages if "--drop" in text]
    assert told == ["--drop: no box is of class 'persom'; did you mean person?"]
