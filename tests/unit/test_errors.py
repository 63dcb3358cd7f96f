from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from yolofuse.errors import describe_os_error, did_you_mean, listing, plural


def test_did_you_mean__suggests_only_what_is_close() -> None:
    assert did_you_mean("bacth", ["batch", "epochs"]) == "; did you mean batch?"
    assert did_you_mean("yolo11", ["yolo11n", "yolo11s", "rtdetr"], count=2) == "; did you mean yolo11s or yolo11n?"
    assert did_you_mean("PERSON", ["car", "person"]) == "; did you mean person?"
    assert did_you_mean("qqq", ["batch"]) == ""


def test_listing__counts_what_it_does_not_show() -> None:
    assert listing("a.yaml", ["x: wrong"]) == "a.yaml: 1 problem\n  x: wrong"
    assert listing("a.yaml", [str(i) for i in range(23)]).splitlines()[-1] == "  ... and 3 more"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 box", (1, "box")),
        ("2 boxes", (2, "box")),
        ("0 pairs", (0, "pair")),
        ("3 classes", (3, "class")),
        ("4 RGB images without an IR partner", (4, "RGB image", "without an IR partner")),
    ],
)
def test_plural__is_of_the_noun_alone(text: str, words: tuple[int, str] | tuple[int, str, str]) -> None:
    assert plural(*words) == text


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.EFBIG, "larger than the system allows: raise the limit (ulimit -f)"),
        (errno.EDQUOT, "your quota there is used up"),
        (errno.ENOSPC, "free some space"),
        (errno.EISDIR, "move the folder away"),
    ],
)
def test_describe_os_error__names_file_and_limit(tmp_path: Path, code: int, advice: str) -> None:
    shown = describe_os_error(OSError(code, os.strerror(code), str(tmp_path / "a.pt")))
    assert shown.startswith(f"{tmp_path}/a.pt: {os.strerror(code)}; ")
    assert advice in shown


def test_describe_os_error__tells_a_disk_without_inodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = SimpleNamespace(f_files=9, f_favail=0, f_bavail=1000)
    monkeypatch.setattr(os, "statvfs", lambda _: free)
    error = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "a"))
    assert "its disk has space, but no inodes for more files (df -i)" in describe_os_error(error)
