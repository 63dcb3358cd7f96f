"""No old file and no old name of docs/architecture.md is left."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
_ROW = re.compile(r"^\| `([\w/]+)` \| .+ \|$", re.MULTILINE)
_FILES, _NAMES = (
    _ROW.findall(part)
    for part in (REPO / "docs" / "architecture.md")
    .read_text()
    .partition("## Old and new names")[2]
    .split("Names in them")
)
_EXEMPT = {"CHANGELOG.md", "docs/architecture.md", "tests/unit/test_old_names.py"}


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """Every file of code, documents and settings, by its path."""
    folders = ("yolofuse", "scripts", "tests", "docs", "configs", "data", "weights", ".")
    suffixes = {".py", ".md", ".toml", ".yaml", ".sh"}
    files = {
        file
        for folder in folders
        for file in ((REPO / folder).rglob("*") if folder != "." else REPO.glob("*"))
        if file.suffix in suffixes and file.is_file()
    }
    named = {file.relative_to(REPO).as_posix(): file for file in files}
    return {name: file.read_text() for name, file in named.items() if name not in _EXEMPT and "golden/" not in name}


def test_tables__are_read() -> None:
    assert len(_FILES) > 100
    assert len(_NAMES) > 40


def test_old_files__are_gone_and_not_imported(texts: dict[str, str]) -> None:
    new = {file.relative_to(REPO / "yolofuse").with_suffix("").as_posix() for file in (REPO / "yolofuse").rglob("*.py")}
    gone = [name for name in _FILES if name not in new and not (REPO / "yolofuse" / name).is_dir()]
    assert len(gone) > 100
    dotted = re.compile("|".join(rf"yolofuse\.{name.replace('/', '.')}\b(?!\.)" for name in gone))
    assert {name: dotted.findall(text) for name, text in texts.items() if dotted.search(text)} == {}


def test_old_names__are_gone(texts: dict[str, str]) -> None:
    word = re.compile(rf"\b({'|'.join(_NAMES)})\b")
    left = {name: sorted(set(word.findall(text))) for name, text in texts.items() if name.endswith(".py")}
    assert {name: words for name, words in left.items() if words} == {}
