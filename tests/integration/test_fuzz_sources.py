"""Fuzz descriptors, labels, COCO files, manifests, lists, tag files and caches: an error message, never a crash."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.fuzzing import EDITS, FUZZ, NASTY_VALUES, NASTY_WORDS, Edit, damaged, nothing_written, within_limits
from tests.support.pairs import make_pairs, pairs_of
from yolofuse.data import load_descriptor, load_pairs, load_pairs_with_problems
from yolofuse.data.descriptor.source import Source, TagFile
from yolofuse.data.index.coco_labels import read_coco
from yolofuse.data.index.manifest import read_manifest
from yolofuse.data.index.match_files import match_folders
from yolofuse.data.index.scan_cache import load_scan
from yolofuse.data.index.tags import load_tags
from yolofuse.data.index.yolo_labels import read_labels
from yolofuse.errors import DataError

Change = Callable[[dict[str, Any]], object]
_FOLDERS = {"rgb": "rgb/train", "ir": "ir/train"}
_ROW = {"rgb": "rgb/train/train_000.png", "ir": "ir/train/train_000.png", "label": "labels/train/train_000.txt"}


def _coco() -> dict[str, Any]:
    images = [{"id": i, "file_name": f"train_00{i}.png", "width": 24, "height": 16} for i in range(2)]
    boxes = [{"id": i + 1, "image_id": i, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": i} for i in range(2)]
    return {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "person"}]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a data set in ``data`` with labels of all kinds; every example restores what it damages."""
    base = tmp_path_factory.mktemp("fuzz")
    root = base / "data"
    make_pairs(root, 2, 1, (16, 24))
    (root / "coco.json").write_text(json.dumps(_coco()))
    (root / "pairs.jsonl").write_text(json.dumps({**_ROW, "split": "train", "tags": {"at": "night"}}) + "\n")
    (root / "pairs.csv").write_text("rgb,ir,label,split,at\n" + ",".join((*_ROW.values(), "train", "night")) + "\n")
    (root / "list.txt").write_text("train_000\n./rgb/train/train_001.png\n")
    (root / "tags.csv").write_text("name,at\ntrain_000,day\ntrain_001,night\n")
    sources: dict[str, dict[str, object]] = {
        "train": {**_FOLDERS, "labels": "labels/train"},
        "coco": {**_FOLDERS, "coco": "coco.json"},
        "lines": {"manifest": "pairs.jsonl", "split": "train"},
        "table": {"manifest": "pairs.csv", "split": "train"},
        "list": {
            **_FOLDERS,
            "labels": "labels/train",
            "list": "list.txt",
            "tags": {"file": "tags.csv", "key": "name", "columns": ["at"]},
        },
    }
    splits = {split: [source] for split, source in sources.items()}
    (root / "data.yaml").write_text(yaml.safe_dump({"root": ".", "names": ["person"], "splits": splits}))
    return base


@contextmanager
def _holding(file: Path, content: bytes) -> Iterator[None]:
    """Replace the content of a file within a block."""
    before = file.read_bytes()
    file.write_bytes(content)
    try:
        yield
    finally:
        file.write_bytes(before)


def _read(base: Path, *expected: str) -> None:
    """Load the data set strictly and leniently; nothing outside the cache may change."""
    try:
        with nothing_written(base, "cache"), within_limits(*expected):
            descriptor = load_descriptor(base / "data" / "data.yaml")
            for split in descriptor.splits:
                with within_limits(*expected):
                    load_pairs(descriptor, split, cache_dir=base / "cache", verify=False, workers=1)
                with within_limits(*expected):
                    load_pairs_with_problems(descriptor, split, cache_dir=base / "cache", workers=1)
    finally:
        shutil.rmtree(base / "cache", ignore_errors=True)


_FILES = ["coco.json", "pairs.jsonl", "pairs.csv", "list.txt", "tags.csv", "labels/train/train_000.txt"]


@pytest.mark.parametrize("name", _FILES)
def test_file__damaged(folder: Path, name: str) -> None:
    file = folder / "data" / name

    @FUZZ
    @given(edits=EDITS)
    def check(edits: list[Edit]) -> None:
        with _holding(file, damaged(file.read_bytes(), edits)):
            # duplicates are named by their keys, all else by the file
            _read(folder, file.name, "train_000", "is given twice")

    check()


