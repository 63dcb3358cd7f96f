from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import signal
from dataclasses import fields
from itertools import product
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
import torch

from tests.support.descriptors import folders, write_descriptor
from tests.support.pairs import (
    LabelledPair,
    make_pairs,
    pairs_of,
    random_pair,
    record_calls,
    save_stored,
    write_pair,
)
from yolofuse.batch import PairedBatch
from yolofuse.config.schema import AugmentConfig
from yolofuse.data import pixel_cache
from yolofuse.data.dataloader import batch_loader
from yolofuse.data.dataset import TrainDataset
from yolofuse.data.images.lru_reader import Reader
from yolofuse.data.index.pair_set import PairSet
from yolofuse.data.pixel_cache import PixelCache, choose_cache, disk_cache, ram_cache
from yolofuse.data.sampler import EpochSampler
from yolofuse.errors import DataError

_TENSORS = [field.name for field in fields(PairedBatch) if field.name != "on_host"]
_IMGSZ = 64


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> PairSet:
    """Pairs larger than training size, so that they are reduced."""
    root = tmp_path_factory.mktemp("pairs")
    return pairs_of(make_pairs(root, 10, 0, (150, 202), suffixes=(".jpg", ".png")))


def _reader(kind: str, pairs: PairSet, folder: Path) -> Reader | None:
    if kind == "none":
        return None
    return ram_cache(pairs, _IMGSZ, 2) if kind == "ram" else disk_cache(pairs, _IMGSZ, folder, 2)


def _bytes(batch: PairedBatch) -> list[bytes]:
    return [getattr(batch, name).contiguous().numpy().tobytes() for name in _TENSORS]


