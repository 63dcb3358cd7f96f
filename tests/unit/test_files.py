"""Files that are opened only if they are regular, atomic writes, and whose files may be replaced."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest

from yolofuse.errors import ConfigError
from yolofuse.files import (
    check_output_file,
    check_output_folder,
    open_own,
    open_regular,
    remove_partial_files,
    save_json,
    save_text,
    set_aside,
    user_cache_dir,
)


def test_save_json__bytes_of_names_that_are_not_utf8_read_back(tmp_path: Path) -> None:
    name = os.fsdecode(b"lat\xfc \xc3\xbc")
    save_json(tmp_path / "a.json", {name: 1})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {name: 1}
    save_text(tmp_path / "a.txt", name)
    assert (tmp_path / "a.txt").read_bytes() == b"lat\\udcfc \xc3\xbc"


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


def _place(folder: Path, kind: str) -> Path:
    """Put a thing of a kind under a name; a link or a second name leads to ``folder/theirs``."""
    theirs, path = folder / "theirs", folder / "file"
    theirs.write_bytes(b"theirs")
    match kind:
        case "file":
            path.write_bytes(b"theirs")
        case "link":
            path.symlink_to(theirs)
        case "dangling":
            path.symlink_to(folder / "nothing")
        case "second name":
            path.hardlink_to(theirs)
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
    return path


@pytest.mark.parametrize("kind", ["dangling", "pipe", "device", "folder"])
def test_open_regular__refuses_what_never_ends_and_does_not_wait(tmp_path: Path, kind: str) -> None:
    with pytest.raises(OSError, match=r"No such file|no plain file|is a folder"):
        open_regular(_place(tmp_path, kind))


@pytest.mark.parametrize("kind", ["file", "link", "second name"])
def test_open_regular__follows_what_a_user_may_have_linked(tmp_path: Path, kind: str) -> None:
    with open_regular(_place(tmp_path, kind)) as stream:
        assert stream.read() == b"theirs"


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_RDWR | os.O_APPEND | os.O_CREAT])
@pytest.mark.parametrize("kind", ["link", "dangling", "second name", "pipe", "device", "folder"])
def test_open_own__never_leads_to_another_file(tmp_path: Path, kind: str, flags: int) -> None:
    path = _place(tmp_path, kind)
    with pytest.raises(OSError, match=r"no plain file|is a folder|Is a directory"):
        open_own(path, flags)
    assert (tmp_path / "theirs").read_bytes() == b"theirs"
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(
    ("files", "accepted"),
    [
        ({}, True),
        ({".DS_Store": ""}, True),
        ({"page.html": "<title>Ours", "chart.png": ""}, True),
        ({"page.html": "<title>Theirs"}, False),
        ({"chart.png": ""}, False),
    ],
    ids=["empty", "hidden", "ours", "same-name", "theirs"],
)
def test_check_output_folder__holds_nothing_of_others(tmp_path: Path, files: dict[str, str], accepted: bool) -> None:
    out = tmp_path / "out"
    check_output_folder(out, "page.html", "<title>Ours")  # a new one
    out.mkdir()
    for name, text in files.items():
        (out / name).write_text(text)
    if accepted:
        check_output_folder(out, "page.html", "<title>Ours")
        return
    with pytest.raises(ConfigError, match="holds files of something else"):
        check_output_folder(out, "page.html", "<title>Ours")


def test_check_output_file__is_new_or_empty_or_ours(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    for text in (None, "", "run,interruptions\n"):
        if text is not None:
            path.write_text(text)
        check_output_file(path, "interruptions")
    path.write_text("my own notes")
    with pytest.raises(ConfigError, match="not overwritten"):
        check_output_file(path, "interruptions")


def test_remove_partial_files__leaves_those_of_others(tmp_path: Path) -> None:
    for name in (".step_00000001.pt.0123abcd.part", ".mine.part", "film.part"):
        (tmp_path / name).touch()
    (tmp_path / ".folder.0123abcd.part").mkdir()
    remove_partial_files(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".folder.0123abcd.part", ".mine.part", "film.part"]


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


def test_set_aside__keeps_what_was_set_aside_before(tmp_path: Path) -> None:
    names = []
    for text in ("a", "b", "c"):
        (tmp_path / "best.pt").write_text(text)
        names.append(set_aside(tmp_path / "best.pt", "damaged"))
    assert names == ["best.pt.damaged", "best.pt.damaged-2", "best.pt.damaged-3"]
    assert [(tmp_path / name).read_text() for name in names] == ["a", "b", "c"]
