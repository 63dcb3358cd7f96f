from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path

import pytest

from yolofuse.data import cache_files
from yolofuse.data.cache_files import check_arrays, lock_cached, make_cache_dir, open_cached, open_partial


def test_make_cache_dir__is_for_its_owner_and_keeps_an_existing_one(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    make_cache_dir(folder)
    assert folder.stat().st_mode & 0o077 == 0
    folder.chmod(0o755)
    make_cache_dir(folder)
    assert folder.stat().st_mode & 0o777 == 0o755


def test_open_partial__creates_and_keeps_content(tmp_path: Path) -> None:
    file = tmp_path / "a.part"
    for expected in (b"", b"kept"):
        with open_partial(file) as partial:
            assert partial.read() == expected
            partial.seek(0)
            partial.write(b"kept")
    with open_cached(file) as cached:
        assert cached.read() == b"kept"


@pytest.mark.parametrize("kind", ["symlink", "hard link", "pipe"])
def test_open__refuses_what_is_no_regular_file(tmp_path: Path, kind: str) -> None:
    target, file = tmp_path / "target", tmp_path / "file"
    target.write_bytes(b"somebody's own")
    if kind == "symlink":
        file.symlink_to(target)
    elif kind == "hard link":
        file.hardlink_to(target)
    else:
        os.mkfifo(file)
    for open_file in (open_cached, open_partial):
        with pytest.raises(OSError, match=r"no plain file|symbolic links"):
            open_file(file)
    assert target.read_bytes() == b"somebody's own"


def test_open_cached__missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_cached(tmp_path / "missing")


def _npz(path: Path, header: str, compression: int = zipfile.ZIP_STORED) -> zipfile.ZipFile:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + bytes(16))
    return zipfile.ZipFile(path)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<i4', 'fortran_order': False, 'shape': (10000000000,), }\n",
        "{'descr': '|S0', 'fortran_order': False, 'shape': (10000000000,), }\n",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (100000, 100000), }\n",
    ],
    ids=["long", "empty texts", "wide"],
)
def test_check_arrays__refuses_more_than_the_file_holds(tmp_path: Path, header: str) -> None:
    with _npz(tmp_path / "a.npz", header) as archive, pytest.raises(ValueError, match=r"claims 1e\+10 values"):
        check_arrays(archive)


def test_check_arrays__refuses_what_is_compressed_and_accepts_the_rest(tmp_path: Path) -> None:
    header = "{'descr': '<i4', 'fortran_order': False, 'shape': (4,), }\n"
    with _npz(tmp_path / "a.npz", header) as archive:
        check_arrays(archive)
    deflated = _npz(tmp_path / "b.npz", header, zipfile.ZIP_DEFLATED)
    with deflated as archive, pytest.raises(ValueError, match="compressed"):
        check_arrays(archive)


def test_lock_cached__says_that_it_waits_and_for_how_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cache_files, "_TOLD_AFTER_S", 0.05)
    monkeypatch.setattr(cache_files, "_LOCK_LIMIT_S", 0.3)
    file = tmp_path / "a.part"
    with open_partial(file) as other, open_partial(file) as partial:
        lock_cached(other, file)
        with pytest.raises(OSError, match=f"another process has locked it .* fuser {file} names it"):
            lock_cached(partial, file)
        assert [record.message.partition(": ")[2] for record in caplog.records] == [
            "another process is writing it or has locked it (fuser names it); waiting"
        ]
        other.close()
        lock_cached(partial, file)
