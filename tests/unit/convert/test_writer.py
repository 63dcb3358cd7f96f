"""Images as links or copies; the originals are unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.convert_trees import llvip, tree
from yolofuse.convert import prepare


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return llvip(tmp_path / "LLVIP")


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
