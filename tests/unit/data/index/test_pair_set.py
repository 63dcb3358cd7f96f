from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.descriptors import COCO_SOURCE, write_coco, write_descriptor
from tests.support.pairs import make_pairs, pairs_of, random_pair, real_data, write_pair
from yolofuse.data import load_descriptor, load_pairs
from yolofuse.errors import DataError


def test_errors__are_reported_all_at_once(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path, 3, 0)
    for index in (0, 2):
        (tmp_path / "labels" / "train" / f"train_{index:03d}.txt").write_text("bad\n")
    with pytest.raises(DataError, match="2 problems"):
        pairs_of(descriptor)


def test_unknown_split__is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no split 'test'; it has train, val"):
        pairs_of(make_pairs(tmp_path), "test")


def test_background__missing_and_empty_labels_count(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path, 3, 0)
    (tmp_path / "labels" / "train" / "train_000.txt").unlink()
    (tmp_path / "labels" / "train" / "train_001.txt").write_text("\n")
    pairs = pairs_of(descriptor)
    assert pairs.num_backgrounds == 2
    assert pairs.records[0].label is None
    assert [len(pairs.labels(index)[1]) for index in range(3)] == [0, 0, 1]


def test_backgrounds__are_pairs_without_a_box_to_detect(tmp_path: Path) -> None:
    write_pair(tmp_path, "train", "0001", random_pair(0))
    write_coco(tmp_path / "gt.json", {1: "0001.png"})
    content = json.loads((tmp_path / "gt.json").read_text())
    content["annotations"][0]["iscrowd"] = 1
    (tmp_path / "gt.json").write_text(json.dumps(content))
    pairs = pairs_of(write_descriptor(tmp_path, {"train": COCO_SOURCE}))
    assert pairs.num_backgrounds == 1


def test_fingerprint__follows_labels_not_times_or_places(tmp_path: Path) -> None:
    first = pairs_of(make_pairs(tmp_path / "a", 2, 0)).fingerprint
    other = make_pairs(tmp_path / "b", 2, 0)
    assert pairs_of(other).fingerprint == first
    (tmp_path / "b" / "labels" / "train" / "train_001.txt").write_text("0 .5 .5 .25 .25\n")
    assert pairs_of(other).fingerprint != first


def test_content_hash__follows_the_bytes_of_verified_images_alone(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path / "a", 2, 0)
    assert pairs_of(descriptor, verify=False).content_hash == ""
    first = pairs_of(descriptor).content_hash
    assert (
        first
        == pairs_of(descriptor, verify=False).content_hash
        == pairs_of(make_pairs(tmp_path / "b", 2, 0)).content_hash
    )
    (tmp_path / "a" / "labels" / "train" / "train_001.txt").write_text("0 .5 .5 .25 .25\n")
    assert pairs_of(descriptor).content_hash == first
    for camera in ("rgb", "ir"):
        image = tmp_path / "a" / camera / "train" / "train_001.png"
        image.write_bytes(image.read_bytes() + b"\0")
        assert pairs_of(descriptor).content_hash != first
        first = pairs_of(descriptor).content_hash


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("roadscene-flir", {"train": (121, 653), "val": (41, 360)}),
        ("llvip-256", {"train": (421, 1303), "val": (85, 238)}),
        ("llvip-hr", {"train": (30, 125), "val": (6, 16)}),
    ],
)
def test_real_data__pairs_from_its_own_yaml(tmp_path: Path, name: str, counts: dict[str, tuple[int, int]]) -> None:
    descriptor = load_descriptor(real_data(name) / "data.yaml")
    for split, expected in counts.items():
        pairs = load_pairs(descriptor, split, cache_dir=tmp_path)
        assert (len(pairs), len(pairs.scan.class_ids)) == expected
