"""Test that caches use no pickle and lie outside the data set, and that planted or damaged ones are rebuilt."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.attacks import Calls
from tests.support.pairs import make_pairs, pairs_of
from tests.support.runs import write_config
from yolofuse.cli import data as data_cli
from yolofuse.cli import train as train_cli
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.data.index.pair_set import load_pairs
from yolofuse.data.pixel_cache import disk_cache
from yolofuse.errors import DataError

_SIDE = 64


def _pickled_call(marker: Path) -> Any:
    array = np.empty(1, object)
    array[0] = Calls(os.system, f"touch {marker}")
    return array


def _npy(marker: Path) -> bytes:
    stream = io.BytesIO()
    np.save(stream, _pickled_call(marker), allow_pickle=True)
    return stream.getvalue()


def test_planted_cache__runs_code_where_pickle_is_allowed(tmp_path: Path) -> None:
    """Check the attack itself: ultralytics loads such a label cache with ``allow_pickle=True``."""
    (tmp_path / "labels.cache").write_bytes(_npy(tmp_path / "marker"))
    np.load(str(tmp_path / "labels.cache"), allow_pickle=True)
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize("command", ["train", "check", "prepare"])
def test_label_cache_of_ultralytics__is_not_opened(tmp_path: Path, command: str) -> None:
    marker = tmp_path / "marker"
    descriptor = make_pairs(tmp_path / "data", 2, 1, names=["person"])
    for kind in ("rgb", "ir", "labels"):
        for name in (f"{kind}.cache", f"{kind}/train.cache", f"{kind}/train/train.cache"):
            (tmp_path / "data" / name).write_bytes(_npy(marker))
        (tmp_path / "data" / kind / "train" / "train_000.npy").write_bytes(_npy(marker))  # its cached images
    if command == "train":
        config = write_config(tmp_path, descriptor, model={"base": "yolov8n", "cut": "mid"}, train={"epochs": 1})
        pairs_of(descriptor)
        assert train_cli.main(["--cfg", str(config), "weights.pretrained=nothing.pt"]) == 2  # after reading the data
    elif command == "check":
        data_cli.main(["check", "--data", str(descriptor), "--out", str(tmp_path / "report")])
        assert (tmp_path / "report").exists()
    else:
        folders = ("--rgb", "rgb/{split}", "--ir", "ir/{split}", "--labels", "labels/{split}", "--classes", "person")
        arguments = ("--src", str(tmp_path / "data"), "--out", str(tmp_path / "out"), *folders, "--splits", "train,val")
        assert data_cli.main(["prepare", "yolo", *arguments]) == 0
    assert not marker.exists()


def _scan_file(tmp_path: Path) -> Path:
    (file,) = (tmp_path / "cache").glob("pairs-*.npz")
    return file


def _pickled_member(file: Path, marker: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, _npy(marker) if name == "class_ids.npy" else content)


def _compressed(file: Path, marker: Path) -> None:
    """Compress the members, as a zip bomb would."""
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def _huge_header(file: Path, marker: Path) -> None:
    """Write a header that claims an array of terabytes."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 4)})
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, head.getvalue() if name == "boxes_xywhn.npy" else content)


def _other_counts(file: Path, marker: Path) -> None:
    arrays = dict(np.load(file))
    arrays["class_ids"] = np.full_like(arrays["class_ids"], 7)[:-1]
    np.savez(file, **arrays)


def _other_values(file: Path, marker: Path) -> None:
    arrays = dict(np.load(file))
    arrays["class_ids"] = np.full_like(arrays["class_ids"], 7)
    np.savez(file, **arrays)


def _link(file: Path, marker: Path) -> None:
    moved = file.rename(file.with_suffix(".moved"))
    file.symlink_to(moved)


def _endless(file: Path, marker: Path) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


def _pipe(file: Path, marker: Path) -> None:
    file.unlink()
    os.mkfifo(file)


_PLANTS: dict[str, Callable[[Path, Path], object]] = {
    "pickle": lambda file, marker: file.write_bytes(pickle.dumps(Calls(os.system, f"touch {marker}"))),
    "npy": lambda file, marker: file.write_bytes(_npy(marker)),
    "pickled-member": _pickled_member,
    "compressed": _compressed,
    "huge-header": _huge_header,
    "other-counts": _other_counts,
    "other-values": _other_values,
    "link": _link,
    "endless": _endless,
    "pipe": _pipe,
}