@FUZZ
@given(edits=EDITS)
def test_descriptor__damaged(folder: Path, edits: list[Edit]) -> None:
    file = folder / "data" / "data.yaml"
    with _holding(file, damaged(file.read_bytes(), edits)):
        _read(folder, "data.yaml")


_PLACES: list[tuple[str | int, ...]] = [
    *((key,) for key in ("root", "names", "splits", "frame", "resize", "ir_window", "tags", "nc", "download")),
    *(("splits", "train"), ("splits", "train", 0), ("splits", "list", 0, "tags"), ("splits", "table", 0, "split")),
    *(("splits", "train", 0, key) for key in ("rgb", "ir", "labels", "list", "name", "frame", "resize", "coco")),
    *(("splits", "list", 0, "tags", key) for key in ("file", "key", "columns")),
    ("splits", "lines", 0, "manifest"),
]
_MATRICES = st.lists(st.lists(NASTY_VALUES, min_size=3, max_size=3), min_size=2, max_size=2)
_SETTINGS = st.one_of(
    NASTY_VALUES,
    _MATRICES.map(lambda rows: {"affine": rows}),
    st.lists(NASTY_VALUES, min_size=2, max_size=2),
    st.lists(NASTY_VALUES, min_size=2, max_size=2).map(lambda values: {"percentiles": values}),
    st.fixed_dictionaries({"descriptor": NASTY_VALUES}, optional={"root": NASTY_VALUES, "classes": NASTY_VALUES}),
)


@FUZZ
@given(place=st.sampled_from(_PLACES), value=_SETTINGS)
@example(place=("root",), value="a" * 5000)
@example(place=("splits", "train", 0, "rgb"), value="a" * 5000)
@example(place=("splits", "train", 0), value={"descriptor": "a\0b"})
@example(place=("splits", "train", 0), value={"descriptor": "other.yaml", "root": 5})
def test_descriptor__any_value_anywhere(folder: Path, place: tuple[str | int, ...], value: object) -> None:
    file = folder / "data" / "data.yaml"
    document = yaml.safe_load(file.read_bytes())
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    with _holding(file, json.dumps(document).encode()):  # all JSON is YAML, except NaN, which becomes a string
        _read(folder, "data.yaml", "pairs.", "coco.json")


# 30 nested lists of nine aliases each: a few lines of YAML that would expand to 9 ** 30 values.
_LEVELS = (", ".join([f"*a{i - 1}"] * 9 if i else ["x"]) for i in range(30))
_BOMB = "[" + ", ".join(f"&a{i} [{level}]" for i, level in enumerate(_LEVELS)) + "]"


@pytest.mark.parametrize("key", ["names", "nc", "frame", "resize", "ir_window", "tags", "root", "splits"])
def test_descriptor__aliases_of_aliases_are_not_expanded(tmp_path: Path, key: str) -> None:
    file = make_pairs(tmp_path, 1, 0)
    document = {**yaml.safe_load(file.read_bytes()), key: "BOMB"}
    file.write_text(yaml.safe_dump(document).replace(": BOMB", f": {_BOMB}"))
    with within_limits("data.yaml"), pytest.raises(DataError, match=f"{key}: "):
        load_descriptor(file)


@pytest.mark.parametrize("key", ["name", "rgb", "coco", "manifest", "list", "classes", "descriptor", "root", "frame"])
def test_source__aliases_of_aliases_are_not_expanded(tmp_path: Path, key: str) -> None:
    file = make_pairs(tmp_path, 1, 0)
    (tmp_path / "other.yaml").write_bytes(file.read_bytes())
    part = (
        {"descriptor": "other.yaml"} if key in ("classes", "descriptor", "root") else {**_FOLDERS, "labels": "labels"}
    )
    file.write_text(
        yaml.safe_dump({"names": ["person"], "splits": {"train": [{**part, key: "BOMB"}]}}).replace("BOMB", _BOMB)
    )
    with within_limits("data.yaml"), pytest.raises(DataError, match=rf"splits\.train\[1\]\.{key}"):
        load_descriptor(file)


