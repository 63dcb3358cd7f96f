"""Conversion twice, and after a change: kept or made again, on LLVIP."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.support.convert_trees import keys, labels, llvip, record, tree, voc
from yolofuse.convert import prepare


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return llvip(tmp_path / "LLVIP")


def test_twice__second_run_changes_nothing_and_says_so(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    first = prepare("llvip", source, out)
    before, stamps = tree(out), {path: path.lstat().st_mtime_ns for path in out.rglob("*")}
    with caplog.at_level(logging.INFO):
        second = prepare("llvip", source, out)
    assert first.is_new
    assert not second.is_new
    assert "nothing to do" in caplog.text
    assert tree(out) == before
    assert {path: path.lstat().st_mtime_ns for path in out.rglob("*")} == stamps


def test_twice__a_fresh_folder_is_the_same_byte_for_byte(source: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        prepare("llvip", source, tmp_path / name)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_force__makes_the_same_folder_again(source: Path, tmp_path: Path) -> None:
    prepare("llvip", source, tmp_path / "out")
    before = tree(tmp_path / "out")
    assert prepare("llvip", source, tmp_path / "out", force=True).is_new
    assert tree(tmp_path / "out") == before


def test_changed_labels__folder_is_replaced(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare("llvip", source, out)
    old_hash = record(out)["annotations_sha256"]
    voc(source / "Annotations" / "010001.xml", [("person", 0, 0, 32, 24)])
    assert prepare("llvip", source, out).is_new
    assert labels(out, "labels/train/010001.txt") == [[0, 0.25, 0.25, 0.5, 0.5]]
    assert record(out)["annotations_sha256"] != old_hash
    assert sorted(path.name for path in tmp_path.iterdir()) == ["LLVIP", "out"]


def test_changed_image__of_the_same_size_is_copied_again(source: Path, tmp_path: Path) -> None:
    out, original = tmp_path / "out", source / "visible" / "train" / "010001.jpg"
    prepare("llvip", source, out, images="copy")
    assert not prepare("llvip", source, out, images="copy").is_new
    changed = original.read_bytes()[:-3] + b"\0\xff\xd9"
    original.write_bytes(changed)
    assert prepare("llvip", source, out, images="copy").is_new
    assert (out / "images" / "train" / "010001.jpg").read_bytes() == changed


def test_changed_options__folder_is_replaced(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare("llvip", source, out)
    assert prepare("llvip", source, out, options={"val_scenes": ("02",)}).is_new
    assert keys(out, "val") == ["020001"]


def test_damaged_folder__is_made_again(source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = tmp_path / "out"
    prepare("llvip", source, out)
    before = tree(out)
    (out / "labels" / "train" / "010001.txt").unlink()
    assert prepare("llvip", source, out).is_new
    assert "1 of its files are missing" in caplog.text
    assert tree(out) == before
