from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from tests.support.pairs import pairs_of, random_pair, write_pair
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.errors import DataError


def _write(root: Path, **content: object) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    file = root / "data.yaml"
    file.write_text(yaml.safe_dump({"names": ["person"], **content}))
    return file


def _make(root: Path, *folders: str) -> None:
    for folder in folders:
        (root / folder).mkdir(parents=True)


def _found(file: Path, split: str = "train") -> list[tuple[str, ...]]:
    descriptor = load_descriptor(file)
    return [
        tuple(path.relative_to(descriptor.root).as_posix() for path in (source.rgb, source.ir, source.labels) if path)
        for source in descriptor.splits[split]
    ]


@pytest.mark.parametrize(
    ("rgb", "ir", "labels"),
    [
        ("images/train", "imagesIR/train", "labels/train"),
        ("train/images", "train/images_ir", "train/labels"),
        ("visible/images/train", "infrared/images/train", "visible/labels/train"),
        ("images/visible/train", "images/infrared/train", "labels/visible/train"),
        ("visible/train", "infrared/train", "labels/train"),
        ("set/rgb", "set/thermal", "set/labels"),
        ("RGB/a", "T/a", "labels/a"),
        ("RGB/a", "IR/a", "labels/a"),
        ("Vis", "Ir", "labels"),
        ("vi", "ir", "labels"),
        ("images_rgb_train/data", "images_thermal_train/data", "labels_rgb_train/data"),
    ],
)
def test_sibling__is_found_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, rgb: str, ir: str, labels: str
) -> None:
    given = {"train_labels": labels} if labels.startswith("labels_") else {}
    _make(tmp_path, rgb, ir, labels)
    with caplog.at_level(logging.INFO):
        assert _found(_write(tmp_path, train=rgb, **given)) == [(rgb, ir, labels)]
    (line,) = caplog.messages
    assert f"train_ir: {ir} was found beside {rgb}" in line


@pytest.mark.parametrize(
    ("rgb", "others", "message"),
    [
        ("images", ("labels", "imagesHR"), "no folder beside it fits; .*  train_ir: imagesIR$"),
        ("visible/a", ("labels/a", "infrared/b"), "no folder beside it fits; .*  train_ir: infrared/a$"),
        ("rgb", ("labels", "ir", "thermal"), "ir and thermal fit; .*  train_ir: ir$"),
        ("day/images", ("day/labels",), "no folder beside it fits; .*  train_ir: day/imagesIR$"),
    ],
)
def test_sibling__missing_or_ambiguous_gives_the_line_to_write(
    tmp_path: Path, rgb: str, others: Sequence[str], message: str
) -> None:
    _make(tmp_path, rgb, *others)
    with pytest.raises(DataError, match=f"train_ir: is missing for {rgb}, and {message}"):
        load_descriptor(_write(tmp_path, train=rgb))


def test_sibling__that_is_a_link_outside_is_refused(tmp_path: Path) -> None:
    _make(tmp_path, "set/images", "set/labels", "other")
    (tmp_path / "set" / "imagesIR").symlink_to(tmp_path / "other")
    with pytest.raises(DataError, match=r"leads out of the data set, .* add links: \["):
        load_descriptor(_write(tmp_path / "set", train="images"))


def test_labels__are_beside_the_images_where_there_is_no_other_folder(tmp_path: Path) -> None:
    _make(tmp_path, "visible", "infrared")
    with pytest.raises(DataError, match="train_labels: missing"):
        load_descriptor(_write(tmp_path, train="visible"))
    (tmp_path / "visible" / "a.txt").touch()
    assert _found(_write(tmp_path, train="visible")) == [("visible", "infrared", "visible")]


