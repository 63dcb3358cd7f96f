"""Atomic writes."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest

from yolofuse.files import save_json, user_cache_dir


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


def _no_home(monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    def getpwuid(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", getpwuid)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))


def test_user_cache_dir__of_a_user_without_a_home_is_private_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _no_home(monkeypatch, tmp_path)
    folder = user_cache_dir()
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
    assert user_cache_dir() == folder


@pytest.mark.parametrize("kind", ["link", "open to all", "file"])
def test_user_cache_dir__leaves_what_others_placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    _no_home(monkeypatch, tmp_path)
    place = tmp_path / f"yolofuse-{os.getuid()}"
    if kind == "link":
        (tmp_path / "other").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "other")
    elif kind == "file":
        place.touch()
    else:
        place.mkdir()
        place.chmod(0o777)
    folder = user_cache_dir()
    assert folder != place
    assert folder.stat().st_mode & 0o777 == 0o700
