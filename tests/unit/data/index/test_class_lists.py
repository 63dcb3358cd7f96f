"""Class lists that labelling tools leave among labels must not contradict the names of the data set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.convert_trees import image, text
from tests.support.descriptors import folders, write_descriptor
from tests.support.pairs import make_pairs, pairs_of, random_pair, write_pair
from yolofuse.config.schema import DataConfig
from yolofuse.convert import ClassChoice, prepare
from yolofuse.data.descriptor.load import configured_descriptor
from yolofuse.data.index.pair_set import load_pairs
from yolofuse.errors import DataError

_NOTES = json.dumps({"categories": [{"id": 1, "name": "person"}, {"id": 0, "name": "vehicle"}]})
_LISTS = {
    "labels/train/classes.txt": "vehicle\nperson\n",
    "labels/classes.txt": "vehicle\nperson\n",
    "classes.txt": "\ufeffvehicle\r\nperson",
    "obj.names": "vehicle\nperson\n",
    "labels/train/_darknet.labels": "vehicle\nperson\n",
    "notes.json": _NOTES,
    "labels/train/notes.json": _NOTES,
}


def _descriptor(root: Path) -> Path:
    make_pairs(root, 2, 0)
    return write_descriptor(root, {"train": folders()}, names=["person", "vehicle"])


@pytest.mark.parametrize(("name", "content"), _LISTS.items(), ids=_LISTS)
def test_class_list__in_another_order_is_refused_also_after_a_scan_was_cached(
    tmp_path: Path, name: str, content: str
) -> None:
    descriptor = _descriptor(tmp_path)
    pairs_of(descriptor)
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"lists the classes vehicle, person, but names are person, vehicle; .*remove"):
        pairs_of(descriptor)


@pytest.mark.parametrize(
    "content", ["person\nvehicle\n", "Person \nvehicle\n\n", "person\n", "person\nvehicle\nbike\n"]
)
def test_class_list__that_agrees_is_not_mentioned(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    descriptor = _descriptor(tmp_path)
    (tmp_path / "labels" / "train" / "classes.txt").write_text(content)
    (tmp_path / "labels" / "train" / "notes.json").write_text(json.dumps({"categories": [{"id": 0, "name": "person"}]}))
    assert len(pairs_of(descriptor)) == 2
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_class_list__of_a_manifests_labels_is_compared(tmp_path: Path) -> None:
    _descriptor(tmp_path)
    row = "rgb/train/train_001.png,ir/train/train_001.png,labels/train/train_001.txt"
    (tmp_path / "all.csv").write_text(f"rgb,ir,label\n{row}\n")
    (tmp_path / "labels" / "classes.txt").write_text("dog\n")
    with pytest.raises(DataError, match="lists the classes dog, but names are person"):
        pairs_of(write_descriptor(tmp_path, {"train": {"manifest": "all.csv"}}))


def test_class_list__too_large_or_outside_the_data_set_is_not_shown(tmp_path: Path) -> None:
    root = tmp_path / "set"
    descriptor = _descriptor(root)
    (root / "classes.txt").write_bytes(b"x" * ((1 << 20) + 1))
    (root / "obj.names").symlink_to(text(tmp_path / "secret", "password"))
    with pytest.raises(DataError) as error:
        pairs_of(descriptor)
    assert "classes.txt: can't be read as a class list (larger than 1 MiB)" in str(error.value)
    assert "leads out of the data set" in str(error.value)
    assert "password" not in str(error.value)


def test_image_called_classes__has_its_label(tmp_path: Path) -> None:
    descriptor = _descriptor(tmp_path)
    write_pair(tmp_path, "train", "classes", random_pair(5))
    pairs = pairs_of(descriptor)
    assert (len(pairs), pairs.num_boxes, pairs.num_backgrounds) == (3, 3, 0)
    (tmp_path / "labels" / "train" / "classes.txt").write_text("person\nvehicle\n")
    assert pairs_of(descriptor).num_backgrounds == 1


def test_prepare_yolo__compares_the_list_and_keeps_the_label_of_an_image_called_classes(tmp_path: Path) -> None:
    src = tmp_path / "src"
    for name in ("a", "b", "classes"):
        image(src / "rgb" / f"{name}.jpg")
        image(src / "ir" / f"{name}.png", gray=True)
        text(src / "labels" / f"{name}.txt", "0 .5 .5 .2 .2\n")
    text(src / "obj.names", "vehicle\nperson\n")
    options = {"rgb": "rgb", "ir": "ir", "labels": "labels"}
    with pytest.raises(DataError, match="lists the classes vehicle, person, but names are person, vehicle"):
        prepare("yolo", src, tmp_path / "out", options=options, choice=ClassChoice(("person", "vehicle")))
    made = prepare("yolo", src, tmp_path / "out", options=options, choice=ClassChoice(("vehicle", "person")))
    counts = made.record["counts"]
    assert isinstance(counts, dict)
    assert sum(found["boxes"] for found in counts["labels"].values()) == 3  # type: ignore[index, call-overload, union-attr, misc]


def test_class_list__is_compared_with_all_names_of_the_data_set_where_classes_are_chosen(tmp_path: Path) -> None:
    descriptor = _descriptor(tmp_path)
    (tmp_path / "classes.txt").write_text("person\nvehicle\n")
    for choice in ({"classes": ("vehicle",)}, {"single_class": "object"}):
        chosen = configured_descriptor(DataConfig.model_validate({"descriptor": str(descriptor), **choice}))
        assert len(load_pairs(chosen, "train", cache_dir=tmp_path / "cache")) == 2


@pytest.mark.parametrize(
    ("listed", "is_refused"),
    [
        ("[vehicle, person]", True),
        ("{0: bike, 1: person}", True),
        ("[pedestrian, car]", False),  # other words
        ("[person]", False),
        ("no list", False),
    ],
)
def test_data_yaml__of_another_tool_must_not_have_the_names_in_another_order(
    tmp_path: Path, listed: str, is_refused: bool
) -> None:
    make_pairs(tmp_path, 2, 0)
    (tmp_path / "data.yaml").unlink()
    mine = write_descriptor(tmp_path, {"train": folders()}, names=["person", "vehicle"]).rename(tmp_path / "mine.yaml")
    (tmp_path / "data.yaml").write_text(f"train: ../train/images\nnames: {listed}\nroboflow: {{version: 1}}\n")
    if is_refused:
        with pytest.raises(DataError, match=r"data.yaml: lists the classes .*, but names are person, vehicle"):
            pairs_of(mine)
    else:
        assert len(pairs_of(mine)) == 2