def _epoch(reader: Reader | None, pairs: PairSet, workers: int, world: int, pool: int) -> list[list[bytes]]:
    """Return the global batches of two epochs, the second without mosaics: the ranks' parts joined."""
    augment = AugmentConfig(mosaic_pool=pool, degrees=3.0 if pool else 0.0)
    found: list[list[bytes]] = []
    for epoch in (0, 3):
        parts: list[list[PairedBatch]] = []
        for rank in range(world):
            sampler = EpochSampler(len(pairs), 4, 7, rank, world, pool)
            sampler.set_epoch(epoch, mosaic=epoch == 0)
            parts.append(list(batch_loader(TrainDataset(pairs, _IMGSZ, augment, 7, reader), sampler, workers)))
        for step in zip(*parts, strict=True):
            joined: dict[str, Any] = {name: torch.cat([getattr(part, name) for part in step]) for name in _TENSORS}
            offsets = [torch.full_like(part.batch_index, 4 // world * n) for n, part in enumerate(step)]
            joined["batch_index"] = joined["batch_index"] + torch.cat(offsets)
            found.append(_bytes(PairedBatch(**joined)))
    return found


_Case = tuple[Literal["none", "ram", "disk"], int, int]
_FEW: list[_Case] = [("ram", 0, 2), ("disk", 2, 1)]
_ALL: list[_Case] = list(product(("none", "ram", "disk"), (0, 2, 4), (1, 2)))


@pytest.mark.parametrize("cases", [_FEW, pytest.param(_ALL, marks=pytest.mark.soak)], ids=["few", "all"])
@pytest.mark.parametrize("pool", [0, 4])
def test_batches__do_not_depend_on_cache_workers_and_ranks(
    pairs: PairSet, tmp_path: Path, pool: int, cases: list[_Case]
) -> None:
    expected = _epoch(None, pairs, workers=0, world=1, pool=pool)
    assert len(expected) == 6
    for kind, workers, world in cases:
        reader = _reader(kind, pairs, tmp_path)
        assert _epoch(reader, pairs, workers, world, pool) == expected, (kind, workers, world)


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_cache__decodes_each_pair_once(
    pairs: PairSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Literal["ram", "disk"]
) -> None:
    decoded = record_calls(monkeypatch, pixel_cache, "read_pair")
    reader = _reader(kind, pairs, tmp_path)
    for workers in (0, 2):
        _epoch(reader, pairs, workers=workers, world=1, pool=0)
    assert sorted(record.image_id for record, _ in decoded) == list(range(1, 11))


def test_disk_cache__is_reused_until_a_file_or_the_size_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    descriptor = make_pairs(tmp_path / "set", 3, 0)
    decoded = record_calls(monkeypatch, pixel_cache, "read_pair")
    first = disk_cache(pairs_of(descriptor), _IMGSZ, tmp_path / "pixels", 1)
    again = disk_cache(pairs_of(descriptor), _IMGSZ, tmp_path / "pixels", 1)
    assert len(decoded) == 3
    assert again.path == first.path
    file = tmp_path / "set" / "ir" / "train" / "train_001.png"
    os.utime(file, ns=(1, 1))
    assert disk_cache(pairs_of(descriptor), _IMGSZ, tmp_path / "pixels", 1).path != first.path
    assert disk_cache(pairs_of(descriptor), 32, tmp_path / "pixels", 1).path != first.path
    now = disk_cache(pairs_of(descriptor), _IMGSZ, tmp_path / "pixels", 1).path
    monkeypatch.setattr("cv2.__version__", "9.9")  # another decoder and resizing
    assert disk_cache(pairs_of(descriptor), _IMGSZ, tmp_path / "pixels", 1).path != now
    assert not list((tmp_path / "pixels").glob("*.part"))


def test_disk_cache__partial_file_is_overwritten(pairs: PairSet, tmp_path: Path) -> None:
    whole = disk_cache(pairs, _IMGSZ, tmp_path / "a", 1)
    broken = tmp_path / "b" / f"{whole.path.name}.part"
    broken.parent.mkdir()
    broken.write_bytes(b"killed in the middle")
    made = disk_cache(pairs, _IMGSZ, tmp_path / "b", 1)
    assert made.path.read_bytes() == whole.path.read_bytes()
    assert list((tmp_path / "b").iterdir()) == [made.path]


def test_cache__without_free_space_is_refused(pairs: PairSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_cache, "available_memory", lambda: 1 << 20)
    with pytest.raises(DataError, match=r"train\.cache: ram needs .* GiB .*; use disk"):
        ram_cache(pairs, _IMGSZ, 1)
    usage = type("Usage", (), {"free": 1 << 20})
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(DataError, match=r"train\.cache: disk needs .* set data\.cache_dir"):
        disk_cache(pairs, _IMGSZ, tmp_path, 1)


def test_cache__is_mapped_by_processes_that_were_not_forked(pairs: PairSet, tmp_path: Path) -> None:
    for cache in (ram_cache(pairs, _IMGSZ, 1), disk_cache(pairs, _IMGSZ, tmp_path, 1)):
        sent = pickle.dumps(cache)
        assert len(sent) < 20_000  # the path is sent, the pixels are not
        np.testing.assert_array_equal(pickle.loads(sent).read(3), cache.read(3))
        other = PixelCache(cache.path, pairs, _IMGSZ)
        np.testing.assert_array_equal(other.read(9), cache.read(9))


def _map_and_die(pairs: PairSet, connection: Connection) -> None:
    cache = ram_cache(pairs, _IMGSZ, 1)
    connection.send(str(cache.path))
    os.kill(os.getpid(), signal.SIGKILL)


def test_ram_cache__is_freed_when_its_process_is_killed(pairs: PairSet) -> None:
    """A killed process leaves nothing behind: the memory has no name by which it could be found."""
    before = set(Path("/dev/shm").iterdir())
    cv2.setNumThreads(1)  # OpenCV's thread pool does not survive the fork
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_map_and_die, args=(pairs, sender))
    process.start()
    assert receiver.poll(30)
    path = receiver.recv()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert path.startswith("/proc/")
    assert not Path(path).exists()
    left = set(Path("/dev/shm").iterdir()) - before
    assert not [file for file in left if "yolofuse" in file.name]


def test_pixel_cache__of_a_copy_is_another(tmp_path: Path) -> None:
    """Equal names, sizes and times, other pixels: uncompressed images whose times were kept."""
    caches = []
    for level, name in ((10, "a"), (200, "b")):
        sample: LabelledPair = (np.full((64, 96, 3), level, np.uint8), np.full((64, 96), level, np.uint8), [])
        write_pair(tmp_path / name, "train", "pair", sample, (".bmp", ".bmp"))
        for file in sorted((tmp_path / name).rglob("*.*")):
            os.utime(file, ns=(10**18, 10**18))
        caches.append(disk_cache(pairs_of(write_descriptor(tmp_path / name, {"train": folders()})), 64, tmp_path, 1))
    assert caches[0].path != caches[1].path
    assert (caches[1].read(0) == 200).all()


def test_pixel_cache__follows_the_orientation(tmp_path: Path) -> None:
    """Turned by 180 degrees, sizes are the same: only the setting tells one cache from the other."""
    write_pair(tmp_path, "train", "pair", random_pair(0))
    upright = random_pair(0)[0][..., ::-1]
    save_stored(tmp_path / "rgb" / "train" / "pair.png", upright, 3)
    found = {}
    for setting in ("apply", "ignore"):
        pairs = pairs_of(write_descriptor(tmp_path, {"train": folders()}, orientation=setting))
        found[setting] = disk_cache(pairs, 96, tmp_path / "cache", 1).read(0)[..., :3]
    np.testing.assert_array_equal(found["apply"], upright)
    np.testing.assert_array_equal(found["ignore"], upright[::-1, ::-1])


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_ram_cache__gives_its_memory_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = pairs_of(make_pairs(tmp_path, 2, 0))
    before = _open_files()
    for _ in range(3):
        cache = ram_cache(pairs, 64, 1)
        assert cache.read(1).any()
        del cache
    assert _open_files() == before
    monkeypatch.setattr(os, "posix_fallocate", _full)
    with pytest.raises(DataError, match="of memory can't be allocated"):
        ram_cache(pairs, 64, 1)
    assert _open_files() == before


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_disk_cache__full_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = pairs_of(make_pairs(tmp_path, 2, 0))
    monkeypatch.setattr(os, "posix_fallocate", _full)
    with pytest.raises(DataError, match=r"No space left on device.*data\.cache_dir"):
        disk_cache(pairs, 64, tmp_path, 1)


def test_disk_cache__an_image_that_is_gone_leaves_no_space_taken(tmp_path: Path) -> None:
    pairs = pairs_of(make_pairs(tmp_path, 2, 0))
    pairs.records[1].ir.unlink()
    with pytest.raises(DataError, match="No such file"):
        disk_cache(pairs, 64, tmp_path / "pixels", 1)
    assert [file.stat().st_size for file in (tmp_path / "pixels").iterdir()] == [0]


def test_disk_cache__damaged_pair_is_read_from_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pixel_cache, "_CHECKED", 1)  # of an older cache: the first pair
    pairs = pairs_of(make_pairs(tmp_path, 3, 0))
    cache = disk_cache(pairs, 64, tmp_path, 1)
    whole = [cache.read(index).copy() for index in range(3)]
    with cache.path.open("r+b") as file:
        file.seek(whole[0].nbytes)
        file.write(bytes(whole[1].nbytes))
    again = disk_cache(pairs, 64, tmp_path, 1)
    assert again.path == cache.path
    for _ in range(2):
        assert all(np.array_equal(again.read(index), whole[index]) for index in range(3))
    assert caplog.text.count("holds damaged pairs") == 1


