from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.support.descriptors import write_coco, write_descriptor
from tests.support.pairs import make_pairs, pairs_of, random_pair
from yolofuse.errors import DataError


def _rows(root: Path, split: str = "train", count: int = 3) -> list[dict[str, str]]:
    keys = [f"{split}_{number:03d}" for number in range(count)]
    names = {"rgb": "rgb/{}/{}.png", "ir": "ir/{}/{}.png", "label": "labels/{}/{}.txt"}
    return [{column: name.format(split, key) for column, name in names.items()} for key in keys]


def _write_csv(file: Path, rows: list[dict[str, str]]) -> None:
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _write_jsonl(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_manifest__gives_the_pairs_of_its_folders(tmp_path: Path, suffix: str) -> None:
    from_folders = pairs_of(make_pairs(tmp_path, 3, 2))
    rows = [{**row, "split": split} for split, n in (("train", 3), ("val", 2)) for row in _rows(tmp_path, split, n)]
    manifest = tmp_path / f"pairs{suffix}"
    (_write_csv if suffix == ".csv" else _write_jsonl)(manifest, rows)
    part = {"manifest": manifest.name}
    pairs = pairs_of(write_descriptor(tmp_path, {"train": part, "val": part}))
    assert [record.rgb for record in pairs.records] == [record.rgb for record in from_folders.records]
    np.testing.assert_array_equal(pairs.scan.boxes_xywhn, from_folders.scan.boxes_xywhn)
    assert len(pairs_of(write_descriptor(tmp_path, {"train": part, "val": part}), "val")) == 2


def test_manifest__columns_and_tag_cells_become_tags(tmp_path: Path) -> None:
    make_pairs(tmp_path, 2, 0)
    rows = [
        {**row, "daynight": word, "tags": "weather=fog;"}
        for row, word in zip(_rows(tmp_path, count=2), "dn", strict=True)
    ]
    _write_csv(tmp_path / "pairs.csv", rows)
    records = pairs_of(write_descriptor(tmp_path, {"train": {"manifest": "pairs.csv"}})).records
    assert [record.tags for record in records] == [{"daynight": word, "weather": "fog"} for word in "dn"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ir": "ir/train/none.png"}, r"pairs\.csv:3: no such file .*none\.png"),
        ({"ir": ""}, r"pairs\.csv:3: ir: empty or missing"),
        ({"ir": "../outside.png"}, r"pairs\.csv:3: ir: '\.\./outside\.png' leaves the root"),
        ({"ir": "/etc/passwd"}, r"pairs\.csv:3: ir: .* leaves the root"),
        ({"ir": "labels/train/train_001.txt"}, r"pairs\.csv:3: ir: .* is no image"),
        ({"label": "labels/train/none.txt"}, r"pairs\.csv:3: no such file .*none\.txt"),
        ({"rgb": "rgb/train/train_000.png"}, r"pairs\.csv:3: rgb/train/train_000 is given twice"),
        ({"tags": "night"}, r"pairs\.csv:3: tags: expected name=value"),
    ],
)
def test_manifest__mistake_is_named(tmp_path: Path, change: dict[str, str], message: str) -> None:
    make_pairs(tmp_path, 3, 0)
    rows = [{**row, "tags": ""} for row in _rows(tmp_path)]
    rows[1] |= change
    _write_csv(tmp_path / "pairs.csv", rows)
    with pytest.raises(DataError, match=message):
        pairs_of(write_descriptor(tmp_path, {"train": {"manifest": "pairs.csv"}}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "no column rgb and ir; its columns are a, b"),
        ("rgb,ir\nrgb/train/train_000.png,ir/train/train_000.png,more\n", r":2: more cells than the header"),
        ("rgb,ir,split\nx.png,y.png,other\n", "no row has split 'train'"),
        ("", "no column rgb and ir; its columns are none"),
    ],
)
def test_manifest__unusable_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    make_pairs(tmp_path, 1, 0)
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        pairs_of(write_descriptor(tmp_path, {"train": {"manifest": "pairs.csv"}}))


