"""What every prepared folder promises, on LLVIP: whole or not at all, the same every time, originals untouched."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

import pytest

from tests.support.convert_trees import keys, labels, llvip, record, text, tree, voc
from yolofuse.convert import prepare
from yolofuse.errors import DataError


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


def test_force__makes_the_same_folder_anew(source: Path, tmp_path: Path) -> None:
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


def test_changed_options__folder_is_replaced(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare("llvip", source, out)
    assert prepare("llvip", source, out, options={"val_scenes": ("02",)}).is_new
    assert keys(out, "val") == ["020001"]


def test_damaged_folder__is_made_anew(source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = tmp_path / "out"
    prepare("llvip", source, out)
    before = tree(out)
    (out / "labels" / "train" / "010001.txt").unlink()
    assert prepare("llvip", source, out).is_new
    assert "1 of its files are missing" in caplog.text
    assert tree(out) == before


def test_images__links_by_default_and_copies_on_demand(source: Path, tmp_path: Path) -> None:
    prepare("llvip", source, tmp_path / "links")
    prepare("llvip", source, tmp_path / "copies", images="copy")
    original = source / "visible" / "train" / "010001.jpg"
    link, copy = (tmp_path / name / "images" / "train" / "010001.jpg" for name in ("links", "copies"))
    assert link.readlink() == original
    assert not copy.is_symlink()
    assert copy.read_bytes() == original.read_bytes()
    assert str(tmp_path) not in (tmp_path / "copies" / "prepared.json").read_text()


def test_originals__are_never_touched(source: Path, tmp_path: Path) -> None:
    before = tree(source)
    for images in ("link", "copy"):
        prepare("llvip", source, tmp_path / "out", images=images)
        prepare("llvip", source, tmp_path / "out", images=images, force=True)
    assert tree(source) == before


@pytest.mark.parametrize("place", ["LLVIP/out", "LLVIP", "."])
def test_out__among_or_around_the_originals_is_refused(source: Path, tmp_path: Path, place: str) -> None:
    before = tree(tmp_path)
    with pytest.raises(DataError, match="name a folder elsewhere"):
        prepare("llvip", source, tmp_path / place)
    assert tree(tmp_path) == before


def test_out__a_link_into_the_originals_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(source / "Annotations")
    with pytest.raises(DataError, match="where the originals are"):
        prepare("llvip", source, tmp_path / "link")


@pytest.mark.parametrize("name", ["out/notes.txt", "out/prepared.json", ".out.partial/mine.txt", ".out.old/mine.txt"])
def test_out__what_is_not_ours_is_never_deleted(source: Path, tmp_path: Path, name: str) -> None:
    mine = text(tmp_path / name, '{"made_by": "me"}')
    with pytest.raises(DataError, match=r"not left by a conversion|no prepared.json of yolofuse"):
        prepare("llvip", source, tmp_path / "out")
    assert mine.exists()


def test_out__an_empty_folder_is_taken(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert prepare("llvip", source, tmp_path / "out").descriptor.is_file()


def test_two_runs__the_second_one_is_refused(source: Path, tmp_path: Path) -> None:
    partial = tmp_path / ".out.partial"
    partial.mkdir()
    handle = os.open(partial, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another run is making it right now"):
            prepare("llvip", source, tmp_path / "out")
    finally:
        os.close(handle)
    assert prepare("llvip", source, tmp_path / "out").is_new


def test_failed_run__leaves_the_older_folder_and_no_rest(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare("llvip", source, tmp_path / "out")
    before = tree(tmp_path)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("yolofuse.convert.writer._write_yolo", fail)
    with pytest.raises(OSError, match="disk full"):
        prepare("llvip", source, tmp_path / "out", force=True)
    assert tree(tmp_path) == before


def test_killed_while_replacing__the_older_folder_is_back_even_if_the_source_is_broken(
    source: Path, tmp_path: Path
) -> None:
    prepare("llvip", source, tmp_path / "out")
    before = tree(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / ".out.old")
    text(source / "Annotations" / "010001.xml", "<annotation>")
    with pytest.raises(DataError, match="not valid XML"):
        prepare("llvip", source, tmp_path / "out")
    assert tree(tmp_path / "out") == before
    assert not (tmp_path / ".out.old").exists()


def test_killed_while_deleting__the_rest_of_the_older_folder_goes(source: Path, tmp_path: Path) -> None:
    prepare("llvip", source, tmp_path / "out")
    prepare("llvip", source, tmp_path / ".out.old")
    assert not prepare("llvip", source, tmp_path / "out").is_new
    assert sorted(path.name for path in tmp_path.iterdir()) == ["LLVIP", "out"]


def test_record__has_no_dates_and_no_order_of_chance(source: Path, tmp_path: Path) -> None:
    prepare("llvip", source, tmp_path / "out")
    for path in source.rglob("*.jpg"):
        os.utime(path, (1, 1))
    assert not prepare("llvip", source, tmp_path / "out").is_new


def test_source__a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder; --src names the unpacked data set"):
        prepare("llvip", tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no folder Annotations or annotations; is --src"):
        prepare("llvip", tmp_path / "empty", tmp_path / "out")