@pytest.mark.parametrize("value", ["2001-99-99", "0b_", "9" * 5000, "!!int x", "!!bool x", "!!timestamp x"])
def test_descriptor__a_value_that_yaml_cannot_construct_is_reported(tmp_path: Path, value: str) -> None:
    file = make_pairs(tmp_path, 1, 0)
    file.write_text(f"{file.read_text()}nc: {value}\n")
    with pytest.raises(DataError, match=r"data\.yaml"):
        load_descriptor(file)


@FUZZ
@given(
    place=st.sampled_from(["images", "annotations", "categories"]),
    key=st.sampled_from(["id", "file_name", "width", "height", "image_id", "category_id", "bbox", "iscrowd", "name"]),
    value=NASTY_VALUES | st.lists(NASTY_VALUES, min_size=4, max_size=4),
)
def test_coco__any_value_anywhere(folder: Path, place: str, key: str, value: object) -> None:
    document = _coco()
    document[place][0][key] = value
    with _holding(folder / "data" / "coco.json", json.dumps(document).encode(errors="surrogatepass")):
        _read(folder, "coco.json")


@FUZZ
@given(key=st.sampled_from(["rgb", "ir", "label", "split", "key", "tags", "more", "\0rest"]), value=NASTY_VALUES)
@example(key="key", value="\ud800")  # a lone surrogate: no cache and no report could be written
@example(key="more", value="\ud800")
@example(key="rgb", value="a" * 5000 + ".png")
def test_manifest__any_value_anywhere(folder: Path, key: str, value: object) -> None:
    row = json.dumps({**_ROW, "split": "train", key: value}) + "\n"
    with _holding(folder / "data" / "pairs.jsonl", row.encode(errors="surrogatepass")):
        _read(folder, "pairs.jsonl")


@FUZZ
@given(words=st.lists(NASTY_WORDS | st.sampled_from(["0", "0.5", "0.25"]), min_size=3, max_size=6))
def test_label__any_text(folder: Path, words: list[str]) -> None:
    line = " ".join(words).encode(errors="surrogatepass")
    with _holding(folder / "data" / "labels" / "train" / "train_000.txt", line):
        _read(folder, "train_000.txt")


@pytest.mark.parametrize("line", ["0 .5 .5 1e-300 .1", "0 .5 .5 .1 0", "0 .5 .5 .1 " + "9" * 10**6, "0 1e400 0 1 1"])
def test_label__that_is_no_box_is_reported_briefly(tmp_path: Path, line: str) -> None:
    file = tmp_path / "a.txt"
    file.write_text(f"\n{line}\n")
    (problem,) = read_labels(file, 1).problems
    assert problem.text.startswith(f"{file}:2: ")
    assert len(problem.text) < 1000


def _source(root: Path, **given: Any) -> Source:
    return Source("splits.train", root, ("person",), (0,), **given)


@pytest.mark.parametrize("column", ["rgb", "ir", "label"])
def test_manifest__a_pipe_does_not_block(tmp_path: Path, column: str) -> None:
    make_pairs(tmp_path, 1, 0)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "m.jsonl").write_text(json.dumps({**_ROW, column: "pipe.png"}))
    with within_limits("m.jsonl"):
        (problem,) = read_manifest(_source(tmp_path, manifest=tmp_path / "m.jsonl")).problems
    assert f"m.jsonl:1: {column}: 'pipe.png' is no file" in problem.text


def test_label__a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.txt")
    with within_limits("a.txt"):
        assert "not a regular file" in read_labels(tmp_path / "a.txt", 1).problems[0].text


