"""Labels that two splits or sources take for different images: no pair may get the boxes of another."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.support.descriptors import write_coco, write_descriptor
from tests.support.pairs import pairs_of, random_pair, write_pair
from yolofuse.check.check import check_dataset
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.errors import DataError

SHARED = r"labels are also those of other images in splits\.train"


def _equal_names(root: Path) -> None:
    """Write two splits of three pairs each, whose files have equal names and different images."""
    for number in range(6):
        write_pair(root, ("train", "val")[number // 3], f"{number % 3:04d}", random_pair(number))


def _folders(root: Path, val: str, **of_val: object) -> Path:
    splits = {
        "train": {"rgb": "rgb/train", "ir": "ir/train", "labels": "labels/train"},
        "val": {"rgb": "rgb/val", "ir": "ir/val", "labels": val} | of_val,
    }
    return write_descriptor(root, splits)


def _coco(root: Path, **of_val: object) -> Path:
    write_coco(root / "all.json", {number: f"{number:04d}.png" for number in range(3)}, (64, 96))
    own = {"coco": "all.json"}
    val = {"rgb": "rgb/val", "ir": "ir/val"} | own | of_val
    return write_descriptor(root, {"train": {"rgb": "rgb/train", "ir": "ir/train"} | own, "val": val})


def _linked(root: Path) -> Path:
    shutil.rmtree(root / "labels" / "val")
    (root / "labels" / "val").symlink_to("train")
    return _folders(root, "labels/val")


def _manifests(root: Path) -> Path:
    for split in ("train", "val"):
        rows = [f"rgb/{split}/{n:04d}.png,ir/{split}/{n:04d}.png,labels/train/{n:04d}.txt" for n in range(3)]
        (root / f"{split}.csv").write_text("\n".join(["rgb,ir,label", *rows]))
    return write_descriptor(root, {split: {"manifest": f"{split}.csv"} for split in ("train", "val")})


def _manifest_and_folder(root: Path) -> Path:
    _manifests(root)
    train = {"rgb": "rgb/train", "ir": "ir/train", "labels": "labels/train"}
    return write_descriptor(root, {"train": train, "val": {"manifest": "val.csv"}})


SHARING: dict[str, Callable[[Path], Path]] = {
    "one folder": lambda root: _folders(root, "labels/train"),
    "a link to the folder": _linked,
    "one COCO file": _coco,
    "two manifests": _manifests,
    "a manifest and a folder": _manifest_and_folder,
}


@pytest.mark.parametrize("describe", SHARING.values(), ids=SHARING.keys())
def test_labels_of_both_splits__are_refused_in_each(tmp_path: Path, describe: Callable[[Path], Path]) -> None:
    _equal_names(tmp_path)
    descriptor = describe(tmp_path)
    with pytest.raises(DataError, match=rf"splits\.val: 3 (label files|images) of its {SHARED}: \S+ is taken for"):
        pairs_of(descriptor, "val")
    with pytest.raises(DataError, match=r"in splits\.val: .*rgb/train/0000\.png and for rgb/val/0000\.png"):
        pairs_of(descriptor, "train")


def test_flat_yaml__labels_of_both_splits_are_refused(tmp_path: Path) -> None:
    _equal_names(tmp_path)
    flat = {"train": "rgb/train", "val": "rgb/val", "train_ir": "ir/train", "val_ir": "ir/val", "names": ["person"]}
    flat |= {"train_labels": "labels/train", "val_labels": "labels/train"}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(flat))
    with pytest.raises(DataError, match=r"val: 3 label files of its labels are also those of other images in train"):
        pairs_of(tmp_path / "data.yaml", "val")


@pytest.mark.parametrize("shared", [True, False])
def test_tags_of_both_splits__are_refused(tmp_path: Path, shared: bool) -> None:
    _equal_names(tmp_path)
    for name in ("train", "val"):
        (tmp_path / f"{name}.csv").write_text("pair,light\n0000,day\n0001,day\n0002,night\n")
    splits = {
        name: {part: f"{part}/{name}" for part in ("rgb", "ir", "labels")}
        | {"tags": {"file": "train.csv" if shared else f"{name}.csv", "key": "pair", "columns": ["light"]}}
        for name in ("train", "val")
    }
    descriptor = write_descriptor(tmp_path, splits)
    if shared:
        text = (
            r"splits\.val: 3 rows of its tags are also those of other images in splits\.train: \S+train\.csv: 0000 is"
        )
        with pytest.raises(DataError, match=text):
            pairs_of(descriptor, "val")
    else:
        assert pairs_of(descriptor, "val").records[2].tags == {"light": "night"}


def test_sources_of_one_split__may_not_share_labels(tmp_path: Path) -> None:
    _equal_names(tmp_path)
    sources = [{"rgb": f"rgb/{name}", "ir": f"ir/{name}", "labels": "labels/train"} for name in ("train", "val")]
    descriptor = write_descriptor(tmp_path, {"train": sources})
    with pytest.raises(DataError, match=r"splits\.train\[2\]: 3 label files of its labels .* in splits\.train\[1\]"):
        pairs_of(descriptor)


def test_check__shared_labels_are_an_error(tmp_path: Path) -> None:
    _equal_names(tmp_path)
    _folders(tmp_path, "labels/train")
    report = check_dataset(load_descriptor(tmp_path / "data.yaml"))
    found = [(finding.severity, finding.where) for finding in report.findings if finding.kind == "shared-label"]
    assert found == [("error", "train"), ("error", "val")]


SEPARATE: dict[str, Callable[[Path], Path]] = {
    "the same images": lambda root: _folders(root, "labels/train", rgb="rgb/train", ir="ir/train"),
    "one camera's images": lambda root: _folders(root, "labels/train", ir="ir/train"),
    "labels of their own": lambda root: _folders(root, "labels/val"),
    "one COCO file of one camera's images": lambda root: _coco(root, rgb="rgb/train"),
}


@pytest.mark.parametrize("describe", SEPARATE.values(), ids=SEPARATE.keys())
def test_labels_of_the_same_scene__may_be_shared(tmp_path: Path, describe: Callable[[Path], Path]) -> None:
    _equal_names(tmp_path)
    descriptor = describe(tmp_path)
    assert len(pairs_of(descriptor, "val")) == len(pairs_of(descriptor)) == 3


def test_label_files_without_a_line__may_be_shared(tmp_path: Path) -> None:
    _equal_names(tmp_path)
    for number in range(3):
        (tmp_path / "labels" / "train" / f"{number:04d}.txt").write_text("")
    assert pairs_of(_folders(tmp_path, "labels/train"), "val").num_boxes == 0


def test_coco_file_of_all_splits__names_with_folders_belong_to_one(tmp_path: Path) -> None:
    _equal_names(tmp_path)
    names = {number: f"{('train', 'val')[number // 3]}/{number % 3:04d}.png" for number in range(6)}
    write_coco(tmp_path / "all.json", names, (64, 96))
    (tmp_path / "train.txt").write_text("".join(f"train/{number:04d}\n" for number in range(3)))
    (tmp_path / "val.txt").write_text("".join(f"val/{number:04d}\n" for number in range(3)))
    splits = {name: {"rgb": "rgb", "ir": "ir", "coco": "all.json", "list": f"{name}.txt"} for name in ("train", "val")}
    descriptor = write_descriptor(tmp_path, splits)
    assert [record.key for record in pairs_of(descriptor, "val").records] == ["val/0000", "val/0001", "val/0002"]
