"""The command ``prepare``: its options reach the format."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from tests.support.convert_trees import image, keys, record, voc
from yolofuse.cli.prepare import add_prepare
from yolofuse.errors import DataError


def _pairs(root: Path, *names: str, ir_size: tuple[int, int] = (64, 48)) -> Path:
    for name in names:
        image(root / "rgb" / f"{name}.jpg")
        image(root / "ir" / f"{name}.png", ir_size, gray=True)
    return root


def _command(*argv: str) -> None:
    parser = argparse.ArgumentParser()
    add_prepare(parser.add_subparsers(required=True))
    args = parser.parse_args(["prepare", *argv])
    args.run(args)


def test_command_line__makes_the_folder_and_prints_its_descriptor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    src = _pairs(tmp_path / "src", "a", "b", "c")
    for name in "abc":
        voc(src / "xml" / f"{name}.xml", [("van", 1, 2, 3, 4)])
    folders = ("--rgb", "rgb", "--ir", "ir", "--xml", "xml", "--val-share", "0.34", "--images", "copy")
    _command("voc", "--src", str(src), "--out", str(tmp_path / "out"), *folders, "--to", "coco")
    assert capsys.readouterr().out.strip() == str(tmp_path / "out" / "data.yaml")
    assert len(keys(tmp_path / "out", "val")) == 1
    assert record(tmp_path / "out")["options"] == {
        "rgb": "rgb",
        "ir": "ir",
        "xml": "xml",
        "splits": None,
        "frame": "rgb",
        "stretch": False,
        "seed": 0,
        "val_share": 0.34,
        "unlabelled": "error",
        "images": "copy",
        "form": "coco",
        "any_size": False,
        "classes": None,
        "drop": [],
    }


@pytest.mark.parametrize(
    "options",
    [
        ("llvip", "--val-scenes", "01,02"),
        ("m3fd", "--seed", "3", "--val-share", "0.3"),
        ("flir-adas-v1", "--thermal", "16"),
        ("flir-adas-v2",),
        ("flir-aligned", "--classes", "person"),
        ("kaist", "--labels-of", "rgb", "--train-step", "3", "--cyclist", "person", "--val-videos", "set00/V000"),
        ("dronevehicle", "--to", "coco"),
        ("vedai", "--fold", "2", "--size", "512"),
        ("coco", "--rgb", "a", "--ir", "b", "--json", "c", "--unlabelled", "background"),
        ("yolo", "--rgb", "a", "--ir", "b", "--labels", "c", "--classes", "x,y"),
    ],
    ids=lambda options: str(options[0]),
)
def test_command_line__options_of_every_format_reach_it(tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "src").mkdir()
    with pytest.raises(DataError, match=r"no (folder|file|pairs|such folder)"):
        _command(*options, "--src", str(tmp_path / "src"), "--out", str(tmp_path / "out"))


def test_command_line__a_split_without_a_box_is_an_error(tmp_path: Path) -> None:
    src = _pairs(tmp_path / "src", "train/a", "train/b", "val/c")
    for name in ("train/a", "train/b"):
        voc(src / "xml" / f"{name}.xml", [("van", 1, 2, 3, 4)])
    voc(src / "xml" / "val" / "c.xml", [])
    folders = ("--rgb", "rgb/{split}", "--ir", "ir/{split}", "--xml", "xml/{split}", "--splits", "train,val")
    for _ in range(2):  # also where the folder is up to date
        with pytest.raises(DataError, match="val: none of its 1 pairs has a box in labels"):
            _command("voc", "--src", str(src), "--out", str(tmp_path / "out"), *folders)
        assert record(tmp_path / "out")["counts"]["labels"]["train"]["boxes"] == 2
