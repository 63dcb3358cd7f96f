"""bbGt files: refused with file and line where they are broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.convert_trees import only_problem, text
from yolofuse.convert.kaist import read_bbgt
from yolofuse.convert.source_folder import SourceFolder


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "a.txt:1: expected '% bbGt version=3' (got 'an empty file')"),
        ("person 1 2 3 4 0 0 0 0 0 0 0", "a.txt:1: expected '% bbGt version=3'"),
        ("% bbGt version=3\nperson 1 2 3\n", "a.txt:2: expected a label and 11 numbers"),
        ("% bbGt version=3\nperson 1 2 3 x 0 0 0 0 0 0 0\n", "a.txt:2: expected a label and 11 numbers"),
    ],
)
def test_bbgt__a_broken_file_is_named_with_its_line(tmp_path: Path, content: str, message: str) -> None:
    source = SourceFolder(tmp_path)
    assert read_bbgt(source, text(tmp_path / "a.txt", content)) == []
    assert message in only_problem(source)
