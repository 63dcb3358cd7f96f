"""Convert annotations as published, and compare with labels that were made from them elsewhere."""

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


def _same_boxes(made: Path, expected: Path, split: str, tolerance: float = 2e-6) -> int:
    """Compare the boxes of a split in any order; return their number. The expected labels have 6 decimals."""
    num_boxes = 0
    for name in keys(made, split):
        found = labels(made, f"labels/{split}/{name}.txt")
        remaining = labels(expected, f"{split}/{name}.txt")
        assert len(found) == len(remaining), name
        num_boxes += len(found)
        for row in found:
            near = [other for other in remaining if np.allclose(row, other, rtol=0, atol=tolerance)]
            assert near, (name, row)
            remaining.remove(near[0])
    return num_boxes


def _convert_coco(src: Path, out: Path, names: tuple[str, ...], file: str, choice: ClassChoice | None = None) -> None:
    options: dict[str, Json] = {"rgb": "images/{split}", "ir": "imagesIR/{split}", "splits": ["train", "val"]}
    expected_names = tuple(load_descriptor(src / "data.yaml").names)
    assert set(names) == set(expected_names)
    prepare("coco", src, out, options={**options, "json": file}, choice=choice or ClassChoice(expected_names))


def test_llvip_hr__voc_gives_the_same_boxes(tmp_path: Path) -> None:
    src = real_data("llvip-hr")
    options: dict[str, Json] = {"rgb": "images/{split}", "ir": "imagesIR/{split}", "xml": "annotations/voc_{split}"}
    prepare("voc", src, tmp_path / "out", options={**options, "splits": ["train", "val"]})
    assert _same_boxes(tmp_path / "out", src / "labels", "train") == 125
    assert _same_boxes(tmp_path / "out", src / "labels", "val") == 16


def test_llvip_hr__in_its_published_layout_gives_the_same_boxes(tmp_path: Path) -> None:
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
    assert _same_boxes(tmp_path / "out", real / "labels", "train") == 125  # one scene: no val split is made
    assert len(keys(tmp_path / "out", "test")) == 6


@pytest.mark.parametrize("name", ["mini/m3fd", "mini/vedai", "mini/flir-aligned"])
def test_mini__coco_gives_the_same_boxes(tmp_path: Path, name: str) -> None:
    src = real_data(name)
    expected_names = tuple(load_descriptor(src / "data.yaml").names)
    _convert_coco(src, tmp_path / "out", expected_names, "annotations/coco_{split}.json")
    assert _same_boxes(tmp_path / "out", src / "labels", "train") > 0
    assert _same_boxes(tmp_path / "out", src / "labels", "val") > 0


def test_roadscene__coco_gives_the_same_boxes(tmp_path: Path) -> None:
    src = real_data("roadscene-flir")
    choice = ClassChoice(("person", "bicycle", "car"), drop=("dog",))
    _convert_coco(src, tmp_path / "out", ("person", "bicycle", "car"), "annotations/coco_{split}.json", choice)
    tolerance = 5e-5  # its COCO files have two decimals of a pixel; images are about 300 px wide
    assert _same_boxes(tmp_path / "out", src / "labels", "train", tolerance) == 174 + 10 + 469
    assert _same_boxes(tmp_path / "out", src / "labels", "val", tolerance) == 124 + 21 + 215


@pytest.mark.parametrize("name", ["roadscene-flir", "mini/vtuav", "llvip-256"])
def test_real_labels__survive_the_round_trip_through_coco(tmp_path: Path, name: str) -> None:
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