@pytest.mark.parametrize("line", ["{", "[1, 2]", "[" * 100_000, '{"rgb": 3, "ir": "x.png"}'])
def test_manifest__broken_json_line_is_named(tmp_path: Path, line: str) -> None:
    make_pairs(tmp_path, 1, 0)
    (tmp_path / "pairs.jsonl").write_text(f"\n{line}\n")
    with pytest.raises(DataError, match=r"pairs\.jsonl:2"):
        pairs_of(write_descriptor(tmp_path, {"train": {"manifest": "pairs.jsonl"}}))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("rgb/train/train_001.png,ir/train/train_001.png", r"pairs\.csv:3: fewer cells than the header"),
        ("rgb/train/train_001.png,ir/train/train_001.png,Train", r"pairs\.csv:3: split: 'Train' is not 'train'"),
        ("rgb/train/train_001.png,ir/train/train_001.png,", r"pairs\.csv:3: split: empty"),
    ],
)
def test_manifest__no_row_is_dropped_silently(tmp_path: Path, row: str, message: str) -> None:
    make_pairs(tmp_path, 2, 0)
    (tmp_path / "pairs.csv").write_text(f"rgb,ir,split\nrgb/train/train_000.png,ir/train/train_000.png,train\n{row}\n")
    with pytest.raises(DataError, match=message):
        pairs_of(write_descriptor(tmp_path, {"train": {"manifest": "pairs.csv"}}))


def test_manifest__labels_of_two_kinds_are_refused(tmp_path: Path) -> None:
    make_pairs(tmp_path, 1, 0)
    write_coco(tmp_path / "gt.json", {1: "train_000.png"})
    row = "rgb/train/train_000.png,ir/train/train_000.png,labels/train/train_000.txt"
    (tmp_path / "pairs.csv").write_text(f"rgb,ir,label\n{row}\n")
    with pytest.raises(DataError, match="label: the labels of this source come from its COCO file"):
        pairs_of(write_descriptor(tmp_path, {"train": {"manifest": "pairs.csv", "coco": "gt.json"}}))


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("renamed", [False, True])
def test_manifest__separator_and_names_of_columns(tmp_path: Path, separator: str, renamed: bool) -> None:
    expected = pairs_of(make_pairs(tmp_path, 2, 0))
    names = {"rgb": "visible", "ir": "thermal", "label": "boxes", "split": "part"} if renamed else {}
    lines = [[names.get(name, name) for name in ("rgb", "ir", "label", "split", "note")]]
    lines += [[*row.values(), "train", '"fog; or, rain|\tno"'] for row in _rows(tmp_path, count=2)]
    (tmp_path / "pairs.csv").write_text("".join(f"{separator.join(line)}\n" for line in lines))
    part: dict[str, object] = {"manifest": "pairs.csv"} | ({"columns": names} if names else {})
    pairs = pairs_of(write_descriptor(tmp_path, {"train": part}))
    np.testing.assert_array_equal(pairs.scan.boxes_xywhn, expected.scan.boxes_xywhn)
    assert [record.tags for record in pairs.records] == [{"note": "fog; or, rain|\tno"}] * 2


def test_manifest__jsonl_with_other_names(tmp_path: Path) -> None:
    make_pairs(tmp_path, 2, 0)
    rows = [{"vis": row["rgb"], "T": row["ir"], "label": row["label"]} for row in _rows(tmp_path, count=2)]
    part = {"manifest": "pairs.jsonl", "columns": {"rgb": "vis", "ir": "T"}}
    _write_jsonl(tmp_path / "pairs.jsonl", rows)
    assert pairs_of(write_descriptor(tmp_path, {"train": part})).num_boxes == 2
    _write_jsonl(tmp_path / "pairs.jsonl", [row | {"rgb": "x"} for row in rows])
    with pytest.raises(DataError, match=r"pairs\.jsonl:1: columns names one for ir, rgb, but it has that too"):
        pairs_of(write_descriptor(tmp_path, {"train": part}))


