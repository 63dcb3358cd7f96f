"""Files of a source: found once, and named where they are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.convert_trees import text
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
