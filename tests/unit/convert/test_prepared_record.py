"""``prepared.json``: the same content for the same source and options."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.convert_trees import llvip
from yolofuse.convert import prepare


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return llvip(tmp_path / "LLVIP")


def test_record__has_no_dates_and_no_order_of_chance(source: Path, tmp_path: Path) -> None:
    prepare("llvip", source, tmp_path / "out")
    for path in source.rglob("*.jpg"):
        os.utime(path, (1, 1))
    assert not prepare("llvip", source, tmp_path / "out").is_new
