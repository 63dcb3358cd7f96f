"""The readers on annotations as published, against the labels that were made of them elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support.convert_trees import keys, labels
from tests.support.pairs import real_data
from yolofuse.convert import ClassChoice, prepare
from yolofuse.convert.conversion_plan import Json
from yolofuse.data.descriptor.load import load_descriptor

pytestmark = pytest.mark.real


def _same_boxes(made: Path, wanted: Path, split: str, tolerance: float = 2e-6) -> int:
    """Compare each label file of a split, in any order; returns the number of boxes. The wanted ones have 6 digits."""
    num_boxes = 0
    for name in keys(made, split):
        found = labels(made, f"labels/{split}/{name}.txt")
        expected = labels(wanted, f"{split}/{name}.txt")
        assert len(found) == len(expected), name
        num_boxes += len(found)
        for row in found:
            near = [other for other in expected if np.allclose(row, other, rtol=0, atol=tolerance)]
            assert near, (name, row)
            expected.remove(near[0])
    return num_boxes


def _by_splits(src: Path, out: Path, names: tuple[str, ...], file: str, choice: ClassChoice | None = None) -> None:
    options: dict[str, Json] = {"rgb": "images/{split}", "ir": "imagesIR/{split}", "splits": ["train", "val"]}
    wanted = tuple(load_descriptor(src / "data.yaml").names)
    assert set(names) == set(wanted)
    prepare("coco", src, out, options={**options, "json": file}, choice=choice or ClassChoice(wanted))


def test_llvip_hr__voc_gives_the_same_boxes(tmp_path: Path) -> None:
    src = real_data("llvip-hr")
    options: dict[str, Json] = {"rgb": "images/{split}", "ir": "imagesIR/{split}", "xml": "annotations/voc_{split}"}
    prepare("voc", src, tmp_path / "out", options={**options, "splits": ["train", "val"]})
    assert _same_boxes(tmp_path / "out", src / "labels", "train") == 125
    assert _same_boxes(tmp_path / "out", src / "labels", "val") == 16


def test_llvip_hr__laid_out_as_published(tmp_path: Path) -> None:
    real, src = real_data("llvip-hr"), tmp_path / "LLVIP"
    for ours, theirs in (("images", "visible"), ("imagesIR", "infrared")):
        for split, part in (("train", "train"), ("val", "test")):
            (src / theirs).mkdir(parents=True, exist_ok=True)
            (src / theirs / part).symlink_to(real / ours / split)
    (src / "Annotations").mkdir()
    for split in ("train", "val"):
        for path in (real / "annotations" / f"voc_{split}").iterdir():
            shutil.copy(path, src / "Annotations")
    prepare("llvip", src, tmp_path / "out")
    assert _same_boxes(tmp_path / "out", real / "labels", "train") == 125  # one scene: nothing is held out
    assert len(keys(tmp_path / "out", "test")) == 6


@pytest.mark.parametrize("name", ["mini/m3fd", "mini/vedai", "mini/flir-aligned"])
def test_mini__coco_gives_the_same_boxes(tmp_path: Path, name: str) -> None:
    src = real_data(name)
    wanted = tuple(load_descriptor(src / "data.yaml").names)
    _by_splits(src, tmp_path / "out", wanted, "annotations/coco_{split}.json")
    assert _same_boxes(tmp_path / "out", src / "labels", "train") > 0
    assert _same_boxes(tmp_path / "out", src / "labels", "val") > 0


def test_roadscene__coco_gives_the_same_boxes(tmp_path: Path) -> None:
    src = real_data("roadscene-flir")
    choice = ClassChoice(("person", "bicycle", "car"), drop=("dog",))
    _by_splits(src, tmp_path / "out", ("person", "bicycle", "car"), "annotations/coco_{split}.json", choice)
    hundredths = 5e-5  # its COCO files have two decimals of a pixel, of some 300
    assert _same_boxes(tmp_path / "out", src / "labels", "train", hundredths) == 174 + 10 + 469
    assert _same_boxes(tmp_path / "out", src / "labels", "val", hundredths) == 124 + 21 + 215


@pytest.mark.parametrize("name", ["roadscene-flir", "mini/vtuav", "llvip-256"])
def test_real_labels__survive_coco_and_back(tmp_path: Path, name: str) -> None:
    src = real_data(name)
    names = tuple(load_descriptor(src / "data.yaml").names)
    folders: dict[str, Json] = {"rgb": "images/{split}", "ir": "imagesIR/{split}", "splits": ["train", "val"]}
    prepare(
        "yolo",
        src,
        tmp_path / "coco",
        options={**folders, "labels": "labels/{split}"},
        choice=ClassChoice(names),
        label_format="coco",
    )
    prepare("coco", tmp_path / "coco", tmp_path / "yolo", options={**folders, "json": "annotations/{split}.json"})
    for split in ("train", "val"):
        assert _same_boxes(tmp_path / "yolo", src / "labels", split) > 0
