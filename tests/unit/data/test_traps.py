"""Silent mistakes that a review found, one test each: joined sets, shared files, copies, caches that went stale."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from tests.support.pairs import Picture, make_pairs, pairs_of, random_picture, record_calls, write_pair
from yolofuse.data import load_descriptor, load_pairs_with_problems
from yolofuse.data.available_memory import available_memory
from yolofuse.data.index import scan as scan_module
from yolofuse.data.pixel_cache import disk_cache, ram_cache
from yolofuse.engine.prefetcher import DevicePrefetcher
from yolofuse.errors import DataError
from yolofuse.types import PairedBatch

_GIB = 1 << 30


def _deep(root: Path, key: str, counts: np.ndarray, split: str = "train") -> None:
    write_pair(root, split, key, random_picture(0, counts.shape[:2]))
    assert cv2.imwrite(str(root / "ir" / split / f"{key}.png"), counts)


def _descriptor(root: Path, splits: object, **more: object) -> Path:
    file = root / "data.yaml"
    file.write_text(yaml.safe_dump({"root": ".", "names": ["person"], "splits": splits, **more}))
    return file


def _folders(split: str = "train", **more: object) -> dict[str, object]:
    return {"rgb": f"rgb/{split}", "ir": f"ir/{split}", "labels": f"labels/{split}", **more}


def _coco(file: Path, images: dict[int, str], size_hw: tuple[int, int] = (64, 96), category: str = "person") -> None:
    height, width = size_hw
    content = {
        "images": [{"id": n, "file_name": name, "width": width, "height": height} for n, name in images.items()],
        "annotations": [{"id": n, "image_id": n, "category_id": 1, "bbox": [4, 4, 10 + n, 8]} for n in images],
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": category}],
    }
    file.write_text(json.dumps(content))


def test_windows__of_two_sets_that_are_both_called_data_yaml_stay_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, low in (("a", 7000), ("b", 20000)):
        _deep(tmp_path / name, "pair", rng.integers(low, low + 1000, (64, 96)).astype(np.uint16))
        _descriptor(tmp_path / name, {"train": _folders()}, ir_window={"percentiles": [1, 99]})
    parts = [{"descriptor": "a/data.yaml", "name": "a"}, {"descriptor": "b/data.yaml", "name": "b"}]
    windows = [record.format.ir_window for record in pairs_of(_descriptor(tmp_path, {"train": parts})).records]
    assert windows[0] == pytest.approx((7010, 7990), abs=40)
    assert windows[1] == pytest.approx((20010, 20990), abs=40)


def test_window__a_dead_border_line_does_not_weigh_more_than_its_pixels(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).integers(7000, 8000, (512, 640)).astype(np.uint16)
    counts[:, 0] = 0  # 0.16 % of the pixels
    _deep(tmp_path, "pair", counts)
    pairs = pairs_of(_descriptor(tmp_path, {"train": _folders()}, ir_window={"percentiles": [0.5, 99.5]}))
    window = pairs.records[0].format.ir_window
    assert window is not None
    assert window[0] >= 7000


def test_window__is_taken_over_the_pairs_that_coco_lists(tmp_path: Path) -> None:
    for key, low in (("one", 7000), ("two", 20000)):
        _deep(tmp_path, key, np.random.default_rng(0).integers(low, low + 500, (64, 96)).astype(np.uint16))
    _coco(tmp_path / "train.json", {1: "one.png"})
    _coco(tmp_path / "val.json", {1: "two.png"})
    splits = {split: {"rgb": "rgb/train", "ir": "ir/train", "coco": f"{split}.json"} for split in ("train", "val")}
    descriptor = _descriptor(tmp_path, splits, ir_window={"percentiles": [1, 99]})
    for split in ("val", "train"):
        window = pairs_of(descriptor, split).records[0].format.ir_window
        assert window == pytest.approx((7005, 7495), abs=20)


@pytest.mark.parametrize("name", ["val/0001.png", "rgb/val/0001.png", "/data/set/val/0001.png"])
def test_names__with_another_folder_are_not_the_pair_of_the_same_stem(tmp_path: Path, name: str) -> None:
    write_pair(tmp_path, "train", "0001", random_picture(0))
    _coco(tmp_path / "gt.json", {1: name})
    with pytest.raises(DataError, match="no pair, or more than one, is called so"):
        pairs_of(_descriptor(tmp_path, {"train": {"rgb": "rgb", "ir": "ir", "coco": "gt.json"}}))


@pytest.mark.parametrize("name", ["train/0001.png", "0001.png", "rgb/train/0001.png", "/data/set/ir/train/0001.png"])
def test_names__with_its_own_folders_are_the_pair(tmp_path: Path, name: str) -> None:
    write_pair(tmp_path, "train", "0001", random_picture(0))
    _coco(tmp_path / "gt.json", {1: name})
    assert len(pairs_of(_descriptor(tmp_path, {"train": {"rgb": "rgb", "ir": "ir", "coco": "gt.json"}}))) == 1


def test_coco__of_turned_images_is_refused_and_of_scaled_ones_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_pair(tmp_path, "train", "0001", random_picture(0, (64, 96)))
    descriptor = _descriptor(tmp_path, {"train": {"rgb": "rgb/train", "ir": "ir/train", "coco": "gt.json"}})
    _coco(tmp_path / "gt.json", {1: "0001.png"}, size_hw=(96, 64))
    with pytest.raises(DataError, match="says 64x96, but the frame is 96x64; labelled on turned images"):
        pairs_of(descriptor)
    _coco(tmp_path / "gt.json", {1: "0001.png"}, size_hw=(128, 192))
    assert len(pairs_of(descriptor)) == 1
    assert "its boxes are scaled" in caplog.text


def test_pixel_cache__of_a_copy_is_another(tmp_path: Path) -> None:
    """Equal names, sizes and times, other pixels: uncompressed images whose times were kept."""
    caches = []
    for level, name in ((10, "a"), (200, "b")):
        picture: Picture = (np.full((64, 96, 3), level, np.uint8), np.full((64, 96), level, np.uint8), [])
        write_pair(tmp_path / name, "train", "pair", picture, (".bmp", ".bmp"))
        for file in sorted((tmp_path / name).rglob("*.*")):
            os.utime(file, ns=(10**18, 10**18))
        caches.append(disk_cache(pairs_of(_descriptor(tmp_path / name, {"train": _folders()})), 64, tmp_path, 1))
    assert caches[0].path != caches[1].path
    assert (caches[1].read(0) == 200).all()


def test_scan_cache__splits_of_one_manifest_do_not_replace_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_pairs(tmp_path, 2, 2)
    rows = [f"rgb/{s}/{s}_{n:03d}.png,ir/{s}/{s}_{n:03d}.png,{s}" for s in ("train", "val") for n in (0, 1)]
    (tmp_path / "pairs.csv").write_text("\n".join(["rgb,ir,split", *rows]))
    descriptor = _descriptor(tmp_path, {split: {"manifest": "pairs.csv"} for split in ("train", "val")})
    for split in ("train", "val"):
        pairs_of(descriptor, split)
    looked = record_calls(monkeypatch, scan_module, "inspect_image")
    for split in ("train", "val"):
        pairs_of(descriptor, split)
    assert not looked


def test_survey__goes_on_where_percentiles_can_not_be_had(tmp_path: Path) -> None:
    for number in range(3):
        _deep(tmp_path, f"pair{number}", np.full((64, 96), 7000, np.uint16))
    file = tmp_path / "ir" / "train" / "pair1.png"
    file.write_bytes(file.read_bytes()[:60])
    found = load_pairs_with_problems(
        load_descriptor(_descriptor(tmp_path, {"train": _folders()}, ir_window={"percentiles": [1, 99]})),
        "train",
        cache_dir=tmp_path / "cache",
    )
    assert len(found.pairs) == 2
    assert {problem.kind for problem in found.problems} == {"unreadable", "bit-depth"}  # cut short; flat images
    assert found.pairs.records[0].format.ir_window is not None


@pytest.mark.parametrize("form", ["list", "manifest"])
def test_coco__one_file_serves_all_splits(tmp_path: Path, form: str) -> None:
    make_pairs(tmp_path, 4, 0)
    keys = [f"train_{n:03d}" for n in range(4)]
    _coco(tmp_path / "all.json", {n: f"{key}.png" for n, key in enumerate(keys, start=1)})
    (tmp_path / "train.txt").write_text("\n".join(keys[:3]))
    rows = [f"rgb/train/{key}.png,ir/train/{key}.png,{'val' if n == 3 else 'train'}" for n, key in enumerate(keys)]
    (tmp_path / "pairs.csv").write_text("\n".join(["rgb,ir,split", *rows]))
    part = {"rgb": "rgb/train", "ir": "ir/train", "list": "train.txt"} if form == "list" else {"manifest": "pairs.csv"}
    pairs = pairs_of(_descriptor(tmp_path, {"train": {**part, "coco": "all.json"}}))
    assert [record.key.rpartition("/")[2] for record in pairs.records] == keys[:3]
    assert pairs.num_boxes == 3


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("rgb/train/train_001.png,ir/train/train_001.png", r"pairs\.csv:3: fewer cells than the header"),
        ("rgb/train/train_001.png,ir/train/train_001.png,Train", r"pairs\.csv:3: split: 'Train' is not 'train'"),
        ("rgb/train/train_001.png,ir/train/train_001.png,", r"pairs\.csv:3: split: empty"),
    ],
)
def test_manifest__no_row_is_lost_without_a_word(tmp_path: Path, row: str, message: str) -> None:
    make_pairs(tmp_path, 2, 0)
    (tmp_path / "pairs.csv").write_text(f"rgb,ir,split\nrgb/train/train_000.png,ir/train/train_000.png,train\n{row}\n")
    with pytest.raises(DataError, match=message):
        pairs_of(_descriptor(tmp_path, {"train": {"manifest": "pairs.csv"}}))


def test_manifest__labels_of_two_kinds_are_refused(tmp_path: Path) -> None:
    make_pairs(tmp_path, 1, 0)
    _coco(tmp_path / "gt.json", {1: "train_000.png"})
    row = "rgb/train/train_000.png,ir/train/train_000.png,labels/train/train_000.txt"
    (tmp_path / "pairs.csv").write_text(f"rgb,ir,label\n{row}\n")
    with pytest.raises(DataError, match="label: the labels of this source come from its COCO file"):
        pairs_of(_descriptor(tmp_path, {"train": {"manifest": "pairs.csv", "coco": "gt.json"}}))


@pytest.mark.parametrize("orientation", [2, 3, 6])
def test_tiff__that_asks_to_be_turned_is_refused(tmp_path: Path, orientation: int) -> None:
    write_pair(tmp_path, "train", "pair", random_picture(0))
    (tmp_path / "ir" / "train" / "pair.png").unlink()
    pixels = np.random.default_rng(0).integers(0, 255, (64, 96), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "ir" / "train" / "pair.tiff", tiffinfo={274: orientation})
    with pytest.raises(DataError, match=rf"pair\.tiff: stored turned or mirrored \(TIFF orientation {orientation}\)"):
        pairs_of(_descriptor(tmp_path, {"train": _folders()}))


def test_warnings__are_told_again_from_the_cache(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_pair(tmp_path, "train", "0001", random_picture(0))
    _coco(tmp_path / "gt.json", {1: "0001.png"}, size_hw=(128, 192))
    descriptor = _descriptor(tmp_path, {"train": {"rgb": "rgb/train", "ir": "ir/train", "coco": "gt.json"}})
    for _ in range(2):
        caplog.clear()
        pairs_of(descriptor)
        assert "its boxes are scaled" in caplog.text


def test_feed__counts_what_the_host_does_to_bring_a_batch_over() -> None:
    empty = torch.zeros(0)
    batch = PairedBatch(torch.zeros(1, 4, 8, 8), empty, empty, empty, empty, empty, empty)

    def slow(raw: PairedBatch) -> PairedBatch:
        time.sleep(0.05)
        return raw

    feed = DevicePrefetcher(lambda: [batch, batch], lambda position: None, slow, torch.device("cpu"))
    assert len(list(feed)) == 2
    assert feed.wait_s >= 0.1


def _machine(root: Path, lines: str, groups: dict[str, dict[str, str]]) -> tuple[Path, Path]:
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {16 * _GIB // 1024} kB\n")
    (root / "proc" / "self" / "cgroup").write_text(lines)
    for group, files in groups.items():
        folder = root / "cgroup" / group
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)
    return root / "proc", root / "cgroup"


_STAT = f"inactive_file {_GIB}\nactive_file {_GIB}\ntotal_inactive_file {_GIB}\ntotal_active_file {_GIB}\n"
_NO_LIMIT = {"memory.max": "max", "memory.current": "5", "memory.stat": _STAT}
_NESTED = {"memory.max": str(8 * _GIB), "memory.current": str(7 * _GIB), "memory.stat": _STAT}
_OLD = {"memory.limit_in_bytes": str(8 * _GIB), "memory.usage_in_bytes": str(7 * _GIB), "memory.stat": _STAT}


@pytest.mark.parametrize(
    ("lines", "groups", "free"),
    [
        ("0::/\n", {}, 16),
        ("0::/\n", {".": _NO_LIMIT}, 16),
        ("0::/slurm/job1/step\n", {".": _NO_LIMIT, "slurm/job1": _NESTED, "slurm/job1/step": _NO_LIMIT}, 3),
        ("5:memory:/job1\n3:cpu:/\n", {"memory/job1": _OLD}, 3),
    ],
    ids=["no groups", "no limit", "nested, version 2", "version 1"],
)
def test_available_memory__asks_every_group(
    tmp_path: Path, lines: str, groups: dict[str, dict[str, str]], free: int
) -> None:
    assert available_memory(*_machine(tmp_path, lines, groups)) == free * _GIB


def test_available_memory__of_this_machine_is_plausible() -> None:
    assert 0 < available_memory() < 1 << 50


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


def test_disk_cache__full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = pairs_of(make_pairs(tmp_path, 2, 0))
    monkeypatch.setattr(os, "posix_fallocate", _full)
    with pytest.raises(DataError, match=r"No space left on device.*data\.cache_dir"):
        disk_cache(pairs, 64, tmp_path, 1)


def test_disk_cache__sparse_rest_of_a_killed_run_is_no_free_room(
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


def test_tags__a_bare_name_of_two_pairs_tags_neither(tmp_path: Path) -> None:
    for folder in ("set00", "set01"):
        write_pair(tmp_path, "train", f"{folder}/0001", random_picture(0))
    tags = {"file": "meta.csv", "key": "name", "columns": ["daynight"]}
    (tmp_path / "meta.csv").write_text("name,daynight\n0001,day\nset01/0001,night\n")
    with pytest.raises(DataError, match="no row with name = set00/0001"):
        pairs_of(_descriptor(tmp_path, {"train": _folders()}, tags=tags))


def test_backgrounds__are_pairs_with_nothing_to_be_found(tmp_path: Path) -> None:
    write_pair(tmp_path, "train", "0001", random_picture(0))
    _coco(tmp_path / "gt.json", {1: "0001.png"})
    content = json.loads((tmp_path / "gt.json").read_text())
    content["annotations"][0]["iscrowd"] = 1
    (tmp_path / "gt.json").write_text(json.dumps(content))
    pairs = pairs_of(_descriptor(tmp_path, {"train": {"rgb": "rgb/train", "ir": "ir/train", "coco": "gt.json"}}))
    assert pairs.num_backgrounds == 1


def test_coco__that_lists_nothing_is_told(tmp_path: Path) -> None:
    write_pair(tmp_path, "train", "0001", random_picture(0))
    _coco(tmp_path / "gt.json", {})
    with pytest.raises(DataError, match=r"lists no pair of splits\.train"):
        pairs_of(_descriptor(tmp_path, {"train": {"rgb": "rgb/train", "ir": "ir/train", "coco": "gt.json"}}))
