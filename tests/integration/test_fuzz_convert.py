"""Fuzz the converters: any source gives an error message or a complete folder, and is never changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.convert_sources import NAMES, make
from tests.support.convert_trees import coco, image, text, voc
from tests.support.fuzzing import EDITS, FUZZ, NASTY_VALUES, NASTY_WORDS, Edit, damaged, nothing_written, within_limits
from yolofuse.convert import ClassChoice, prepare
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.errors import DataError

_ANNOTATIONS = frozenset({".xml", ".json", ".txt"})
_FOLDERS = {"rgb": "rgb", "ir": "ir"}
_OPTIONS: dict[str, dict[str, Any]] = {
    "voc": {**_FOLDERS, "xml": "xml"},
    "coco": {**_FOLDERS, "json": "coco.json"},
    "yolo": {**_FOLDERS, "labels": "labels"},
}
FORMATS = (*NAMES, *_OPTIONS)


def _make_source(src: Path) -> None:
    """Write two pairs with labels of all three kinds."""
    for name in ("a", "b"):
        image(src / "rgb" / f"{name}.png")
        image(src / "ir" / f"{name}.png", gray=True)
        voc(src / "xml" / f"{name}.xml", [("car", 1, 2, 30, 40)])
        text(src / "labels" / f"{name}.txt", "0 0.5 0.5 0.25 0.25\n")
    coco(src / "coco.json", {"a.png": [(1, [1, 2, 3, 4])], "b.png": []}, {1: "car", 2: "van"})


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a folder for each format, made once, that holds ``src``; every example restores what it damages."""
    made: dict[str, Path] = {}

    def find(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            if name in _OPTIONS:
                _make_source(made[name] / "src")
            else:
                make(name, made[name] / "src")
        return made[name]

    return find


def _convert(name: str, folder: Path) -> None:
    """Convert, and load the result as a run would."""
    out = folder / "out"
    choice = ClassChoice(("car",)) if name == "yolo" else None
    try:
        with nothing_written(folder, "out"), within_limits(str(folder), "no pair"):
            made = prepare(name, folder / "src", out, options=_OPTIONS.get(name), choice=choice)
            load_descriptor(made.descriptor)
        assert sorted(path.name for path in folder.iterdir()) in (["out", "src"], ["src"])
    finally:
        shutil.rmtree(out, ignore_errors=True)


def _convert_with(file: Path, content: bytes, name: str, folder: Path) -> None:
    """Convert with other content in one file of the source, which is then restored."""
    before = file.read_bytes()
    try:
        file.write_bytes(content)
        _convert(name, folder)
    finally:
        file.write_bytes(before)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format__damaged_annotations(name: str, sources: Callable[[str], Path]) -> None:
    folder = sources(name)
    files = sorted(path for path in (folder / "src").rglob("*") if path.suffix in _ANNOTATIONS)

    @FUZZ
    @given(number=st.integers(0, len(files) - 1), edits=EDITS)
    def check(number: int, edits: list[Edit]) -> None:
        _convert_with(files[number], damaged(files[number].read_bytes(), edits), name, folder)

    check()


@pytest.mark.parametrize("name", ["m3fd", "dronevehicle", "coco"])
def test_every_format__damaged_images(name: str, sources: Callable[[str], Path]) -> None:
    folder = sources(name)
    files = sorted(path for path in (folder / "src").rglob("*") if path.suffix in (".jpg", ".png"))

    @FUZZ
    @given(number=st.integers(0, len(files) - 1), edits=EDITS)
    def check(number: int, edits: list[Edit]) -> None:
        _convert_with(files[number], damaged(files[number].read_bytes(), edits), name, folder)

    check()


_PLACES = st.sampled_from(["images", "annotations", "categories"])
_KEYS = st.sampled_from(["id", "file_name", "width", "height", "image_id", "category_id", "bbox", "iscrowd", "name"])


@FUZZ
@given(place=_PLACES, key=_KEYS, value=NASTY_VALUES | st.lists(NASTY_VALUES, min_size=4, max_size=4))
def test_coco__any_value_anywhere(sources: Callable[[str], Path], place: str, key: str, value: object) -> None:
    folder = sources("coco")
    file = folder / "src" / "coco.json"
    document = json.loads(file.read_bytes())
    document[place][0][key] = value
    _convert_with(file, json.dumps(document).encode(errors="surrogatepass"), "coco", folder)


@FUZZ
@given(tag=st.sampled_from(["name", "xmin", "xmax", "width", "object", "annotation"]), word=NASTY_WORDS)
def test_voc__any_text_anywhere(sources: Callable[[str], Path], tag: str, word: str) -> None:
    folder = sources("voc")
    file = folder / "src" / "xml" / "a.xml"
    content = file.read_bytes()
    start, end = f"<{tag}>".encode(), f"</{tag}>".encode()
    left, right = content.index(start) + len(start), content.index(end)
    _convert_with(file, content[:left] + word.encode(errors="surrogatepass") + content[right:], "voc", folder)


@pytest.mark.parametrize(
    "value",
    [
        {"categories": [{"id": 1, "name": "\ud800"}]},  # valid JSON, but YAML can't write a lone surrogate
        {"categories": [{"id": 1, "name": "  "}]},  # the descriptor would have a class without a name
        {"categories": [{"id": True, "name": "car"}]},
        {"images": [{"id": 0, "file_name": "/"}]},
        {"images": [{"id": 0, "file_name": "\\"}]},
        {"images": [{"id": 0, "file_name": "\ud800.png"}]},
        {"images": [{"id": 0, "file_name": "a.png", "width": 10**400, "height": 48}], "annotations": [{"id": 1}]},
        {"annotations": [{"image_id": 0, "category_id": 1, "bbox": [1, 2, 10**400, 4]}]},
    ],
    ids=json.dumps,
)
def test_coco__is_refused(tmp_path: Path, value: dict[str, object]) -> None:
    _make_source(tmp_path / "src")
    file = tmp_path / "src" / "coco.json"
    file.write_text(json.dumps({**json.loads(file.read_bytes()), **value}))
    with pytest.raises(DataError, match=r"coco\.json: (categories|images|annotations)\[0\]"):
        prepare("coco", tmp_path / "src", tmp_path / "out", options=_OPTIONS["coco"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("encoding", ["utf-7", "shift_jis", "no-such-thing"])
def test_xml__unsupported_encodings_are_reported(tmp_path: Path, encoding: str) -> None:
    _make_source(tmp_path / "src")
    (tmp_path / "src" / "xml" / "a.xml").write_text(f'<?xml version="1.0" encoding="{encoding}"?><annotation/>')
    with pytest.raises(DataError, match=r"a\.xml:1: not valid XML"):
        prepare("voc", tmp_path / "src", tmp_path / "out", options=_OPTIONS["voc"])


def test_voc__an_object_without_a_name_is_no_class(tmp_path: Path) -> None:
    _make_source(tmp_path / "src")
    voc(tmp_path / "src" / "xml" / "a.xml", [("", 1, 2, 3, 4)])
    with pytest.raises(DataError, match=r"a\.xml:3: unknown class ''"):
        prepare("voc", tmp_path / "src", tmp_path / "out", options=_OPTIONS["voc"])


@pytest.mark.parametrize("split", ["..", "../..", "a/b", ""])
def test_splits__names_that_leave_the_folder_are_refused(tmp_path: Path, split: str) -> None:
    src = tmp_path / "a" / "b" / "src"
    _make_source(src)
    options = {**_OPTIONS["voc"], "rgb": "rgb/{split}/../rgb", "splits": (split,)}
    with nothing_written(tmp_path), pytest.raises(DataError, match="is not the name of a folder"):
        prepare("voc", src, tmp_path / "x" / "y" / "out", options=options)


def test_names__that_are_not_utf8_are_reported(tmp_path: Path) -> None:
    _make_source(tmp_path / "src")
    for part in ("rgb", "ir"):
        (tmp_path / "src" / part / "a.png").rename(tmp_path / "src" / part / "\udcff.png")
    with pytest.raises(DataError, match="its name is no UTF-8"):
        prepare("voc", tmp_path / "src", tmp_path / "out", options=_OPTIONS["voc"])


@pytest.mark.parametrize("target", ["l.xml", "nowhere", "."])
def test_links__broken_or_circular(tmp_path: Path, target: str) -> None:
    _make_source(tmp_path / "src")
    (tmp_path / "src" / "xml" / "l.xml").symlink_to(target)
    with within_limits("l.xml': a link"):
        made = prepare("voc", tmp_path / "src", tmp_path / "out", options=_OPTIONS["voc"])
        assert target == "."
        assert made.is_new


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", '{"made_by": 1}', '{"made_by": "yolofuse prepare"}'])
def test_marker__of_another_folder_deletes_no_files(tmp_path: Path, content: str) -> None:
    _make_source(tmp_path / "src")
    text(tmp_path / "out" / "prepared.json", content)
    text(tmp_path / "out" / "mine.txt", "precious")
    why = r"1 file which no conversion made \(mine.txt\)" if "yolofuse" in content else "name another folder"
    with nothing_written(tmp_path), pytest.raises(DataError, match=why):
        prepare("voc", tmp_path / "src", tmp_path / "out", options=_OPTIONS["voc"])


def test_crop__an_image_of_another_depth_is_reported(tmp_path: Path) -> None:
    make("dronevehicle", tmp_path / "src")
    file = tmp_path / "src" / "train" / "trainimgr" / "00001.jpg"
    done, coded = cv2.imencode(".png", np.zeros((712, 840), np.uint16))
    assert done
    coded.tofile(file)
    with pytest.raises(DataError, match=r"00001\.jpg: uint16 pixels can't be cropped"):
        prepare("dronevehicle", tmp_path / "src", tmp_path / "out")
    assert not (tmp_path / "out").exists()