def test_disk_cache__sparse_rest_of_a_killed_run_does_not_count_as_free_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = pairs_of(make_pairs(tmp_path, 2, 0))
    whole = disk_cache(pairs, 64, tmp_path / "a", 1)
    with (tmp_path / f"{whole.path.name}.part").open("wb") as rest:
        rest.truncate(1 << 42)
    usage = type("Usage", (), {"free": 1 << 20})
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(DataError, match=r"but 0\.0 are free"):
        disk_cache(pairs, 64, tmp_path, 1)


def test_choose__takes_memory_first_then_disk_then_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = pairs_of(make_pairs(tmp_path, 2, 0))
    folder = tmp_path / "not" / "there"
    size = pixel_cache._num_bytes(pairs, 64)
    free = {"memory": 4 * size + 4, "disk": (1 << 30) + size + 4 * len(pairs)}
    monkeypatch.setattr(pixel_cache, "available_memory", lambda: free["memory"])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": free["disk"]}))
    with monkeypatch.context() as patch:
        patch.setattr(pixel_cache, "_SPARE", 0)
        assert choose_cache(pairs, 64, folder) == "ram"
        free["memory"] -= 4
        assert choose_cache(pairs, 64, folder) == "disk"
    free["memory"] = (1 << 30) + size  # what ram_cache needs
    assert choose_cache(pairs, 64, folder) == "ram"
    ram_cache(pairs, 64, 1)
    free["memory"] -= 1
    assert choose_cache(pairs, 64, folder) == "disk"
    disk_cache(pairs, 64, folder, 1)
    free["disk"] -= 1
    assert choose_cache(pairs, 64, tmp_path / "other") == "none"
    assert choose_cache(pairs, 64, folder) == "disk"  # it is there already
    assert not (tmp_path / "other").exists()