@pytest.mark.parametrize("plant", _PLANTS)
def test_scan_cache__planted_is_rebuilt(tmp_path: Path, plant: str, caplog: pytest.LogCaptureFixture) -> None:
    descriptor, marker = make_pairs(tmp_path, 3, 0), tmp_path / "marker"
    original = pairs_of(descriptor)
    _PLANTS[plant](_scan_file(tmp_path), marker)
    assert pairs_of(descriptor).fingerprint == original.fingerprint
    assert "cache can't be used and is rebuilt" in caplog.text
    caplog.clear()
    assert pairs_of(descriptor).fingerprint == original.fingerprint
    assert "rebuilt" not in caplog.text  # the rebuilt cache is valid
    assert not marker.exists()


@pytest.mark.parametrize("plant", ["link", "endless", "pipe", "deep", "nan"])
def test_window_cache__planted_is_rebuilt(tmp_path: Path, plant: str, caplog: pytest.LogCaptureFixture) -> None:
    descriptor = make_pairs(tmp_path, 3, 0, extra={"ir_window": {"percentiles": [1, 99]}})
    original = pairs_of(descriptor)
    (file,) = (tmp_path / "cache").glob("window-*.json")
    if plant in _PLANTS:
        _PLANTS[plant](file, tmp_path / "marker")
    else:
        text = file.read_text()
        file.write_text("[" * 3000 if plant == "deep" else text.replace('"low": ', '"low": NaN, "l": '))
    assert pairs_of(descriptor).ir_windows == original.ir_windows
    assert "rebuilt" in caplog.text


def _pixels(tmp_path: Path) -> tuple[Path, bytes]:
    cache = disk_cache(pairs_of(tmp_path / "data.yaml"), _SIDE, tmp_path / "pixels", 1)
    return cache.path, cache.path.read_bytes()


@pytest.mark.parametrize("plant", ["zeros", "cut", "longer", "bit", "link", "endless", "pipe", "pickle"])
def test_pixel_cache__planted_is_rebuilt(tmp_path: Path, plant: str, caplog: pytest.LogCaptureFixture) -> None:
    make_pairs(tmp_path, 3, 0)
    file, original = _pixels(tmp_path)
    contents = {
        "zeros": bytes(len(original)),
        "cut": original[:-1],
        "longer": original + b"x",
        "bit": original[:100] + bytes([original[100] ^ 1]) + original[101:],
    }
    if plant in contents:
        file.write_bytes(contents[plant])
    else:
        _PLANTS[plant](file, tmp_path / "marker")
    same_file, rebuilt = _pixels(tmp_path)
    assert "cache can't be used and is rebuilt" in caplog.text
    assert (same_file, rebuilt) == (file, original)
    assert not file.is_symlink()
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("kind", ["link", "hard-link", "pipe"])
def test_pixel_cache__overwrites_no_other_file(tmp_path: Path, kind: str) -> None:
    """Otherwise anyone with write access to the cache folder could truncate any file of the user."""
    make_pairs(tmp_path, 3, 0)
    file, _ = _pixels(tmp_path)
    file.unlink()
    victim, part = tmp_path / "victim", Path(f"{file}.part")
    victim.write_text("precious")
    if kind == "link":
        part.symlink_to(victim)
    elif kind == "hard-link":
        os.link(victim, part)
    else:
        os.mkfifo(part)
    with pytest.raises(DataError, match=r"train\.cache: .*can't be written"):
        _pixels(tmp_path)
    assert victim.read_text() == "precious"


def test_caches__are_outside_the_data_set_and_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    descriptor = make_pairs(tmp_path / "data", 2, 0, extra={"ir_window": {"percentiles": [1, 99]}})
    before = sorted((tmp_path / "data").rglob("*"))
    monkeypatch.setenv("YOLOFUSE_CACHE", str(tmp_path / "home" / "cache"))
    pairs = load_pairs(load_descriptor(descriptor), "train", workers=1)
    disk_cache(pairs, _SIDE, tmp_path / "home" / "cache", 1)
    assert sorted((tmp_path / "data").rglob("*")) == before
    assert {path.name[:6] for path in (tmp_path / "home" / "cache").iterdir()} == {"pairs-", "window", "pixels"}
    assert (tmp_path / "home" / "cache").stat().st_mode & 0o077 == 0
