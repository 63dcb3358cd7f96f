from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.descriptors import folders, write_coco, write_descriptor
from tests.support.pairs import make_pairs, pairs_of, random_pair, write_pair
from yolofuse.data.index.matches import KeyIndex, PairNames
from yolofuse.errors import DataError

ERRORS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no IR partner": (lambda ir: ir.unlink(), r"train_001\.png: no IR partner"),
    "no RGB partner": (lambda ir: shutil.copy(ir, ir.with_name("lonely.png")), r"lonely\.png: no RGB partner"),
    "shared stem": (lambda ir: shutil.copy(ir, ir.with_suffix(".jpg")), r"same stem as train_001\.jpg"),
    "label without image": (
        lambda ir: (ir.parents[2] / "labels" / "train" / "lonely.txt").touch(),
        r"lonely\.txt: label without an image",
    ),
}


@pytest.mark.parametrize(("break_it", "message"), ERRORS.values(), ids=ERRORS.keys())
def test_match_folders__error_is_named(tmp_path: Path, break_it: Callable[[Path], object], message: str) -> None:
    descriptor = make_pairs(tmp_path, 2, 0)
    break_it(tmp_path / "ir" / "train" / "train_001.png")
    with pytest.raises(DataError, match=message):
        pairs_of(descriptor)


def test_empty_split__is_refused(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path, 1, 0)
    for kind in ("rgb", "ir", "labels"):
        shutil.rmtree(tmp_path / kind / "train")
        (tmp_path / kind / "train").mkdir()
    with pytest.raises(DataError, match="no images in"):
        pairs_of(descriptor)


def test_subfolders__equal_stems_are_different_pairs(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path, 1, 0)
    for index, folder in enumerate(("set00", "set01")):
        write_pair(tmp_path, "train", f"{folder}/0001", random_pair(index), (".bmp", ".png"))
    records = pairs_of(descriptor).records
    assert [(record.image_id, record.key) for record in records] == [
        (1, "set00/0001"),
        (2, "set01/0001"),
        (3, "train_000"),
    ]


@pytest.mark.parametrize(
    "line", ["train_001", "train_001.png", "./rgb/train/train_001.png", "rgb\\train\\train_001.png"]
)
def test_list__accepts_keys_and_paths(tmp_path: Path, line: str) -> None:
    make_pairs(tmp_path, 3, 0)
    (tmp_path / "train.txt").write_text(f"# chosen\n{line}\n\n")
    (tmp_path / "rgb" / "train" / "lonely.png").write_bytes(b"not listed, so not looked at")
    (record,) = pairs_of(write_descriptor(tmp_path, {"train": folders(list="train.txt")})).records
    assert record.key == "train_001"


@pytest.mark.parametrize("name", ["#1", "#1.png", "#a/1.png", "#a/1"])
def test_list__a_name_may_start_as_a_comment_does(tmp_path: Path, name: str) -> None:
    for key in ("#1", "#a/1", "2", "3"):
        write_pair(tmp_path, "train", key, random_pair(0))
    (tmp_path / "train.txt").write_text(f"2\n{name}\n# chosen\n#3\n# 3.png\n#rgb/train/3.png\n#\n")
    records = pairs_of(write_descriptor(tmp_path, {"train": folders(list="train.txt")})).records
    assert [record.key for record in records] == [name.removesuffix(".png"), "2"]


def test_list__a_lonely_name_with_a_number_sign_is_reported(tmp_path: Path) -> None:
    make_pairs(tmp_path, 1, 0)
    shutil.copy(tmp_path / "rgb" / "train" / "train_000.png", tmp_path / "rgb" / "train" / "#1.png")
    (tmp_path / "train.txt").write_text("train_000\n#1.png\n")
    with pytest.raises(DataError, match=r"train\.txt:2: #1\.png: only one of its images is there"):
        pairs_of(write_descriptor(tmp_path, {"train": folders(list="train.txt")}))


def test_list__a_repeated_line_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for key in ("a", "b"):
        write_pair(tmp_path, "train", key, random_pair(0))
    (tmp_path / "train.txt").write_text("a\nb\na.png\na\n")
    descriptor = write_descriptor(tmp_path, {"train": folders(list="train.txt")})
    assert len(pairs_of(descriptor)) == len(pairs_of(descriptor)) == 2
    told = "train.txt: 2 repeated lines: a pair counts once, however often it is listed"
    assert caplog.text.count(told) == 2  # the second time from the cache