@pytest.mark.parametrize(
    ("header", "columns", "message"),
    [
        ("visible;thermal;label", {}, r"no column rgb and ir; .*; write .*, columns: \{rgb: visible, ir: thermal\}"),
        ("a;b;label", {}, r"columns: \{rgb: \.\.\., ir: \.\.\.\}"),
        ("rgb;ir;label", {"rgb": "visible"}, "no column visible; its columns are rgb, ir, label"),
        ("rgb;visible;ir", {"ir": "visible"}, "column ir is given twice"),
        ("rgb;ir;labels", {}, r"pairs\.csv:2: labels: holds a label file; write columns: \{label: labels\}"),
        ("rgb;ir;label", {"rgb": "x", "ir": "x"}, "columns: a column is named twice"),
        ("rgb;ir;label", {"labels": "x"}, "columns.labels"),
    ],
)
def test_manifest__wrong_columns(tmp_path: Path, header: str, columns: dict[str, str], message: str) -> None:
    make_pairs(tmp_path, 1, 0)
    (row,) = _rows(tmp_path, count=1)
    (tmp_path / "pairs.csv").write_text(f"{header}\n{';'.join(row.values())}\n")
    part = {"manifest": "pairs.csv", "columns": columns}
    with pytest.raises(DataError, match=message):
        pairs_of(write_descriptor(tmp_path, {"train": part}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "labels/train/train_000.txt"}, "labels/train/train_000.txt is the label file of line 3, too"),
        ({"label": "./labels/val/val_000.txt"}, "labels/val/val_000.txt is the label file of line 2, too"),
        ({"label": "labels/train/train_000.txt", "ir": "ir/train/train_000.png"}, ""),  # of one scene
        ({"label": "labels/train/none.txt"}, ""),  # of two rows, and empty
        ({"label": ""}, ""),
    ],
)
def test_manifest__a_label_file_is_of_one_row(tmp_path: Path, change: dict[str, str], message: str) -> None:
    make_pairs(tmp_path, 3, 1)
    (tmp_path / "labels" / "train" / "none.txt").touch()
    rows = [{**row, "split": "val"} for row in _rows(tmp_path, "val", 1)]
    rows += [{**row, "split": "train"} for row in _rows(tmp_path)]
    rows[2] |= change
    rows[3] |= {"label": "labels/train/none.txt"}
    _write_csv(tmp_path / "pairs.csv", rows)
    part = {"manifest": "pairs.csv"}
    descriptor = write_descriptor(tmp_path, {"train": part, "val": part})
    if not message:
        assert len(pairs_of(descriptor)) == 3
        return
    with pytest.raises(DataError, match=rf"1 problem\n.*pairs\.csv:4: label: {re.escape(message)}"):
        pairs_of(descriptor)


@pytest.mark.parametrize("shift", [0, 1])
def test_manifest__label_files_of_other_rows_are_counted(
    tmp_path: Path, shift: int, caplog: pytest.LogCaptureFixture
) -> None:
    make_pairs(tmp_path, 4, 0)
    rows = _rows(tmp_path, count=4)
    labels = [row["label"] for row in rows]
    for row, label in zip(rows[:3], labels[shift:3] + labels[:shift], strict=True):
        row["label"] = label
    _write_csv(tmp_path / "pairs.csv", rows)
    assert len(pairs_of(write_descriptor(tmp_path, {"train": {"manifest": "pairs.csv"}}))) == 4
    text = "pairs.csv: 3 label files are called as images of other rows, such as labels/train/train_001.txt"
    assert (text in caplog.text) == bool(shift)
    assert ("called as" in caplog.text) == bool(shift)


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        ("{kind}/{number}.png", "ir/1.png"),
        ("{number}_{kind}.png", "1_ir.png"),
        ("{kind}/seq{number}/0001.png", "ir/seq1/0001.png"),
        ("{number}/{kind}.png", "1/ir.png"),
        ("frames/{kind}_{time}.png", ""),
    ],
)
@pytest.mark.parametrize("column", ["rgb", "ir", ""])
def test_manifest__images_of_other_rows_are_counted(
    tmp_path: Path, layout: str, said: str, column: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = []
    for number in range(4):
        bgr, ir, _ = random_pair(number)
        row = {}
        for kind, pixels, delay in (("rgb", bgr, 0), ("ir", ir, 7)):
            row[kind] = layout.format(kind=kind, number=number, time=100 * number + delay)
            (tmp_path / row[kind]).parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(tmp_path / row[kind]), pixels)
        rows.append(row)
    if column:
        files = [row[column] for row in rows]
        for row, file in zip(rows, files[1:] + files[:1], strict=True):
            row[column] = file
    _write_csv(tmp_path / "pairs.csv", rows)
    assert len(pairs_of(write_descriptor(tmp_path, {"train": {"manifest": "pairs.csv"}}))) == 4
    assert ("4 IR images are called as images of other rows, such as" in caplog.text) == bool(said and column)
    assert ("called as" in caplog.text) == bool(said and column)
    assert said in caplog.text or not column