def test_table__a_duplicate_column_is_reported(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("rgb,rgb,ir\na.png,b.png,c.png\n")
    with pytest.raises(DataError, match=r"t\.csv: column rgb is given twice"):
        read_manifest(_source(tmp_path, manifest=table))
    with pytest.raises(DataError, match=r"t\.csv: column rgb is given twice"):
        load_tags(TagFile(table, "rgb", ("ir",)), ["a"])


def test_tags__a_short_row_is_reported(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("name,at\na\n")
    _, problems = load_tags(TagFile(tmp_path / "t.csv", "name", ("at",)), ["a"])
    assert "line 2: fewer cells" in problems[0].text


def test_coco__many_boxes_are_read_in_time(tmp_path: Path) -> None:
    root = make_pairs(tmp_path, 2, 0, (16, 24)).parent
    box = {"image_id": 0, "category_id": 1}
    boxes = [{**box, "id": i, "bbox": [1 + i / 1e5, 2, 3, 4]} for i in range(40_000)]
    (root / "c.json").write_text(json.dumps({**_coco(), "annotations": [*boxes, boxes[0]]}))
    source = _source(root, rgb=root / "rgb" / "train", ir=root / "ir" / "train", coco=root / "c.json")
    with within_limits("c.json"):
        first = read_coco(root / "c.json", source, match_folders(source)).labels[0]
    assert (len(first.class_ids), len(first.warnings)) == (40_000, 1)


@pytest.mark.parametrize("kind", ["rgb", "labels"])
@pytest.mark.parametrize(("name", "target"), [("train_000", "nowhere"), ("train_000", "circle"), ("sub", "nowhere")])
def test_link__that_leads_nowhere_is_reported(tmp_path: Path, kind: str, name: str, target: str) -> None:
    file = make_pairs(tmp_path, 1, 0)
    suffix = "" if name == "sub" else ".txt" if kind == "labels" else ".png"
    link = tmp_path / kind / "train" / f"{name}{suffix}"
    link.unlink(missing_ok=True)
    link.symlink_to(link.name if target == "circle" else target)
    with pytest.raises(DataError, match=rf"{link.name}': a link that leads nowhere"):
        pairs_of(file)


def test_name__that_is_not_utf8_is_reported(tmp_path: Path) -> None:
    file = make_pairs(tmp_path, 1, 0)
    for kind in ("rgb", "ir"):
        (tmp_path / kind / "train" / "train_000.png").rename(tmp_path / kind / "train" / "\udcff.png")
    with pytest.raises(DataError, match="its name is no UTF-8"):
        pairs_of(file)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_window__of_counts_that_are_not_finite_is_reported(tmp_path: Path, value: float) -> None:
    window = {"ir_window": {"percentiles": [0, 100]}}
    file = make_pairs(tmp_path, 1, 0, (16, 24), suffixes=(".png", ".tiff"), extra=window)
    counts = np.full((16, 24), value, np.float32)
    counts[0, 0] = 1
    assert cv2.imwrite(str(tmp_path / "ir" / "train" / "train_000.tiff"), counts)
    with pytest.raises(DataError, match=r"data\.yaml train .*: ir_window: percentiles"):
        pairs_of(file)


@FUZZ
@given(edits=EDITS)
def test_scan_cache__damaged_is_ignored(tmp_path_factory: pytest.TempPathFactory, edits: list[Edit]) -> None:
    base = tmp_path_factory.getbasetemp() / "scan"
    if not base.exists():
        pairs_of(make_pairs(base, 1, 0, (16, 24)))
    (cache,) = (base / "cache").glob("*.npz")
    with _holding(cache, damaged(cache.read_bytes(), edits)), nothing_written(base, "cache"):
        with within_limits():
            load_scan(cache, "another signature")
        with within_limits():
            assert len(pairs_of(base / "data.yaml")) == 1


@pytest.mark.parametrize("content", ["[" * 10**5, '{"low": %s}' % ("9" * 400), "[]", "\0", '{"low": "x", "high": 1}'])
def test_window_cache__damaged_is_rebuilt(tmp_path: Path, content: str) -> None:
    window = {"ir_window": {"percentiles": [0, 100]}}
    file = make_pairs(tmp_path, 2, 0, (16, 24), extra=window)
    first = pairs_of(file).ir_windows
    (cache,) = (tmp_path / "cache").glob("window-*.json")
    before = cache.read_bytes()
    cache.write_text(content)
    assert pairs_of(file).ir_windows == first
    assert cache.read_bytes() == before
