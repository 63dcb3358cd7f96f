"""Files of a source: found once, and named where they are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.convert_trees import image, text
from yolofuse.convert import prepare
from yolofuse.convert.source_folder import SourceFolder
from yolofuse.errors import DataError


def test_files__a_loop_of_links_ends(tmp_path: Path) -> None:
    text(tmp_path / "data" / "a.xml", "")
    (tmp_path / "data" / "again").symlink_to(tmp_path / "data")
    assert list(SourceFolder(tmp_path).files(tmp_path / "data", (".xml",))) == ["a"]


def test_source__a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder; --src names the unpacked data set"):
        prepare("llvip", tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no folder Annotations or annotations; is --src"):
        prepare("llvip", tmp_path / "empty", tmp_path / "out")


def test_service_folders__hold_no_files_and_are_counted_once(tmp_path: Path) -> None:
    for folder in ("@eaDir", "__MACOSX", ".thumbnails"):
        image(tmp_path / "rgb" / folder / "a.png" / "thumb.jpg")
    image(tmp_path / "rgb" / "a.png")
    source = SourceFolder(tmp_path)
    assert [list(source.images(folder)) for folder in (source.root / "rgb", source.root)] == [["a"], ["rgb/a"]]
    [(reason, (count, _))] = source.left_out().items()
    assert (reason, count) == ("service folders, which hold no data", 2)


def test_files__of_a_folder_with_two_names_are_found_by_both(tmp_path: Path) -> None:
    text(tmp_path / "data" / "day" / "a.xml", "")
    (tmp_path / "data" / "night").symlink_to("day")
    assert list(SourceFolder(tmp_path).files(tmp_path / "data", (".xml",))) == ["day/a", "night/a"]
