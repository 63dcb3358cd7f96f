"""Atomic writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from yolofuse.files import save_json


def test_save_json__a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    save_json(path, {"AP": 0.1})
    with pytest.raises(ValueError, match="JSON compliant"):
        save_json(path, {"AP": float("nan")})
    assert json.loads(path.read_text()) == {"AP": 0.1}
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        save_json(tmp_path / "folder", {})
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["figures.json", "folder"]
