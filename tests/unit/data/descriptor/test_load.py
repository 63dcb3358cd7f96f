from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support.descriptors import folders, write_descriptor
from tests.support.pairs import make_pairs, pairs_of, random_pair
from yolofuse.config.schema import DataConfig
from yolofuse.data.descriptor.load import configured_descriptor, load_descriptor
from yolofuse.data.index.pair_set import load_pairs
from yolofuse.errors import ConfigError, DataError

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


def test_flat_form__labels_are_beside_images(tmp_path: Path) -> None:
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
        ({"names": ["fire truck", "fire  truck "]}, "names: two names differ only by spaces"),
        ({"splits": {"train": {"rgb": "rgb/train", "ir": "../x", "labels": "labels/train"}}}, "leaves the root"),
        ({"splits": {"train": {"rgb": "rgb/train", "ir": "/etc", "labels": "labels/train"}}}, "leaves the root"),
        ({"splits": {"train": {"rgb": "rgb/none", "ir": "ir/train", "labels": "labels/train"}}}, "no such folder"),
        ({"splits": {"train": {"rgb": "rgb/train", "labels": "labels/train"}}}, "splits.train.ir: is missing"),
        ({"splits": []}, "splits: expected"),
        ({"root": "nowhere"}, "no such folder"),
        ({"orientation": "upright"}, "orientation: expected apply .* or ignore .*got 'upright'"),
        ({"tags": {"file": "none.csv", "key": "name", "columns": ["x"]}}, "tags.file: no such file"),
    ],
)
def test_mistake__is_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_descriptor(_edit(make_pairs(tmp_path), **changes))


def test_orientation__is_given_at_the_top_or_at_a_source(tmp_path: Path) -> None:
    make_pairs(tmp_path, 1, 1)
    splits = {"train": folders(), "val": folders("val", orientation="apply")}
    loaded = load_descriptor(write_descriptor(tmp_path, splits, orientation="ignore"))
    assert [loaded.splits[split][0].orientation for split in splits] == ["ignore", "apply"]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ("[010, car]", ("010", "car")),
        ("{00: a, 01: b}", ("a", "b")),
        ("['no', '12']", ("no", "12")),
        ("{0: a, 0.0: c}", "key '0.0' is given twice"),
        ("{0: a, 00: c}", "names: keys must be 0 .. 1 without gaps"),
        ("{no: a, yes: b}", "names: keys must be 0 .. 1 without gaps"),
        ("{0.0: a, 1.0: b}", "names: keys must be 0 .. 1 without gaps"),
        ("[yes, off]", ("yes", "off")),
        ("[1, 2]", ("1", "2")),
    ],
)
def test_names__are_as_written_or_refused(tmp_path: Path, names: str, found: tuple[str, ...] | str) -> None:
    descriptor = make_pairs(tmp_path, 1, 0)
    text = descriptor.read_text().replace("  train:", "  007:").replace("  0: person\n", "")
    descriptor.write_text(text.replace("names:\n", f"names: {names}\n"))
    if isinstance(found, tuple):
        loaded = load_descriptor(descriptor)
        assert (loaded.names, list(loaded.splits)) == (found, ["007"])
        return
    with pytest.raises(DataError) as caught:
        load_descriptor(descriptor)
    assert found in str(caught.value)


def test_mistakes__are_reported_all_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2 problems") as caught:
        load_descriptor(_edit(make_pairs(tmp_path), download="x", names=[]))
    assert "download" in str(caught.value)
    assert "names" in str(caught.value)


def test_mistakes__each_has_its_key_and_what_was_found(tmp_path: Path) -> None:
    make_pairs(tmp_path, 1, 0)
    parts = [folders(rgb=3, frmae="ir"), {"manifest": "none.csv", "spilt": "x"}, {"descriptor": ""}]
    with pytest.raises(DataError) as caught:
        load_descriptor(write_descriptor(tmp_path, {"train": parts}, links="x", tags={"fil": "a"}))
    assert str(caught.value).splitlines()[1:] == [
        "  links: expected a list of folders that links may lead to (got 'x')",
        "  splits.train[1].frmae: unknown key; did you mean splits.train[1].frame?",
        "  splits.train[1].rgb: expected the path of a folder (got 3)",
        f"  splits.train[2].manifest: no such file {tmp_path / 'none.csv'} (got 'none.csv')",
        "  splits.train[2].spilt: unknown key; did you mean splits.train[2].split?",
        "  splits.train[3].descriptor: string should have at least 1 character (got '')",
        "  tags.columns: is missing; it has no default",
        "  tags.fil: unknown key; did you mean tags.file?",
        "  tags.file: is missing; it has no default",
        "  tags.key: is missing; it has no default",
    ]


def test_mistakes__of_a_missing_root_come_without_those_of_its_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load_descriptor(_edit(make_pairs(tmp_path), root="nowhere", frame="uv"))
    assert [line.split(":")[0] for line in str(caught.value).splitlines()[1:]] == ["  root", "  frame"]


@pytest.mark.parametrize("text", ["", "- a\n", "a: [", "!!python/object/apply:os.abort []\n"])
def test_no_descriptor__is_a_data_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "data.yaml"
    file.write_text(text)
    with pytest.raises(DataError):
        load_descriptor(file)


@pytest.mark.parametrize("name", ["custom"])
def test_shipped_descriptor__reads_once_its_folders_exist(tmp_path: Path, name: str) -> None:
    shipped = _REPO / "configs" / "data" / f"{name}.yaml"
    for source in yaml.safe_load(shipped.read_text())["splits"].values():
        for folder in source.values():
            (tmp_path / folder).mkdir(parents=True)
    assert load_descriptor(shipped, root=tmp_path).names[0] == "person"


