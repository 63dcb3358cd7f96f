from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support.pairs import make_pairs
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.errors import DataError

_REPO = Path(__file__).resolve().parents[4]


def _edit(descriptor: Path, **changes: object) -> Path:
    content = yaml.safe_load(descriptor.read_text())
    descriptor.write_text(yaml.safe_dump({**content, **changes}))
    return descriptor


def _flat(root: Path, **changes: object) -> Path:
    for folder in ("images/train", "imagesIR/train", "labels/train", "plain"):
        (root / folder).mkdir(parents=True)
    content = {"path": ".", "train": "images/train", "train_ir": "imagesIR/train", "names": {0: "person"}}
    file = root / "flat.yaml"
    file.write_text(yaml.safe_dump({**content, **changes}))
    return file


def test_native_form__folders_are_below_the_root(tmp_path: Path) -> None:
    descriptor = load_descriptor(make_pairs(tmp_path, names=("a", "b")))
    assert descriptor.names == ("a", "b")
    assert descriptor.splits["val"][0].ir == tmp_path / "ir" / "val"


def test_root__argument_overrides_the_yaml(tmp_path: Path) -> None:
    made = make_pairs(tmp_path / "set")
    moved = tmp_path / "elsewhere.yaml"
    moved.write_text(made.read_text())
    assert load_descriptor(moved, root=tmp_path / "set").splits["train"][0].rgb == tmp_path / "set" / "rgb" / "train"


def test_flat_form__labels_stand_beside_images(tmp_path: Path) -> None:
    (folders,) = load_descriptor(_flat(tmp_path)).splits["train"]
    assert folders.labels == tmp_path / "labels" / "train"
    assert folders.ir == tmp_path / "imagesIR" / "train"


def test_flat_form__no_images_folder_asks_for_labels(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train_labels: missing"):
        load_descriptor(_flat(tmp_path, train="plain"))


def test_flat_form__folder_called_images_above_the_root_is_left_alone(tmp_path: Path) -> None:
    (folders,) = load_descriptor(_flat(tmp_path / "images")).splits["train"]
    assert folders.labels == tmp_path / "images" / "labels" / "train"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"download": "import os; os.abort()"}, "download: refused"),
        ({"split": {}}, "split: unknown key; did you mean splits?"),
        ({"names": {0: "a", 2: "b"}}, "names: keys must be 0 .. 1"),
        ({"names": []}, "names: expected a list"),
        ({"names": ["a", "a"]}, "names: a name is given twice"),
        ({"splits": {"train": {"rgb": "rgb/train", "ir": "../x", "labels": "labels/train"}}}, "leaves the root"),
        ({"splits": {"train": {"rgb": "rgb/train", "ir": "/etc", "labels": "labels/train"}}}, "leaves the root"),
        ({"splits": {"train": {"rgb": "rgb/none", "ir": "ir/train", "labels": "labels/train"}}}, "no such folder"),
        ({"splits": {"train": {"rgb": "rgb/train", "labels": "labels/train"}}}, "splits.train.ir: is missing"),
        ({"splits": []}, "splits: expected"),
        ({"root": "nowhere"}, "no such folder"),
        ({"tags": {"file": "none.csv", "key": "name", "columns": ["x"]}}, "tags.file: no such file"),
    ],
)
def test_mistake__is_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_descriptor(_edit(make_pairs(tmp_path), **changes))


def test_mistakes__are_told_all_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2 problems") as caught:
        load_descriptor(_edit(make_pairs(tmp_path), download="x", names=[]))
    assert "download" in str(caught.value)
    assert "names" in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a\n", "a: [", "!!python/object/apply:os.abort []\n"])
def test_no_descriptor__is_a_data_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "data.yaml"
    file.write_text(text)
    with pytest.raises(DataError):
        load_descriptor(file)


@pytest.mark.parametrize("name", ["llvip", "custom"])
def test_shipped_descriptor__reads_once_its_folders_exist(tmp_path: Path, name: str) -> None:
    shipped = _REPO / "configs" / "data" / f"{name}.yaml"
    for folders in yaml.safe_load(shipped.read_text())["splits"].values():
        for folder in folders.values():
            (tmp_path / folder).mkdir(parents=True)
    assert load_descriptor(shipped, root=tmp_path).names[0] == "person"