@pytest.mark.parametrize("form", ["list", "flat"])
@pytest.mark.parametrize("name", ["TRAIN_001.txt", "train_001.png.txt"])
def test_list__a_label_of_another_name_is_reported(tmp_path: Path, form: str, name: str) -> None:
    make_pairs(tmp_path, 3, 0)
    label = tmp_path / "labels" / "train" / "train_001.txt"
    other = label.rename(label.with_name(name))
    (tmp_path / "train.txt").write_text("rgb/train/train_000.png\nrgb/train/train_001.png\n")
    (tmp_path / "labels" / "train" / "val.txt").write_text("rgb/train/train_002.png\n")
    file = write_descriptor(tmp_path, {"train": folders(list="train.txt")})
    if form == "flat":
        file.write_text("{names: [person], train: train.txt, train_ir: ir/train, train_labels: labels/train}")
    with pytest.raises(DataError, match=rf"1 problem\n.*{name}: label without an image in"):
        pairs_of(file)
    other.rename(label)
    label.with_name("gone.txt").write_text("0 .5 .5 .2 .2\n")  # its image is not listed, and no pair lacks a label
    assert pairs_of(file).num_boxes == 2


def test_list__unknown_and_lonely_names_are_reported(tmp_path: Path) -> None:
    make_pairs(tmp_path, 2, 0)
    (tmp_path / "ir" / "train" / "train_001.png").unlink()
    (tmp_path / "train.txt").write_text("train_000\nnowhere\ntrain_001.png\n")
    with pytest.raises(DataError, match="2 problems") as caught:
        pairs_of(write_descriptor(tmp_path, {"train": folders(list="train.txt")}))
    assert "train.txt:2: nowhere: matches no pair" in str(caught.value)
    assert "train.txt:3: train_001.png: only one of its images is there" in str(caught.value)


@pytest.mark.parametrize("name", ["val/0001.png", "rgb/val/0001.png", "/data/set/val/0001.png"])
def test_names__with_another_folder_are_not_the_pair_of_the_same_stem(tmp_path: Path, name: str) -> None:
    write_pair(tmp_path, "train", "0001", random_pair(0))
    write_coco(tmp_path / "gt.json", {1: name})
    with pytest.raises(DataError, match="matches no pair, or more than one"):
        pairs_of(write_descriptor(tmp_path, {"train": {"rgb": "rgb", "ir": "ir", "coco": "gt.json"}}))


@pytest.mark.parametrize("name", ["train/0001.png", "0001.png", "rgb/train/0001.png", "/data/set/ir/train/0001.png"])
def test_names__with_its_own_folders_are_the_pair(tmp_path: Path, name: str) -> None:
    write_pair(tmp_path, "train", "0001", random_pair(0))
    write_coco(tmp_path / "gt.json", {1: name})
    assert len(pairs_of(write_descriptor(tmp_path, {"train": {"rgb": "rgb", "ir": "ir", "coco": "gt.json"}}))) == 1


@pytest.mark.parametrize("form", ["coco", "list", "flat"])
@pytest.mark.parametrize("name", ["0001.jpg", "train/0001.jpg", "rgb/train/0001.jpg"])
def test_names__of_a_file_are_not_the_pair_whose_key_they_are(tmp_path: Path, form: str, name: str) -> None:
    for index, suffix in enumerate((".jpg", ".jpg.png")):
        write_pair(tmp_path, "train", "0001", random_pair(index), (suffix, suffix))
    write_coco(tmp_path / "gt.json", {1: name})
    (tmp_path / "train.txt").write_text(f"{name}\n")
    if form == "flat":
        file = tmp_path / "flat.yaml"
        file.write_text("{names: [person], train: train.txt, train_ir: ir/train, train_labels: labels/train}")
        (tmp_path / "train.txt").write_text("rgb/train/0001.jpg\n")
    else:
        part = (
            {"rgb": "rgb/train", "ir": "ir/train", "coco": "gt.json"} if form == "coco" else folders(list="train.txt")
        )
        file = write_descriptor(tmp_path, {"train": part})
    (record,) = pairs_of(file).records
    assert (record.rgb.name, record.key) == ("0001.jpg", "0001")