def test_sources__are_joined_and_classes_go_by_name(tmp_path: Path) -> None:
    make_pairs(tmp_path / "ours", 2, 0, names=("person", "car"))
    make_pairs(tmp_path / "theirs", 3, 0, names=("dog", "pedestrian", "car"))
    file = tmp_path / "ours" / "data.yaml"
    include = {"descriptor": "../theirs/data.yaml", "name": "other", "classes": {"pedestrian": "person", "dog": None}}
    file.write_text(
        yaml.safe_dump({"root": ".", "names": ["person", "car"], "splits": {"train": [folders(), include]}})
    )
    pairs = pairs_of(file)
    assert [record.key for record in pairs.records] == [
        *("1/train_000", "1/train_001"),
        *("other/train_000", "other/train_001", "other/train_002"),
    ]
    # Of three of theirs, one box each: dog is left out, pedestrian is our person, car our car.
    assert [pairs.labels(index)[1].tolist() for index in range(5)] == [[0], [1], [], [0], [1]]
    assert pairs.records[4].rgb == tmp_path / "theirs" / "rgb" / "train" / "train_002.png"


@pytest.mark.parametrize(
    ("include", "message"),
    [
        ({"descriptor": "../theirs/data.yaml"}, "its class 'dog' is unknown here"),
        ({"descriptor": "../theirs/data.yaml", "classes": {"cat": None}}, "'cat' is not among dog"),
        ({"descriptor": "../theirs/data.yaml", "classes": {"dog": None}, "split": "x"}, "has no 'x'; it has train"),
        ({"descriptor": "../none.yaml"}, "cannot be read"),
        ({"descriptor": "data.yaml"}, "includes itself"),
        ({"rgb": "rgb/train", "ir": "ir/train", "labels": "labels/train", "coco": "x"}, "exclude each other"),
        ({"manifest": "x.csv", "rgb": "rgb/train"}, "exclude each other"),
        (3, "expected {rgb"),
    ],
)
def test_sources__mistake_is_named(tmp_path: Path, include: object, message: str) -> None:
    make_pairs(tmp_path / "ours", 1, 0)
    make_pairs(tmp_path / "theirs", 1, 0, names=("dog",))
    with pytest.raises(DataError, match=message):
        load_descriptor(write_descriptor(tmp_path / "ours", {"train": [folders(), include]}))


def test_sources__that_include_each_other_are_refused(tmp_path: Path) -> None:
    for one, other in (("a", "b"), ("b", "a")):
        text = {"root": ".", "names": ["x"], "splits": {"train": {"descriptor": f"{other}.yaml"}}}
        (tmp_path / f"{one}.yaml").write_text(yaml.safe_dump(text))
    with pytest.raises(DataError, match="includes itself"):
        load_descriptor(tmp_path / "a.yaml")


@pytest.mark.parametrize("resize", ["crop", {"affine": [[1, 0, 0]]}, {"affine": [[0, 0, 1], [0, 0, 1]]}, 3])
def test_resize__mistake_is_named(tmp_path: Path, resize: object) -> None:
    make_pairs(tmp_path, 1, 0)
    with pytest.raises(DataError, match="resize"):
        load_descriptor(write_descriptor(tmp_path, {"train": folders()}, resize=resize))


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ([8000, 7000], "ir_window: expected"),
        ([1], "ir_window: expected"),
        ({"percentiles": [99, 1]}, "ir_window: expected"),
        ({"percentiles": [1, 99], "split": "none"}, "no split 'none' to take percentiles over"),
        ("auto", "ir_window: expected"),
    ],
)
def test_window__mistake_is_named(tmp_path: Path, window: object, message: str) -> None:
    make_pairs(tmp_path, 1, 0)
    with pytest.raises(DataError, match=message):
        load_descriptor(write_descriptor(tmp_path, {"train": folders()}, ir_window=window))


def _with_three_classes(root: Path) -> Path:
    return make_pairs(root, 6, 3, names=("person", "car", "bus"), pair_at=lambda i: random_pair(i, num_classes=3))


@pytest.mark.parametrize(
    ("options", "names", "class_ids"),
    [
        ({}, ("person", "car", "bus"), [0, 1, 2, 0, 1, 2]),
        ({"classes": ("bus", "person")}, ("bus", "person"), [1, None, 0, 1, None, 0]),
        ({"single_class": "thing"}, ("thing",), [0, 0, 0, 0, 0, 0]),
        ({"classes": ("car", "bus"), "single_class": "vehicle"}, ("vehicle",), [None, 0, 0, None, 0, 0]),
    ],
)
def test_classes__are_chosen_and_merged(
    tmp_path: Path, options: dict[str, object], names: tuple[str, ...], class_ids: list[int | None]
) -> None:
    config = DataConfig.model_validate({"descriptor": str(_with_three_classes(tmp_path)), **options})
    chosen = configured_descriptor(config)
    assert chosen.names == names
    pairs = load_pairs(chosen, "train", cache_dir=tmp_path / "cache")
    found = [ids[0] if len(ids := pairs.labels(index)[1]) else None for index in range(6)]
    assert found == class_ids


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("person", "cars"), "data.classes: no class 'cars'; did you mean car.*person, car, bus"),
        (("car", "car"), "data.classes: a class is given twice"),
    ],
)
def test_classes__wrong_names(tmp_path: Path, classes: tuple[str, ...], message: str) -> None:
    config = DataConfig(descriptor=str(_with_three_classes(tmp_path)), classes=classes)
    with pytest.raises(ConfigError, match=message):
        configured_descriptor(config)