@pytest.mark.parametrize("forgotten", [True, False])
def test_manifest__label_files_of_rows_without_one_are_counted(
    tmp_path: Path, forgotten: bool, caplog: pytest.LogCaptureFixture
) -> None:
    make_pairs(tmp_path, 3, 0)
    rows = _rows(tmp_path)
    rows[1]["label"] = ""
    if not forgotten:
        (tmp_path / "labels" / "train" / "train_001.txt").unlink()
    _write_csv(tmp_path / "pairs.csv", rows)
    assert pairs_of(write_descriptor(tmp_path, {"train": {"manifest": "pairs.csv"}})).num_backgrounds == 1
    text = "1 label file of rows without a label, such as labels/train/train_001.txt; name it in the row, or remove it"
    assert (text in caplog.text) == forgotten
    assert ("without a label" in caplog.text) == forgotten


@pytest.mark.parametrize(
    ("column", "advice"),
    [
        ("Split", r"write columns: \{split: Split\}"),
        ("subset", r"write columns: \{split: subset\}"),
        ("", "add one, or write a manifest for each"),
    ],
)
def test_manifest__of_two_splits_says_which_row_is_of_which(tmp_path: Path, column: str, advice: str) -> None:
    make_pairs(tmp_path, 2, 1)
    rows = [{**row, column: split} for split, n in (("train", 2), ("val", 1)) for row in _rows(tmp_path, split, n)]
    _write_csv(tmp_path / "pairs.csv", [{name: value for name, value in row.items() if name} for row in rows])
    part: dict[str, object] = {"manifest": "pairs.csv"}
    assert len(pairs_of(write_descriptor(tmp_path, {"train": part}))) == 3  # one split: no column is needed
    descriptor = write_descriptor(tmp_path, {"train": part, "val": part})
    for split in ("train", "val"):
        message = rf"pairs\.csv: no column split, so that each row would be in train and val; {advice}"
        with pytest.raises(DataError, match=message):
            pairs_of(descriptor, split)
    if column:
        part["columns"] = {"split": column}
        descriptor = write_descriptor(tmp_path, {"train": part, "val": part})
        assert [len(pairs_of(descriptor, split)) for split in ("train", "val")] == [2, 1]


def test_manifest__rows_of_a_split_that_is_not_used_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_pairs(tmp_path, 5, 1)
    splits = ("train", "train", "trian", "trian", "holdout", "val")
    rows = [*_rows(tmp_path, count=5), *_rows(tmp_path, "val", 1)]
    _write_csv(tmp_path / "pairs.csv", [{**row, "split": split} for row, split in zip(rows, splits, strict=True)])
    uses: dict[str, object] = {split: {"manifest": "pairs.csv"} for split in ("train", "val")}
    assert len(pairs_of(write_descriptor(tmp_path, uses))) == 2
    text = "left out, of splits that the descriptor does not use:"
    assert f"pairs.csv: 3 rows {text} trian, holdout; did you mean train?\n" in caplog.text
    caplog.clear()
    assert len(pairs_of(write_descriptor(tmp_path, {**uses, "test": {"manifest": "pairs.csv", "split": "trian"}}))) == 2
    assert "trian" not in caplog.text
    assert "holdout" in caplog.text


def test_manifest__coco_files_may_tell_its_splits_apart(tmp_path: Path) -> None:
    make_pairs(tmp_path, 2, 0)
    _write_csv(
        tmp_path / "pairs.csv", [{kind: row[kind] for kind in ("rgb", "ir")} for row in _rows(tmp_path, count=2)]
    )
    for number, split in enumerate(("train", "val")):
        write_coco(tmp_path / f"{split}.json", {1: f"train_00{number}.png"})
    parts = {split: {"manifest": "pairs.csv", "coco": f"{split}.json"} for split in ("train", "val")}
    for number, split in enumerate(parts):
        (record,) = pairs_of(write_descriptor(tmp_path, parts), split).records
        assert record.rgb.name == f"train_00{number}.png"


def test_manifest__some_rows_without_a_split_are_refused(tmp_path: Path) -> None:
    make_pairs(tmp_path, 3, 0)
    first, *others = _rows(tmp_path)
    _write_jsonl(tmp_path / "pairs.jsonl", [first | {"split": "train"}, *others])
    with pytest.raises(DataError, match=r"pairs\.jsonl:2: no split, as 2 rows; other rows have one"):
        pairs_of(write_descriptor(tmp_path, {"train": {"manifest": "pairs.jsonl"}}))


def test_manifest__of_excel_may_say_its_separator_first(tmp_path: Path) -> None:
    make_pairs(tmp_path, 2, 0)
    lines = ["sep=;", "rgb;ir;label", *(";".join(row.values()) for row in _rows(tmp_path, count=2))]
    (tmp_path / "pairs.csv").write_text("\r\n".join(lines))
    descriptor = write_descriptor(tmp_path, {"train": {"manifest": "pairs.csv"}})
    assert len(pairs_of(descriptor)) == 2
    (tmp_path / "pairs.csv").write_text("\r\n".join([*lines, "rgb/train/none.png;ir/train/none.png;"]))
    with pytest.raises(DataError, match=r"pairs\.csv:5: no such file"):
        pairs_of(descriptor)


