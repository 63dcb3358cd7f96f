"""Test that no path or link leads outside the data root, except to folders in the descriptor's ``links``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.pairs import make_pairs, pairs_of
from tests.support.runs import write_config
from yolofuse.cli import data as data_cli
from yolofuse.cli import train as train_cli
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.data.index.scan import match_source
from yolofuse.errors import DataError


def _flat(**changes: object) -> dict[str, object]:
    folders = {"train": "rgb/train", "train_ir": "ir/train", "train_labels": "labels/train"}
    return {"path": ".", "names": ["person"], **folders, **changes}


def _edited(descriptor: Path, **changes: Any) -> Path:
    descriptor.write_text(yaml.safe_dump(yaml.safe_load(descriptor.read_text()) | changes))
    return descriptor


@pytest.mark.parametrize("key", ["train", "train_ir", "train_labels"])
@pytest.mark.parametrize("path", ["../../../etc", "/etc", "rgb/../../..", "rgb/\0train", "."])
def test_folder__outside_is_refused(tmp_path: Path, key: str, path: str, capsys: pytest.CaptureFixture[str]) -> None:
    descriptor = make_pairs(tmp_path / "data", 1, 0)
    descriptor.write_text(yaml.safe_dump(_flat(**{key: path})))
    if path == ".":  # inside the root: it is read, and is not a folder of pairs
        with pytest.raises(DataError, match=r"partner|same stem|label without"):
            pairs_of(descriptor)
        return
    assert train_cli.main(["--cfg", str(write_config(tmp_path, descriptor))]) == 2
    message = capsys.readouterr().err
    assert "leaves the root" in message or "control character" in message


@pytest.mark.parametrize("key", ["list", "coco", "manifest", "tags"])
@pytest.mark.parametrize("path", ["../secret.txt", "/etc/passwd", "link.txt"])
def test_file__outside_is_refused(tmp_path: Path, key: str, path: str) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret text\n")
    folders: dict[str, object] = {"rgb": "rgb/train", "ir": "ir/train"}
    source = {
        "list": {**folders, "labels": "labels/train", "list": path},
        "coco": {**folders, "coco": path},
        "manifest": {"manifest": path},
        "tags": {**folders, "labels": "labels/train", "tags": {"file": path, "key": "name", "columns": ["at"]}},
    }[key]
    descriptor = make_pairs(tmp_path / "data", 1, 0, extra={"splits": {"train": source}})
    (tmp_path / "data" / "link.txt").symlink_to(secret)
    with pytest.raises(DataError, match=r"leaves the root|leads out of the data set") as caught:
        pairs_of(descriptor)
    assert "secret text" not in str(caught.value)


def _make_other(tmp_path: Path) -> Path:
    """Write another labelled pair outside the data set; return its folder."""
    make_pairs(tmp_path / "other", 1, 0)
    return tmp_path / "other"


@pytest.mark.parametrize("kind", ["rgb", "ir", "labels"])
@pytest.mark.parametrize("what", ["file", "folder", "split", "chain"])
def test_link__that_leads_out_is_refused_unless_links_names_its_folder(tmp_path: Path, kind: str, what: str) -> None:
    descriptor, other = make_pairs(tmp_path / "data", 2, 0), _make_other(tmp_path)
    split = tmp_path / "data" / kind / "train"
    suffix = ".txt" if kind == "labels" else ".png"
    victim = other / kind / "train" / f"train_000{suffix}"
    file = split / f"train_001{suffix}"
    if what == "file":
        file.unlink()
        file.symlink_to(victim)
    elif what == "chain":  # through a link inside
        file.unlink()
        (tmp_path / "data" / "harmless").symlink_to(victim)
        file.symlink_to("../../harmless")
    else:
        (split if what == "split" else split / "sub").parent.mkdir(exist_ok=True)
        if what == "split":
            split.rename(split.with_name("moved"))
            split.symlink_to(victim.parent)
        else:
            (split / "sub").symlink_to(victim.parent)
    with pytest.raises(DataError, match=r"leads out of the data set, (in)?to .*other.*links: \[") as caught:
        pairs_of(descriptor)
    assert str(other) in str(caught.value)
    _edited(descriptor, links=[str(other)])
    problems = match_source(load_descriptor(descriptor).splits["train"][0]).problems
    assert [problem for problem in problems if problem.kind == "outside"] == []


def test_link__inside_or_around_the_root_is_allowed(tmp_path: Path) -> None:
    """Data sets made of links, below a root that is itself a link, are common."""
    descriptor = make_pairs(tmp_path / "disk" / "data", 2, 0)
    image = tmp_path / "disk" / "data" / "rgb" / "train" / "train_001.png"
    image.rename(tmp_path / "disk" / "data" / "kept.png")
    image.symlink_to("../../kept.png")
    (tmp_path / "home").symlink_to(tmp_path / "disk")
    assert len(pairs_of(tmp_path / "home" / "data" / descriptor.name)) == 2
    assert len(load_descriptor(descriptor, root=tmp_path / "home" / "data").splits["train"]) == 1


def test_links__name_folders_below_the_root_or_elsewhere(tmp_path: Path) -> None:
    descriptor, other = make_pairs(tmp_path / "data", 1, 0), _make_other(tmp_path)
    label = tmp_path / "data" / "labels" / "train" / "train_000.txt"
    label.unlink()
    label.symlink_to(other / "labels" / "train" / "train_000.txt")
    assert len(pairs_of(_edited(descriptor, links=["../other"]))) == 1
    for wrong in ("../oth", str(other / "lab"), str(other / "rgb")):  # a common prefix of the name is not enough
        with pytest.raises(DataError, match="leads out of the data set"):
            pairs_of(_edited(descriptor, links=[wrong]))
    for value in ("../other", [5], {"a": "b"}):
        with pytest.raises(DataError, match="links: expected a list of folders"):
            load_descriptor(_edited(descriptor, links=value))


@pytest.mark.parametrize("column", ["rgb", "ir", "label"])
@pytest.mark.parametrize("path", ["../other/rgb/train/train_000.png", "/etc/passwd", "a\0b.png", "link.png"])
def test_manifest__entry_outside_is_refused(tmp_path: Path, column: str, path: str) -> None:
    other = _make_other(tmp_path)
    descriptor = make_pairs(tmp_path / "data", 2, 0, extra={"splits": {"train": {"manifest": "pairs.csv"}}})
    (tmp_path / "data" / "link.png").symlink_to(other / "rgb" / "train" / "train_000.png")
    (tmp_path / "data" / "alias").symlink_to(other)
    row = {"rgb": "rgb/train/train_000.png", "ir": "ir/train/train_000.png", "label": "labels/train/train_000.txt"}
    for given in (path, "alias/rgb/train/train_000.png"):
        cells = row | {column: given}
        (tmp_path / "data" / "pairs.csv").write_text(f"rgb,ir,label\n{','.join(cells.values())}\n")
        with pytest.raises(DataError, match=r"leaves the root|leads out|is no path|can't be read as CSV"):
            pairs_of(descriptor)


def test_list_and_coco__entries_are_names_of_pairs_not_paths(tmp_path: Path) -> None:
    source = {"rgb": "rgb/train", "ir": "ir/train", "labels": "labels/train", "list": "list.txt"}
    descriptor = make_pairs(tmp_path / "data", 1, 0, extra={"splits": {"train": source}})
    victim = _make_other(tmp_path) / "rgb" / "train" / "train_000.png"
    victim = victim.rename(victim.with_name("victim.png"))
    for name in ("../other/rgb/train/victim.png", str(victim), "/etc/passwd", "\0", "\x1b[2J"):
        (tmp_path / "data" / "list.txt").write_text(f"train_000\n{name}\n")
        with pytest.raises(DataError, match="no pair, or more than one") as caught:
            pairs_of(descriptor)
        assert str(caught.value).replace("\n", "").isprintable()


def test_prepare__lists_its_links_in_the_descriptor(tmp_path: Path) -> None:
    make_pairs(tmp_path / "src", 2, 1)
    split = ("--splits", "train,val", "--classes", "person")
    folders = ("--rgb", "rgb/{split}", "--ir", "ir/{split}", "--labels", "labels/{split}")
    arguments = ("prepare", "yolo", "--src", str(tmp_path / "src"), *folders, *split)
    for images in ("link", "copy"):
        out = tmp_path / images
        assert data_cli.main([*arguments, "--out", str(out), "--images", images]) == 0
        content = yaml.safe_load((out / "data.yaml").read_text())
        assert content.get("links") == ([str(tmp_path / "src")] if images == "link" else None)
        assert len(pairs_of(out / "data.yaml")) == 2
        assert (out / "images" / "train" / "train_000.png").is_symlink() == (images == "link")


@pytest.mark.parametrize("split", ["../../escaped", "/tmp/escaped", "..", "a/../../b"])
def test_prepare__split_name_outside_is_refused(tmp_path: Path, split: str, capsys: pytest.CaptureFixture[str]) -> None:
    make_pairs(tmp_path / "src", 2, 1)
    folders = ("--rgb", "rgb/{split}", "--ir", "ir/{split}", "--labels", "labels/{split}", "--classes", "person")
    arguments = ("--src", str(tmp_path / "src"), "--out", str(tmp_path / "out"), *folders, "--splits", split)
    assert data_cli.main(["prepare", "yolo", *arguments]) == 2
    assert "is not the name of a folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
