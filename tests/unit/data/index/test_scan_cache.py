from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.descriptors import COCO_SOURCE, write_coco, write_descriptor
from tests.support.pairs import make_pairs, pairs_of, random_pair, record_calls, write_pair
from yolofuse.data.index import scan as scan_module


def test_cache__second_start_reads_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    descriptor = make_pairs(tmp_path, 3, 0)
    first = pairs_of(descriptor)
    seen = record_calls(monkeypatch, scan_module, "inspect_image")
    second = pairs_of(descriptor)
    assert not seen
    assert second.fingerprint == first.fingerprint
    assert list(second.records) == list(first.records)


@pytest.mark.parametrize("name", ["rgb/train/train_001.png", "ir/train/train_001.png", "labels/train/train_001.txt"])
def test_cache__is_keyed_by_both_modalities_and_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    descriptor = make_pairs(tmp_path, 3, 0)
    pairs_of(descriptor)
    seen = record_calls(monkeypatch, scan_module, "inspect_image")
    file = tmp_path / name
    file.write_bytes(file.read_bytes() + b"\n")
    pairs_of(descriptor)
    assert seen


@pytest.mark.parametrize("name", ["rgb/train/train_000.bmp", "labels/train/train_000.txt"])
def test_cache__is_not_of_a_file_exchanged_for_one_of_equal_size_and_time(tmp_path: Path, name: str) -> None:
    descriptor = make_pairs(tmp_path, 2, 0, suffixes=(".bmp", ".png"))
    before = pairs_of(descriptor)
    file, other = tmp_path / name, tmp_path / name.replace("000", "001")
    status = file.stat()
    file.write_bytes(other.read_bytes())
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    after = pairs_of(descriptor)
    is_label = file.suffix == ".txt"
    assert (after.fingerprint != before.fingerprint) == is_label
    assert (after.content_hash != before.content_hash) != is_label
    assert after.files_hash != before.files_hash  # by which the cache of pixels is named


def test_cache__unverified_does_not_stand_for_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    descriptor = make_pairs(tmp_path, 2, 0)
    pairs_of(descriptor, verify=False)
    seen = record_calls(monkeypatch, scan_module, "inspect_image")
    pairs_of(descriptor, verify=True)
    assert seen


class _Bomb:
    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return Path.touch, (Path("exploded"),)  # type: ignore[return-value]


@pytest.mark.parametrize("kind", ["noise", "pickle", "object array", "half a file"])
def test_cache__damaged_or_planted_is_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    descriptor = make_pairs(tmp_path, 2, 0)
    first = pairs_of(descriptor)
    (cache,) = (tmp_path / "cache").iterdir()
    if kind == "noise":
        cache.write_bytes(b"not a zip")
    elif kind == "pickle":
        cache.write_bytes(pickle.dumps(_Bomb()))
    elif kind == "object array":
        np.savez(cache, signature=np.array([_Bomb()], dtype=object))
    else:
        cache.write_bytes(cache.read_bytes()[:200])
    assert pairs_of(descriptor).fingerprint == first.fingerprint
    assert not (tmp_path / "exploded").exists()


def test_scan_cache__splits_of_one_manifest_do_not_replace_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_pairs(tmp_path, 2, 2)
    rows = [f"rgb/{s}/{s}_{n:03d}.png,ir/{s}/{s}_{n:03d}.png,{s}" for s in ("train", "val") for n in (0, 1)]
    (tmp_path / "pairs.csv").write_text("\n".join(["rgb,ir,split", *rows]))
    descriptor = write_descriptor(tmp_path, {split: {"manifest": "pairs.csv"} for split in ("train", "val")})
    for split in ("train", "val"):
        pairs_of(descriptor, split)
    looked = record_calls(monkeypatch, scan_module, "inspect_image")
    for split in ("train", "val"):
        pairs_of(descriptor, split)
    assert not looked


def test_warnings__are_logged_again_from_the_cache(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_pair(tmp_path, "train", "0001", random_pair(0))
    write_coco(tmp_path / "gt.json", {1: "0001.png"}, size_hw=(128, 192))
    descriptor = write_descriptor(tmp_path, {"train": COCO_SOURCE})
    for _ in range(2):
        caplog.clear()
        pairs_of(descriptor)
        assert "its boxes are scaled" in caplog.text
