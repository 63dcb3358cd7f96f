"""The output folder: whole or not at all, and no file of the user's is deleted."""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path

import pytest

from tests.support.convert_trees import llvip, text, tree
from yolofuse.convert import prepare
from yolofuse.errors import DataError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return llvip(tmp_path / "LLVIP")


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
def test_out__other_files_are_never_deleted(source: Path, tmp_path: Path, name: str) -> None:
    mine = text(tmp_path / name, '{"made_by": "me"}')
    with pytest.raises(DataError, match=r"not left by a conversion|no prepared.json of yolofuse"):
        prepare("llvip", source, tmp_path / "out")
    assert mine.exists()


@pytest.mark.parametrize(
    "name", ["notes.txt", "runs/first/weights/best.pt", ".git/HEAD", "labels/reviewed/notes.txt", "images/train/a.png"]
)
def test_out__what_was_added_to_a_prepared_folder_is_never_deleted(source: Path, tmp_path: Path, name: str) -> None:
    prepare("llvip", source, tmp_path / "out")
    mine = text(tmp_path / "out" / name, "mine")
    with pytest.raises(DataError, match=rf"1 file which no conversion made \({re.escape(name)}\); .* another --out"):
        prepare("llvip", source, tmp_path / "out", force=True)
    assert mine.exists()


@pytest.mark.parametrize("is_recorded", [True, False])
def test_out__what_was_changed_in_a_prepared_folder_is_never_deleted(
    source: Path, tmp_path: Path, is_recorded: bool
) -> None:
    out = tmp_path / "out"
    prepare("llvip", source, out, images="copy")
    for name in ("labels/train/010001.txt", "images/train/010002.jpg"):
        text(out / name, "0 0.5 0.5 0.9 0.9\n")
    if not is_recorded:
        (out / "prepared_files.json").unlink()
    text(source / "Annotations" / "010003.xml", "<annotation></annotation>")
    before = tree(out)
    expected = r"2 files changed since \(images/train/010002.jpg, labels/train/010001.txt\)"
    with pytest.raises(DataError, match=expected if is_recorded else "files which no conversion made"):
        prepare("llvip", source, out, images="copy")
    assert tree(out) == before


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

    monkeypatch.setattr("yolofuse.convert.writer.yolo_line", fail)
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
