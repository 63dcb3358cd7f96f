"""Train on the data YAMLs of other tools, unchanged, with one command each: on drawn pairs, and on real ones."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.pairs import make_pairs, pairs_of, real_data
from tests.support.runs import without_plots, write_config
from yolofuse.cli import train as train_cli

Folders = Mapping[str, Path]  # of the splits' images, "train" and "val", and of their IR images and labels
FORMS: dict[str, tuple[tuple[str, str, str], str]] = {  # where RGB, IR and labels of a split are, and the YAML
    "ultralytics": (
        ("images/{}", "imagesIR/{}", "labels/{}"),
        "path: .\ntrain: images/train\ntrain_ir: imagesIR/train\nval: images/val\nval_ir: imagesIR/val\n"
        "test:  # optional\nnames:\n{names}\ndownload: |\n  import os\n  os.abort()\n",
    ),
    "YOLOFuse": (
        ("images/{}", "imagesIR/{}", "labels/{}"),
        "path: {root}\ntrain: images/train\nval: images/val\n\nnc: {nc}\nnames:\n{names}\n",
    ),
    "YOLOv11-RGBT": (
        ("visible/images/{}", "infrared/images/{}", "visible/labels/{}"),
        "train:\n  - visible/images/train\nval:\n  - visible/images/val\nnc: {nc}\nnames:\n{names}\nchannels: 4\n",
    ),
    "Roboflow": (
        ("{}/images", "{}/imagesIR", "{}/labels"),
        "train: ../train/images\nval: ../val/images\ntest: ../test/images\n\nnc: {nc}\nnames:\n{names}\n\n"
        "roboflow:\n  workspace: x\n  version: 1\n  license: CC BY 4.0\n",
    ),
    "lists": (
        ("images/visible/{}", "images/infrared/{}", "labels/visible/{}"),
        "path: .\ntrain: train.txt\nval: val.txt\nnames:\n{names}\n",
    ),
}


def _arrange(form: str, root: Path, folders: Folders, names: tuple[str, ...], count: int) -> Path:
    """Copy the first pairs of both splits into a form's layout, and write its YAML."""
    layout, text = FORMS[form]
    for split in ("train", "val"):
        targets = [root / part.format(split) for part in layout]
        for target in targets:
            target.mkdir(parents=True)
        files = sorted(folders[f"{split}-rgb"].iterdir())[:count]
        for file in files:
            for target, kind in zip(targets, ("rgb", "ir", "labels"), strict=True):
                for original in folders[f"{split}-{kind}"].glob(f"{file.stem}.*"):
                    shutil.copy(original, target)
        lines = [f"./{layout[0].format(split)}/{file.name}\n" for file in files]
        (root / f"{split}.txt").write_text("".join(lines))
    listed = "\n".join(f"  {number}: {name}" for number, name in enumerate(names))
    yaml_file = root / "data.yaml"
    yaml_file.write_text(text.format(root=root, nc=len(names), names=listed))
    return yaml_file


def _train(tmp_path: Path, form: str, folders: Folders, names: tuple[str, ...], count: int) -> None:
    file = _arrange(form, tmp_path / "foreign", folders, names, count)
    config = write_config(tmp_path, train={"epochs": 1})
    with without_plots():
        assert train_cli.main(["--cfg", str(config), f"data.descriptor={file}"]) == 0
    assert (tmp_path / "run" / "weights" / "best.pt").is_file()
    pairs = pairs_of(file)
    assert len(pairs) == count
    assert pairs.num_boxes > 0
    assert all(record.rgb.stem == record.ir.stem and record.rgb.parent != record.ir.parent for record in pairs.records)


@pytest.mark.parametrize("form", FORMS)
def test_foreign_yaml__trains_on_drawn_pairs(tmp_path: Path, form: str) -> None:
    make_pairs(tmp_path / "data", 4, 4)
    folders = {
        f"{split}-{kind}": tmp_path / "data" / kind / split
        for split in ("train", "val")
        for kind in ("rgb", "ir", "labels")
    }
    _train(tmp_path, form, folders, ("person",), 4)


@pytest.mark.real
@pytest.mark.parametrize("form", FORMS)
def test_foreign_yaml__trains_on_real_pairs(tmp_path: Path, form: str) -> None:
    data = real_data("roadscene-flir")
    names = {"rgb": "images", "ir": "imagesIR", "labels": "labels"}
    folders = {f"{split}-{kind}": data / name / split for split in ("train", "val") for kind, name in names.items()}
    _train(tmp_path, form, folders, ("person", "bicycle", "car"), 6)
