"""The command ``check``: exit codes, page, wrong arguments."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from tests.support.descriptors import COCO_SOURCE, write_coco, write_descriptor
from tests.support.pairs import make_pairs
from yolofuse.cli.check import add_check
from yolofuse.errors import ConfigError, YolofuseError


def _run(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser()
    add_check(parser.add_subparsers(required=True))
    args = parser.parse_args(["check", *map(str, arguments)])
    code: int = args.run(args)
    return code


def test_check__exits_0_without_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_pairs(tmp_path / "data", 3, 1)
    assert _run("--data", data, "--out", tmp_path / "out", "--splits", "train", "--sample", "4") == 0
    assert "ready to train" in capsys.readouterr().out
    assert "<html" in (tmp_path / "out" / "check.html").read_text()


def test_check__exits_1_with_an_error(tmp_path: Path) -> None:
    data = make_pairs(tmp_path / "data", 3, 1)
    next((tmp_path / "data" / "ir" / "train").iterdir()).unlink()
    assert _run("--data", data, "--splits", "train") == 1


@pytest.mark.parametrize("split", ["train", "val"])
def test_check__exits_2_where_a_split_has_no_box(
    tmp_path: Path, split: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_pairs(tmp_path / "data", 3, 1)
    for file in (tmp_path / "data" / "labels" / split).iterdir():
        file.rename(file.with_suffix(".xml"))
    assert _run("--data", data) == 2
    text = capsys.readouterr().out
    assert f"no-boxes [{split}] no pair has a box" in text
    assert f"foreign-label [{split}] {3 if split == 'train' else 1} image" in text


def test_check__shows_what_the_loader_warns_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_pairs(tmp_path, 2, 0)
    write_coco(tmp_path / "gt.json", {1: "train_000.png", 2: "train_001.png"}, size_hw=(128, 192))
    data = write_descriptor(tmp_path, {"train": COCO_SOURCE})
    assert _run("--data", data) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "warning coco [train] 1 warning about the COCO file" in text
    assert "gt.json gives other sizes than 2 of 2 images have, such as 192x128 for 96x64; its boxes are scaled" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--splits", "train,tset"), "no split 'tset'"),
        (("--sample", "0"), "--sample: must be 1 or more"),
        (("--out", "data.yaml"), "is a file; name a folder"),
    ],
    ids=["split", "sample", "out"],
)
def test_check__refuses_wrong_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make_pairs(tmp_path, 2, 1)
    with pytest.raises(ConfigError, match=message):
        _run("--data", "data.yaml", *arguments)


def test_check__writes_its_page_again_but_not_over_somebodys(tmp_path: Path) -> None:
    data, out = make_pairs(tmp_path / "data", 2, 1), tmp_path / "out"
    arguments = ("--data", data, "--splits", "train", "--sample", "1", "--out", out)
    for _ in range(2):
        assert _run(*arguments) == 0
    (out / "check.html").write_text("<html>mine")
    with pytest.raises(ConfigError, match=r"out: holds files of something else \(check\.html\)"):
        _run(*arguments)
    assert (out / "check.html").read_text() == "<html>mine"


def test_check__refuses_a_missing_descriptor(tmp_path: Path) -> None:
    with pytest.raises(YolofuseError, match=r"gone\.yaml"):
        _run("--data", tmp_path / "gone.yaml")