def test_folders__several_become_sources(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        _make(tmp_path, f"{folder}/images", f"{folder}/imagesIR", f"{folder}/labels")
    expected = [(f"{folder}/images", f"{folder}/imagesIR", f"{folder}/labels") for folder in "ab"]
    rgbs, irs = ["a/images", "b/images"], ["a/imagesIR", "b/imagesIR"]
    assert _found(_write(tmp_path, train=rgbs)) == _found(_write(tmp_path, train=rgbs, train_ir=irs)) == expected
    with pytest.raises(DataError, match="train_ir: names 1, but train names 2; write one for each"):
        load_descriptor(_write(tmp_path, train=rgbs, train_ir=irs[:1]))


def _write_listed(root: Path) -> None:
    for kind, folder in (("images", "imagesIR"), ("set/visible", "set/infrared")):
        for number in range(3):
            write_pair(root, "x", f"{number}", random_pair(number))
        for name, target in (("rgb/x", kind), ("ir/x", folder)):
            (root / target).parent.mkdir(exist_ok=True)
            (root / name).rename(root / target)
        labels = root / ("labels" if kind == "images" else "set/labels")
        (root / "labels" / "x").rename(root / "moved")
        (root / "labels").rmdir() if kind == "images" else None
        (root / "moved").rename(labels)


@pytest.mark.parametrize(
    "lines",
    [
        ["images/0.png", "images/2.png"],
        ["./images/0.png", "", "# a comment", "./images/2.png"],
        ["images\\0.png", "images\\2.png"],
        ["/elsewhere/set/images/0.png", "/elsewhere/set/images/2.png"],
        ["datasets/mine/images/0.png", "datasets/mine/images/2.png"],
        ["{root}/images/0.png", "{root}/images/2.png"],
    ],
)
@pytest.mark.parametrize("ir", [None, "imagesIR", "ir.txt"])
def test_list__names_the_pairs(tmp_path: Path, lines: list[str], ir: str | None) -> None:
    root = tmp_path / "data"
    _write_listed(root)
    (root / "train.txt").write_text("\n".join(line.format(root=root) for line in lines))
    (root / "ir.txt").write_text("imagesIR/0.png\nimagesIR/2.png\n")
    given = {} if ir is None else {"train_ir": ir}
    file = _write(root, train="train.txt", **given)
    assert [record.ir.relative_to(root).as_posix() for record in pairs_of(file).records] == [
        "imagesIR/0.png",
        "imagesIR/2.png",
    ]
    assert pairs_of(file).num_boxes == 2


def test_list__of_several_folders_reads_each_line_once(tmp_path: Path) -> None:
    _write_listed(tmp_path)
    (tmp_path / "train.txt").write_text("images/0.png\nset/visible/0.png\nset/visible/1.png\n")
    records = pairs_of(_write(tmp_path, train="train.txt")).records
    assert [record.ir.relative_to(tmp_path).as_posix() for record in records] == [
        *("imagesIR/0.png", "set/infrared/0.png", "set/infrared/1.png"),
    ]
    (tmp_path / "train.txt").write_text("images/0.png\nset/visible/0.png\nset/visible/none.png\n")
    with pytest.raises(DataError, match=r"train\.txt:3: set/visible/none\.png: matches no pair"):
        pairs_of(_write(tmp_path, train="train.txt"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"images/none.png\n", "is no file below"),
        (b"# nothing\n", "names no image"),
        (b"\xff\xfe\n", "is a text in UTF-16"),
        (
            b"images/stra\xdfe.png\n",
            "perhaps a text in Latin-1 or Windows-1252 .byte 0xdf after 'images/stra'.; save it as",
        ),
        (b"{root}/../other/0.png\n", "leaves the root"),
        (b"../other/0.png\n", "is no file below"),
    ],
)
def test_list__mistake_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    root = tmp_path / "data"
    _write_listed(root)
    _make(tmp_path, "other")
    (tmp_path / "other" / "0.png").touch()
    (root / "train.txt").write_bytes(content.replace(b"{root}", bytes(root)))
    with pytest.raises(DataError, match=message):
        load_descriptor(_write(root, train="train.txt"))


def test_list__a_file_whose_name_starts_as_a_comment_does(tmp_path: Path) -> None:
    for name in ("#1", "2"):
        write_pair(tmp_path, "x", name, random_pair(0))
    (tmp_path / "rgb" / "x" / "train.txt").write_text("# chosen\n#2.png\n#1.png\n")
    file = _write(tmp_path, train="rgb/x/train.txt", train_labels="labels/x")
    assert [record.key for record in pairs_of(file).records] == ["#1"]


@pytest.mark.parametrize("second", ["images/train", "images", "train.txt"])
def test_pairs__of_two_entries_are_refused(tmp_path: Path, second: str) -> None:
    for key in ("1", "2"):
        write_pair(tmp_path, "train", key, random_pair(int(key)))
    for old, new in (("rgb", "images"), ("ir", "imagesIR")):
        (tmp_path / old).rename(tmp_path / new)
    (tmp_path / "train.txt").write_text("images/train/2.png\n")
    count = 1 if second == "train.txt" else 2
    with pytest.raises(DataError, match=r"it would count twice, so name it once") as caught:
        pairs_of(_write(tmp_path, train=["images/train", second]))
    assert str(caught.value).count("it would count twice") == count


@pytest.mark.parametrize(
    ("rgb", "ir", "message"),
    [
        ("012", "01", "ir.txt names 2 images, but train.txt names 3; list the IR image of each"),
        ("01", "02", "ir.txt names 2, but train.txt no image called so; list the same pairs in both"),
        ("", "01", "ir.txt is a list, but train is a folder; name two lists or two folders"),
        ("0120", "210", ""),
    ],
)
def test_lists_of_both_cameras__name_the_same_pairs(tmp_path: Path, rgb: str, ir: str, message: str) -> None:
    root = tmp_path / "data"
    _write_listed(root)
    (root / "train.txt").write_text("".join(f"images/{stem}.png\n" for stem in rgb))
    (root / "ir.txt").write_text("".join(f"imagesIR/{stem}.png\n" for stem in ir))
    file = _write(root, train="train.txt" if rgb else "images", train_ir="ir.txt")
    if message:
        with pytest.raises(DataError, match=re.escape(message)):
            load_descriptor(file)
    else:
        assert len(pairs_of(file)) == 3
