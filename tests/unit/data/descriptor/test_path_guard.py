from __future__ import annotations

from pathlib import Path

import pytest

from yolofuse.data.descriptor.path_guard import PathGuard


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a folder, and links to a folder and to files outside."""
    (tmp_path / "root" / "rgb").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "other" / name).touch()
        (tmp_path / "root" / name).symlink_to(tmp_path / "other" / name)
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "other")
    return tmp_path / "root"


def test_contains__links_out_are_reported_once_per_folder(root: Path) -> None:
    guard = PathGuard(root)
    assert guard.contains(str(root / "rgb"))
    assert not guard.contains(str(root / "a.png"))
    assert not guard.contains(str(root / "b.png"))
    assert guard.outside_folders == [str(root.parent / "other")]
    ((path, text),) = guard.refusals()
    assert path == str(root / "a.png")
    assert "and 1 more," in text
    assert PathGuard(root, [root.parent / "other"]).contains(str(root / "a.png"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("ir", "no such folder"),
        ("..", "leaves the root"),
        ("/etc", "leaves the root"),
        ("rgb/\0", "is no path"),
        ("linked", "leads out of the data set"),
    ],
)
def test_resolve__refuses_what_is_missing_or_outside(root: Path, given: str, message: str) -> None:
    assert PathGuard(root).resolve("./rgb", "folder") == root / "rgb"
    with pytest.raises(ValueError, match=message):
        PathGuard(root).resolve(given, "folder")


def test_resolve__a_folder_is_no_file(root: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        PathGuard(root).resolve("rgb", "file")