@pytest.mark.parametrize(
    ("encoding", "message"),
    [("utf-16", "is a text in UTF-16"), ("latin-1", "byte 0xdf after .*Stra'.; save it as UTF-8")],
)
def test_manifest__of_another_encoding_is_named(tmp_path: Path, encoding: str, message: str) -> None:
    make_pairs(tmp_path, 1, 0)
    _write_csv(tmp_path / "pairs.csv", [{**row, "place": "Straße"} for row in _rows(tmp_path, count=1)])
    text = (tmp_path / "pairs.csv").read_text(encoding="utf-8")
    descriptor = write_descriptor(tmp_path, {"train": {"manifest": "pairs.csv"}})
    (tmp_path / "pairs.csv").write_bytes(text.encode(encoding))
    with pytest.raises(DataError, match=rf"pairs\.csv: .*{message}"):
        pairs_of(descriptor)
    (tmp_path / "pairs.csv").write_bytes(text.encode("utf-8-sig"))
    assert pairs_of(descriptor).records[0].tags == {"place": "Straße"}


def test_manifest__finds_files_whose_names_macos_has_decomposed(tmp_path: Path) -> None:
    make_pairs(tmp_path, 1, 0)
    for kind in ("rgb", "ir", "labels"):
        (file,) = (tmp_path / kind / "train").iterdir()
        file.rename(file.with_name(f"u\u0308ber{file.suffix}"))
    row = {name: text.replace("train_000", "\u00fcber") for name, text in _rows(tmp_path, count=1)[0].items()}
    _write_csv(tmp_path / "pairs.csv", [row])
    (record,) = pairs_of(write_descriptor(tmp_path, {"train": {"manifest": "pairs.csv"}})).records
    assert record.rgb.name == "u\u0308ber.png"


def test_manifest__one_file_as_both_images_is_refused(tmp_path: Path) -> None:
    make_pairs(tmp_path, 3, 0)
    rows = _rows(tmp_path)
    rows[1]["ir"] = rows[1]["rgb"]
    _write_csv(tmp_path / "pairs.csv", rows)
    with pytest.raises(DataError, match=r"1 problem\n.*train_001: rgb and ir are one file, \S+rgb/train/train_001.png"):
        pairs_of(write_descriptor(tmp_path, {"train": {"manifest": "pairs.csv"}}))


@pytest.mark.parametrize("modality", ["rgb", "ir"])
def test_manifest__one_image_for_several_pairs_is_told_and_for_all_refused(
    tmp_path: Path, modality: str, caplog: pytest.LogCaptureFixture
) -> None:
    make_pairs(tmp_path, 4, 0)
    rows = [{**row, "key": str(i)} for i, row in enumerate(_rows(tmp_path, count=4))]
    rows[1][modality] = rows[0][modality]
    _write_csv(tmp_path / "pairs.csv", rows)
    descriptor = write_descriptor(tmp_path, {"train": {"manifest": "pairs.csv"}})
    assert len(pairs_of(descriptor)) == 4
    name = {"rgb": "visible", "ir": "thermal"}[modality]
    assert f"2 pairs have 1 {name} image between them, such as {modality}/train/train_000.png; check" in caplog.text
    _write_csv(tmp_path / "pairs.csv", [{**row, modality: rows[0][modality]} for row in rows])
    with pytest.raises(DataError, match=rf"1 problem\n.*4 pairs have 1 {name} image between them"):
        pairs_of(descriptor)


@pytest.mark.parametrize("name", ["labels", "Label_Path", "annotation"])
def test_manifest__labels_under_another_name_are_refused(tmp_path: Path, name: str) -> None:
    make_pairs(tmp_path, 3, 0)
    first, *others = _rows(tmp_path)
    rows = [first, *({"rgb": row["rgb"], "ir": row["ir"], name: row["label"][:-4]} for row in others)]
    _write_jsonl(tmp_path / "pairs.jsonl", rows)
    with pytest.raises(DataError, match=rf"2 problems\n.*pairs\.jsonl:2: {name}: no column of ours, and a label\?"):
        pairs_of(write_descriptor(tmp_path, {"train": {"manifest": "pairs.jsonl"}}))
