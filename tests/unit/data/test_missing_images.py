"""Pairs without one of the images: refused unless allowed, and black where they are."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.descriptors import COCO_SOURCE, folders, write_coco, write_counts, write_descriptor
from tests.support.pairs import make_pairs
from yolofuse.config.schema import AugmentConfig
from yolofuse.data import EvalDataset, PairSet, SampleKey, TrainDataset, load_descriptor, load_pairs
from yolofuse.data.augment.photometry import draw_photometry, keep_one_camera
from yolofuse.data.images.read_pair import read_pair
from yolofuse.errors import DataError
from yolofuse.eval.coco import ground_truth
from yolofuse.types import CHANNELS, Modality


def _load(descriptor: Path, split: str = "train", **options: Any) -> PairSet:
    return load_pairs(
        load_descriptor(descriptor), split, cache_dir=descriptor.parent / "cache", **{"allow_missing": True, **options}
    )


def _without_some(root: Path) -> Path:
    """Write four pairs; the second has no thermal image, the third no visible one."""
    descriptor = make_pairs(root, 4, 1)
    (root / "ir/train/train_001.png").unlink()
    (root / "rgb/train/train_002.png").unlink()
    return descriptor


def test_missing__is_refused_by_default(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train_001\.png: no IR partner") as error:
        _load(_without_some(tmp_path), allow_missing=False)
    assert "train_002.png: no RGB partner" in str(error.value)


def test_missing__is_counted_told_and_black(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pairs = _load(_without_some(tmp_path))
    assert [record.missing for record in pairs.records] == [None, "ir", "rgb", None]
    assert pairs.num_missing == {"rgb": 1, "ir": 1}
    assert "black stands for 1 pair without a visible and 1 without a thermal image" in caplog.text
    assert [len(pairs.labels(index)[1]) for index in range(4)] == [1, 1, 1, 1]
    for index in range(4):
        record = pairs.records[index]
        pixels = read_pair(record)
        for modality, channels in CHANNELS.items():
            assert pixels[..., channels].any() == (modality != record.missing)
        assert record.size_hw == (64, 96)
    names = [image["file_name"] for image in ground_truth(pairs.records, pairs.labels, pairs.names)["images"]]
    assert names[2] == "train_002.png"


def test_missing__leaves_the_margin_black_too(tmp_path: Path) -> None:
    """The detector knows a camera without an image by its black, so no grey may be left of the letterbox."""
    pairs = _load(_without_some(tmp_path))
    dataset = EvalDataset(pairs, 128, "square")
    for index in range(4):
        image = dataset[index].image
        for modality, channels in CHANNELS.items():
            margin = image[0, :, channels]
            assert margin.any() == (modality != pairs.records[index].missing)


def test_missing__loads_equal_from_the_cache_and_changes_the_data_hash(tmp_path: Path) -> None:
    complete = _load(make_pairs(tmp_path, 4, 1))
    assert complete.num_missing == {}
    assert complete.fingerprint == _load(tmp_path / "data.yaml", allow_missing=False).fingerprint
    (tmp_path / "ir/train/train_001.png").unlink()
    first, second = _load(tmp_path / "data.yaml"), _load(tmp_path / "data.yaml")
    assert first.fingerprint == second.fingerprint != complete.fingerprint
    assert second.records[1] == first.records[1]


def test_missing__of_every_partner_is_a_difference_of_names(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path, 2, 1)
    for file in (tmp_path / "ir/train").iterdir():
        file.rename(file.with_stem(f"FLIR_{file.stem}"))
    with pytest.raises(DataError, match="no IR partner"):
        _load(descriptor)


@pytest.mark.parametrize("gone", ["empty", "no file"])
def test_missing__in_a_manifest(tmp_path: Path, gone: str) -> None:
    _without_some(tmp_path)
    rows = [{"rgb": f"rgb/train/train_{n:03d}.png", "ir": f"ir/train/train_{n:03d}.png", "label": ""} for n in range(4)]
    if gone == "empty":
        rows[1]["ir"] = rows[2]["rgb"] = ""
    with (tmp_path / "pairs.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ("rgb", "ir", "label"))
        writer.writeheader()
        writer.writerows(rows)
    descriptor = write_descriptor(tmp_path, {"train": {"manifest": "pairs.csv"}})
    assert sorted(record.missing or "" for record in _load(descriptor).records) == ["", "", "ir", "rgb"]
    with pytest.raises(DataError, match=r"pairs\.csv:3.*ir/train/train_001|pairs\.csv:3: ir: empty"):
        _load(descriptor, allow_missing=False)
    (tmp_path / "rgb/train/train_001.png").unlink()
    with pytest.raises(DataError, match=r"pairs\.csv:3: neither image exists"):
        _load(descriptor)


def test_missing__with_labels_in_coco(tmp_path: Path) -> None:
    _without_some(tmp_path)
    write_coco(tmp_path / "gt.json", {n + 1: f"train_{n:03d}.png" for n in range(4)})
    pairs = _load(write_descriptor(tmp_path, {"train": COCO_SOURCE}))
    assert pairs.num_missing == {"rgb": 1, "ir": 1}
    np.testing.assert_allclose(pairs.labels(2)[0], [[(4 + 13 / 2) / 96, 8 / 64, 13 / 96, 8 / 64]])


def test_missing__leaves_out_pairs_that_one_camera_can_not_learn_from(tmp_path: Path) -> None:
    pairs = _load(_without_some(tmp_path), needs="ir")
    assert [record.key for record in pairs.records] == ["train_000", "train_002", "train_003"]


def test_missing__frame_of_a_registered_pair_is_refused(tmp_path: Path) -> None:
    _without_some(tmp_path)
    descriptor = write_descriptor(tmp_path, {"train": folders()}, resize={"affine": [[1, 0, 2], [0, 1, 3]]})
    with pytest.raises(DataError, match="train_002: no rgb image, in whose pixels the labels are"):
        _load(descriptor)
    (tmp_path / "ir/train/train_002.png").unlink()
    (tmp_path / "labels/train/train_002.txt").unlink()
    assert _load(descriptor).num_missing == {"rgb": 0, "ir": 1}


@pytest.mark.parametrize(
    ("dropped", "missing", "expected"),
    [
        (None, [None, None], None),
        ("rgb", [None, None], "rgb"),
        ("rgb", [None, "ir"], None),
        ("ir", [None, "ir"], "ir"),
        (None, ["ir", "ir"], "ir"),
        ("rgb", ["ir"], "ir"),
        ("ir", ["rgb", "ir"], None),
    ],
)
def test_keep_one_camera__of_every_tile(
    dropped: Modality | None, missing: list[Modality | None], expected: Modality | None
) -> None:
    drawn = replace(draw_photometry(AugmentConfig(), np.random.default_rng(0)), dropped=dropped)
    assert keep_one_camera(drawn, missing).dropped == expected


def test_missing__samples_never_lose_both_cameras(tmp_path: Path) -> None:
    pairs = _load(_without_some(tmp_path))
    dataset = TrainDataset(pairs, 64, AugmentConfig(drop_camera=0.9), seed=3)
    for epoch in range(20):
        single = dataset[SampleKey(epoch, 1, False)].image
        assert single[..., :3].any()
        assert not single[..., 3].any() or (single[..., 3] == 114).any()  # black, or the padding
        for tile in dataset.plan(SampleKey(epoch, 1, True)).tiles:
            dropped = dataset.plan(SampleKey(epoch, 1, True)).photometry.dropped
            assert {dropped, pairs.records[tile.index].missing} != {"rgb", "ir"}
    assert EvalDataset(pairs, 64)[2].image[..., 3].any()


def test_missing__thermal_images_do_not_count_in_the_window(tmp_path: Path) -> None:
    counts = np.arange(1000, 1000 + 64 * 96, dtype=np.uint16).reshape(64, 96)
    for key in ("a", "b", "c"):
        write_counts(tmp_path, key, counts)
    descriptor = write_descriptor(tmp_path, {"train": folders()}, ir_window={"percentiles": [0, 100]})
    complete = _load(descriptor)
    (tmp_path / "ir/train/b.png").unlink()
    pairs = _load(descriptor)
    assert pairs.ir_windows.keys() == complete.ir_windows.keys()
    assert list(pairs.ir_windows.values()) == list(complete.ir_windows.values())
    assert [record.format.bits for record in pairs.records] == [16, 16, 16]
    assert not read_pair(pairs.records[1])[..., 3].any()