def test_names__of_one_file_in_several_folders() -> None:
    index = KeyIndex(PairNames(["0001", "a/0001"], ["rgb/0001.jpg", "rgb/a/0001.jpg"], ["", ""]))
    assert index.find_all("0001.jpg") == index.find_all("0001") == [0]  # by key, as without its suffix
    assert index.find_all("a/0001.jpg") == [1]
    index = KeyIndex(PairNames(["a/1", "b/1", "b/1.jpg"], ["a/1.jpg", "b/1.jpg", "b/1.jpg.png"], [""] * 3))
    assert index.find_all("1.jpg") == [0, 1]  # an error of the caller
    assert index.find_all("b/1.jpg") == [1]
    assert index.find_all("b/1.jpg", is_file=False) == [2]


@pytest.mark.parametrize("folder", ["@eaDir", "__MACOSX", "#recycle", "$RECYCLE.BIN", ".thumbnails", "thumbnails"])
@pytest.mark.parametrize("form", ["folders", "list"])
def test_service_folders__hold_no_pairs(
    tmp_path: Path, folder: str, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    make_pairs(tmp_path, 2, 0)
    (tmp_path / "train.txt").write_text("train_000\ntrain_001\n")
    for kind in ("rgb", "ir"):
        shutil.copytree(tmp_path / kind / "train", tmp_path / "copy" / kind)
        shutil.copytree(tmp_path / "copy" / kind, tmp_path / kind / "train" / "seq" / folder)
    (tmp_path / "rgb" / "train" / "._train_000.png").touch()
    more = {"list": "train.txt"} if form == "list" else {}
    pairs = pairs_of(write_descriptor(tmp_path, {"train": folders(**more)}))
    assert [record.key for record in pairs.records] == ["train_000", "train_001"]
    is_told = f"2 service folders, which hold no data, are not read, such as ir/train/seq/{folder}" in caplog.text
    assert is_told == (not folder.startswith("."))


def test_labels_of_another_format__are_refused_where_there_is_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    descriptor = make_pairs(tmp_path, 3, 0)
    folder = tmp_path / "labels" / "train"
    for name in ("train_001.xml", "train_002.json", "lonely.xml"):
        (folder / name).write_text("<annotation/>")
    assert len(pairs_of(descriptor)) == 3
    text = "3 files beside the .txt labels are not read, such as labels/train/lonely.xml, labels/train/train_001.xml"
    assert text in caplog.text
    for stem in ("train_000", "train_001", "train_002"):
        (folder / f"{stem}.txt").unlink()
    with pytest.raises(DataError, match="2 problems") as caught:
        pairs_of(descriptor)
    assert "labels/train/train_001.xml: not read, and there is no .txt; convert it" in str(caught.value)
    assert "labels/train/train_002.json: not read" in str(caught.value)


def test_names__of_a_file_for_all_splits_are_of_one_split_alone(tmp_path: Path) -> None:
    for index, folder in enumerate(("set00", "set01")):
        write_pair(tmp_path, "train", f"{folder}/0001", random_pair(index))
    (tmp_path / "train.txt").write_text("set00/0001\n")
    source = {"rgb": "rgb/train", "ir": "ir/train", "coco": "gt.json", "list": "train.txt"}
    descriptor = write_descriptor(tmp_path, {"train": source})
    write_coco(tmp_path / "gt.json", {1: "set00/0001.png", 2: "set01/0001.png"})
    assert pairs_of(descriptor).num_boxes == 1
    write_coco(tmp_path / "gt.json", {1: "0001.png"})  # of set00, which is listed, or of set01?
    with pytest.raises(DataError, match=r"images\[0\]: 0001\.png: matches no pair, or more than one"):
        pairs_of(descriptor)


def _rename(root: Path, kind: str, name: str) -> None:
    file = next((root / kind / "train").glob("train_001.*"))
    file.rename(file.with_name(name + file.suffix))


@pytest.mark.parametrize("of_ir", ["\u00fc", "u\u0308"])
def test_names__in_two_unicode_forms_are_one(tmp_path: Path, of_ir: str) -> None:
    descriptor = make_pairs(tmp_path, 2, 0)
    for kind, name in (("rgb", "\u00fc"), ("ir", of_ir), ("labels", "u\u0308")):
        _rename(tmp_path, kind, name)
    pairs = pairs_of(descriptor)
    assert [record.key for record in pairs.records] == ["train_000", "\u00fc"]
    assert [record.ir.stem for record in pairs.records] == ["train_000", of_ir]
    assert pairs.num_boxes == 2
    (tmp_path / "train.txt").write_text("u\u0308.png\n", encoding="utf-8")
    assert len(pairs_of(write_descriptor(tmp_path, {"train": folders(list="train.txt")}))) == 1


@pytest.mark.parametrize("suffix", [".jfif", ".jpe"])
def test_jpeg__of_a_rare_suffix_is_read(tmp_path: Path, suffix: str) -> None:
    descriptor = make_pairs(tmp_path, 2, 0, suffixes=(".jpg", ".png"))
    for file in (tmp_path / "rgb" / "train").iterdir():
        file.rename(file.with_suffix(suffix))
    assert len(pairs_of(descriptor)) == 2


def test_image_of_a_format_that_is_not_read__is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    descriptor = make_pairs(tmp_path, 3, 0)
    rgb, ir = (tmp_path / kind / "train" / "train_001.png" for kind in ("rgb", "ir"))
    rgb.rename(rgb.with_suffix(".jp2"))
    with pytest.raises(DataError, match=r"no RGB partner in .*; \.jp2 is not read: convert it to PNG or JPEG"):
        pairs_of(descriptor)
    ir.rename(ir.with_suffix(".jp2"))
    with pytest.raises(DataError, match=r"train_001\.txt: label without an image in .*; \.jp2 is not read"):
        pairs_of(descriptor)
    (tmp_path / "labels" / "train" / "train_001.txt").unlink()
    assert len(pairs_of(descriptor)) == 2
    assert (
        "2 images of formats that are not read; convert them to PNG or JPEG, such as ir/train/train_001.jp2"
        in caplog.text
    )


@pytest.mark.parametrize("link", [True, False], ids=["linked", "absent"])
def test_labels__of_two_folders_may_be_one_and_a_folder_without_any_is_told(
    tmp_path: Path, link: bool, caplog: pytest.LogCaptureFixture
) -> None:
    descriptor = make_pairs(tmp_path, 1, 0)
    for number, folder in enumerate(("day", "night", "night/late")):
        write_pair(tmp_path, "train", f"{folder}/0001", random_pair(number))
    labels = tmp_path / "labels" / "train"
    shutil.rmtree(labels / "night")
    if link:
        (labels / "night").symlink_to("day")
        (labels / "day" / "late").symlink_to("../day")  # a loop
    pairs = pairs_of(descriptor)
    counts = {record.key: len(pairs.labels(i)[0]) for i, record in enumerate(pairs.records)}
    late = {"night/late/0001": 0}
    assert counts == {"day/0001": 1, "night/0001": int(link), "train_000": 1} | late
    bare = "1 pair in 1 folder without any label, such as night/late" if link else "2 pairs in 2 folders without any"
    assert bare in caplog.text


def test_links_among_links__end_with_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yolofuse.files._MAX_LINKED", 50)
    descriptor = make_pairs(tmp_path, 1, 0)
    folders_ = [tmp_path / "labels" / "train" / name for name in "abcdef"]
    for folder in folders_:
        folder.mkdir()
        for other in folders_:
            (folder / other.name).symlink_to(other)
    with pytest.raises(DataError, match="links lead into more than 50 folders again") as error:
        pairs_of(descriptor)
    assert str(error.value).count("links lead") == 1


@pytest.mark.parametrize("labels", ["labels/train", "rgb/train"])
def test_text_files_beside_the_images__are_told_where_labels_are_elsewhere(
    tmp_path: Path, labels: str, caplog: pytest.LogCaptureFixture
) -> None:
    make_pairs(tmp_path, 2, 0)
    (tmp_path / "rgb" / "train" / "train_001.txt").write_text("0 .5 .5 .1 .1\n0 .2 .2 .1 .1\n")
    descriptor = write_descriptor(tmp_path, {"train": {"rgb": "rgb/train", "ir": "ir/train", "labels": labels}})
    is_elsewhere = labels == "labels/train"
    assert pairs_of(descriptor).num_boxes == 2
    assert ("1 text files beside the images are not read, since labels are elsewhere" in caplog.text) == is_elsewhere
