"""Labels of a source: each goes to the image of its path, never to an equally named one elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.convert_trees import coco, image, labels, record, text, voc
from yolofuse.convert import ClassChoice, prepare
from yolofuse.convert.conversion_plan import Json
from yolofuse.convert.match_labels import assign_labels
from yolofuse.convert.source_folder import ImagePair, SourceFolder
from yolofuse.errors import DataError

NESTED = ("seq1/1", "seq1/2", "seq2/1", "seq2/2")


def _assigned(root: Path, folder: str, keys: tuple[str, ...], names: tuple[str, ...]) -> tuple[dict[str, str], str]:
    """Return the name of the label of each pair, and all problems."""
    for key in keys:
        (root / "rgb" / folder / key).parent.mkdir(parents=True, exist_ok=True)
    source = SourceFolder(root)
    pairs = [
        ImagePair(key, source.root / "rgb" / folder / f"{key}.png", source.root / "ir" / folder / f"{key}.png")
        for key in keys
    ]
    found = assign_labels(source, "labels", pairs, [(name, name) for name in names])
    return {keys[i]: name for i, name in found.items()}, "\n".join(source.problems)


@pytest.mark.parametrize(
    ("keys", "names", "expected"),
    [
        (NESTED, ("seq1/1", "seq2/2"), {"seq1/1": "seq1/1", "seq2/2": "seq2/2"}),
        (NESTED, ("seq3/1",), {}),
        (("1", "1.png"), ("1.png",), {"1.png": "1.png"}),
        (("seq1/1", "seq2/2"), ("1", "2"), {"seq1/1": "1", "seq2/2": "2"}),
        (("1", "2"), ("1", "data/2"), {"1": "1", "2": "data/2"}),
        (("1", "2"), ("rgb/1", "ir/2"), {"1": "rgb/1", "2": "ir/2"}),
        (("1", "2"), ("/home/me/set/rgb/1",), {"1": "/home/me/set/rgb/1"}),
    ],
    ids=[
        "same-path",
        "another-folder",
        "1.png.png",
        "bare-name",
        "folder-that-images-lack",
        "below-the-root",
        "absolute",
    ],
)
def test_assign__by_path_or_unique_name(
    tmp_path: Path, keys: tuple[str, ...], names: tuple[str, ...], expected: dict[str, str]
) -> None:
    assert _assigned(tmp_path, "", keys, names) == (expected, "")


def test_assign__a_folder_beside_the_images_keeps_its_labels(tmp_path: Path) -> None:
    (tmp_path / "rgb" / "seq1").mkdir(parents=True)
    assert _assigned(tmp_path, "seq3", ("1", "2"), ("seq1/1", "seq3/2")) == ({"2": "seq3/2"}, "")
    assert _assigned(tmp_path, "seq3", ("1",), ("annotations/seq1/1",)) == ({}, "")


@pytest.mark.parametrize(
    ("keys", "names", "message"),
    [
        (NESTED, ("1",), "1 may belong to rgb/seq1/1.png, rgb/seq2/1.png"),
        (("1", "2"), ("a/1", "b/1"), "a/1 and b/1 are both labels of rgb/1.png"),
        (("seq1/1",), ("seq1/1", "1"), "seq1/1 and 1 are both labels of rgb/seq1/1.png"),
    ],
    ids=["two-images", "two-labels", "path-and-name"],
)
def test_assign__what_is_not_clear_is_refused(
    tmp_path: Path, keys: tuple[str, ...], names: tuple[str, ...], message: str
) -> None:
    assert message in _assigned(tmp_path, "", keys, names)[1]


def _source(root: Path) -> dict[str, dict[str, Json]]:
    """Write three sequences whose frames share names, two with a label, and return the options of each format."""
    for sequence in ("seq1", "seq2", "seq3"):
        for name in ("1", "2"):
            image(root / "rgb" / sequence / f"{name}.png")
            image(root / "ir" / sequence / f"{name}.png", gray=True)
    for key in ("seq1/1", "seq2/2"):
        text(root / "txt" / f"{key}.txt", "0 0.5 0.5 0.25 0.25\n")
        voc(root / "xml" / f"{key}.xml", [("car", 1, 2, 3, 4)])
    coco(root / "all.json", {f"{key}.png": [(1, [1, 2, 3, 4])] for key in ("seq1/1", "seq2/2")}, {1: "car"})
    return {
        "yolo": {"labels": "txt"},
        "voc": {"xml": "xml", "unlabelled": "background"},
        "coco": {"json": "all.json", "unlabelled": "background"},
    }


@pytest.mark.parametrize("name", ["yolo", "voc", "coco"])
def test_prepare__frames_without_labels_stay_without(tmp_path: Path, name: str) -> None:
    own = _source(tmp_path / "src")[name]
    choice = ClassChoice(("car",)) if name == "yolo" else ClassChoice()
    options: dict[str, Json] = {"rgb": "rgb/{split}", "ir": "ir/{split}", "splits": ["seq1", "seq2", "seq3"], **own}
    prepare(name, tmp_path / "src", tmp_path / "out", options=options, choice=choice)
    found = {
        f"{sequence}/{frame}": len(labels(tmp_path / "out", f"labels/{sequence}/{frame}.txt"))
        for sequence in ("seq1", "seq2", "seq3")
        for frame in ("1", "2")
    }
    assert found == {"seq1/1": 1, "seq1/2": 0, "seq2/1": 0, "seq2/2": 1, "seq3/1": 0, "seq3/2": 0}


def test_prepare__one_label_for_the_frames_of_two_splits_is_refused(tmp_path: Path) -> None:
    _source(tmp_path / "src")
    text(tmp_path / "src" / "flat" / "1.txt", "0 0.5 0.5 0.25 0.25\n")
    options: dict[str, Json] = {"rgb": "rgb/{split}", "ir": "ir/{split}", "splits": ["seq1", "seq2"], "labels": "flat"}
    with pytest.raises(DataError, match=r"flat: 1 may belong to rgb/seq1/1\.png, rgb/seq2/1\.png"):
        prepare("yolo", tmp_path / "src", tmp_path / "out", options=options, choice=ClassChoice(("car",)))


@pytest.mark.parametrize(
    ("name", "place", "foreign", "message"),
    [
        ("yolo", "labels", "xml", r"seq1/1\.xml: labels of another format, and seq1/1 has no \.txt"),
        ("voc", "xml", "txt", r"seq1/1\.txt: labels of another format, and seq1/1 has no \.xml"),
    ],
)
def test_prepare__labels_of_another_format_are_refused(
    tmp_path: Path, name: str, place: str, foreign: str, message: str
) -> None:
    own = {**_source(tmp_path / "src")[name], place: foreign}
    options: dict[str, Json] = {"rgb": "rgb", "ir": "ir", **own}
    choice = ClassChoice(("car",)) if name == "yolo" else ClassChoice()
    with pytest.raises(DataError, match=message):
        prepare(name, tmp_path / "src", tmp_path / "out", options=options, choice=choice)


def test_prepare__label_files_that_no_image_claims_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _source(tmp_path / "src")
    for name in ("seq1/3", "seq4/1", "classes"):
        text(tmp_path / "src" / "txt" / f"{name}.txt", "0 0.5 0.5 0.25 0.25\n")
    options: dict[str, Json] = {"rgb": "rgb", "ir": "ir", "labels": "txt"}
    prepare("yolo", tmp_path / "src", tmp_path / "out", options=options, choice=ClassChoice(("car",)))
    left_out = record(tmp_path / "out")["left_out"]
    assert left_out == {"label files without a pair": {"count": 2, "first": ["txt/seq1/3.txt", "txt/seq4/1.txt"]}}
    assert "left out: 2 label files without a pair" in caplog.text


def test_prepare_voc__label_files_that_name_another_image_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    src = tmp_path / "src"
    for name, says in (("a.1", "sub\\\\a.1.png"), ("b", "c.jpg"), ("c", "export_77.jpg"), ("d", "b"), ("e", "")):
        image(src / "rgb" / f"{name}.jpg")
        image(src / "ir" / f"{name}.jpg", gray=True)
        path = voc(src / "xml" / f"{name}.xml", [("car", 1, 2, 3, 4)])
        path.write_text(path.read_text().replace("<size>", f"<filename>{says}</filename><size>"))
    prepare("voc", src, tmp_path / "out", options={"rgb": "rgb", "ir": "ir", "xml": "xml"})
    [warning] = record(tmp_path / "out")["warnings"]
    assert warning.startswith("2 label files name another image of the set; they are used for the image of their own")
    assert "b.jpg: c.jpg" in warning
    assert warning in caplog.text
