from __future__ import annotations

import logging
from pathlib import Path

import pytest
import yaml

from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.errors import DataError


def _write(folder: Path, text: str = "", **content: object) -> Path:
    for split in ("train", "valid"):
        for kind in ("images", "imagesIR", "labels"):
            (folder / split / kind).mkdir(parents=True, exist_ok=True)
    file = folder / "data.yaml"
    names = {} if "names:" in text else {"names": ["person"]}
    content = {"train": "train/images", "val": "valid/images", **names, **content}
    file.write_text(yaml.safe_dump({key: value for key, value in content.items() if value != ""}) + text)
    return file


def _message(file: Path, caplog: pytest.LogCaptureFixture) -> str:
    with caplog.at_level(logging.INFO):
        load_descriptor(file)
        load_descriptor(file)  # logged once
    (line,) = caplog.messages
    return line


def test_roboflow__opens_unchanged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    splits = {"train": "../train/images", "val": "../valid/images", "test": "../test/images"}
    line = _message(_write(tmp_path, nc=1, roboflow={"workspace": "x", "version": 1}, **splits), caplog)
    for part in (
        "ignored roboflow;",
        "train: ../train/images is read as train/images",
        "val: ../valid/images is read as valid/images",
        "test is left out: '../test/images' is not there",
        "train_ir: train/imagesIR was found",
    ):
        assert part in line
    assert load_descriptor(tmp_path / "data.yaml").splits.keys() == {"train", "val"}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("channels: 4", "channels"),
        ("license: CC BY 4.0", "license"),
        ("flip_idx: [0, 1]", "flip_idx"),
        ("minival: train", "minival"),
        ("5: 5", "5"),
        ("download: |\n  import os; os.abort()", r"download (nothing is fetched or run)"),
    ],
)
def test_unknown_key__that_does_no_harm_is_named_and_ignored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, key: str
) -> None:
    assert f"ignored {key};" in _message(_write(tmp_path, f"{text}\n"), caplog)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"train_irr": "x"}, "train_irr: unknown key; did you mean train_ir?"),
        ({"frmae": "ir"}, "frmae: unknown key; did you mean frame?"),
        ({"root": "."}, "root: unknown key that names files"),
        ({"coco": "x.json"}, "coco: unknown key"),
        ({"thermal": "train/imagesIR"}, "thermal: unknown key that names files; write train, train_ir, train_labels"),
        ({"extra": ["train/imagesIR"]}, "extra: unknown key that names files"),
        ({"kpt_shape": [17, 2]}, "kpt_shape: labels of key points are not read"),
        ({"nc": 2}, "nc: is 2, but names lists 1 class"),
        ({"val": "../none/images"}, "val: leaves the root"),
        ({"train": 3}, "train: expected the path of a folder, of a .txt list of images, or several of them"),
        ({"test": "train/images", "test_ir": "none"}, "test_ir: no such folder"),
    ],
)
def test_harmful__is_refused(tmp_path: Path, content: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message.replace("?", r"\?")):
        load_descriptor(_write(tmp_path, "", **content))


@pytest.mark.parametrize("text", ["test:\n", "test: ''\n", "test: []\n", "path:\n", "test_ir:\ntest: # later\n"])
def test_empty_value__is_no_value(tmp_path: Path, text: str) -> None:
    assert load_descriptor(_write(tmp_path, text)).splits.keys() == {"train", "val"}


def test_test_split__that_is_not_complete_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "test").mkdir()
    assert "test is left out: test_ir: is missing" in _message(_write(tmp_path, test="test"), caplog)


@pytest.mark.parametrize("is_absolute", [False, True])
def test_folder__outside_the_root_gives_the_line_that_includes_it(tmp_path: Path, is_absolute: bool) -> None:
    _write(tmp_path / "set")
    start = f"{tmp_path}/set" if is_absolute else "../set"
    file = _write(tmp_path / "yaml", train=f"{start}/train/images", val=f"{start}/valid/images")
    for split in ("train", "valid"):
        (tmp_path / "yaml" / split).rename(tmp_path / "yaml" / f"no_{split}")
    line = f"if it belongs to the data set, write:  path: {tmp_path / 'set'}"
    with pytest.raises(DataError, match="2 problems") as caught:
        load_descriptor(file)
    assert str(caught.value).count(line) == 2
    assert load_descriptor(file, root=tmp_path / "set").splits.keys() == {"train", "val"}


def test_path__relative_absolute_or_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _write(tmp_path / "datasets" / "mine").parent
    for folder, path in (("datasets", "mine"), ("elsewhere", str(root)), ("elsewhere", "datasets/mine")):
        (tmp_path / folder).mkdir(exist_ok=True)
        file = tmp_path / folder / "mine.yaml"
        file.write_text(yaml.safe_dump({"path": path, "train": "train/images", "names": ["person"]}))
        monkeypatch.chdir(tmp_path)
        assert load_descriptor(file).root == root
    monkeypatch.chdir(root)
    with pytest.raises(DataError, match=r"path: no such folder .*elsewhere/datasets/mine; give data\.root"):
        load_descriptor(file)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names: [yes, no, On, off]\n", ("yes", "no", "On", "off")),
        ("names: {0: no, 1: 7}\n", ("no", "7")),
        ("names: [1.50, 2020-01-02, true]\n", ("1.50", "2020-01-02", "true")),
        ("names:\n- no\n- y\n", ("no", "y")),
    ],
)
def test_names__are_the_text_that_is_written(tmp_path: Path, text: str, names: tuple[str, ...]) -> None:
    assert load_descriptor(_write(tmp_path, text)).names == names


def test_names__are_numbered_where_only_their_count_is_given(tmp_path: Path) -> None:
    assert load_descriptor(_write(tmp_path, names="", nc=2)).names == ("class_0", "class_1")


@pytest.mark.parametrize("given", ["2", "two", True, [1]])
def test_nc__that_is_no_number_is_refused(tmp_path: Path, given: object) -> None:
    with pytest.raises(DataError, match="nc: must be a number, as in nc: 2, without quotes"):
        load_descriptor(_write(tmp_path, nc=given))


def test_pattern_of_all_names__is_read_as_its_folder(tmp_path: Path) -> None:
    file = _write(tmp_path, train="train/images/*.jpg")
    (source,) = load_descriptor(file).splits["train"]
    assert (source.rgb, source.ir, source.labels) == tuple(
        tmp_path / "train" / name for name in ("images", "imagesIR", "labels")
    )
    assert source.patterns == ("*.jpg", "", "")


@pytest.mark.parametrize(
    ("key", "given", "message"),
    [
        ("train", "*/images/*.jpg", r"write one \*, in the file's name.*; or the folder, whose subfolders.*too: \."),
        ("test", "valid/images/**/*.jpg", r"or the folder, whose subfolders are read too: valid/images "),
        ("train", "train/images/[ab].jpg", r"no such folder .*; patterns are not expanded here: write the folder"),
    ],
)
def test_pattern__that_is_not_read_says_what_to_write(tmp_path: Path, key: str, given: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_descriptor(_write(tmp_path, **{key: given}))
