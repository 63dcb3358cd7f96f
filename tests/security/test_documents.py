"""Test untrusted XML, JSON and label files: entities, NaN, extreme depth and huge files are refused."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.support.pairs import make_pairs, pairs_of
from yolofuse.cli import data as data_cli
from yolofuse.data.index.matches import MAX_TEXT_BYTES
from yolofuse.errors import DataError

_LAUGHS = "".join(
    f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' if i else '<!ENTITY l0 "ha">' for i in range(10)
)  # 10 ** 9 of them
_QUADRATIC = f'<!ENTITY a "{"a" * 50_000}">'


def _voc(kind: str, secret: Path) -> str:
    name = {"laughs": "&l9;", "quadratic": "&a;" * 50_000}.get(kind, "&x;")
    doctype = {
        "laughs": f"<!DOCTYPE z [{_LAUGHS}]>",
        "quadratic": f"<!DOCTYPE z [{_QUADRATIC}]>",
        "external": f'<!DOCTYPE z [<!ENTITY x SYSTEM "file://{secret}">]>',
        "parameter": f'<!DOCTYPE z [<!ENTITY % p SYSTEM "file://{secret}"> %p;]>',
        "remote": '<!DOCTYPE z SYSTEM "http://127.0.0.1:9/evil.dtd">',
    }[kind]
    return f"<?xml version='1.0'?>{doctype}<annotation><object><name>{name}</name></object></annotation>"


@pytest.mark.parametrize("kind", ["laughs", "quadratic", "external", "parameter", "remote"])
def test_xml__entities_are_refused(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the secret text")
    make_pairs(tmp_path / "src", 2, 1)
    (tmp_path / "src" / "xml" / "train").mkdir(parents=True)
    (tmp_path / "src" / "xml" / "train" / "train_000.xml").write_text(_voc(kind, secret))
    options = ("--rgb", "rgb/{split}", "--ir", "ir/{split}", "--xml", "xml/{split}", "--splits", "train")
    started = time.perf_counter()
    code = data_cli.main(["prepare", "voc", "--src", str(tmp_path / "src"), "--out", str(tmp_path / "out"), *options])
    assert time.perf_counter() - started < 10
    assert code == 2
    message = capsys.readouterr().err
    assert "document types and entities are refused" in message
    assert "secret text" not in message
    assert not (tmp_path / "out").exists()


_DEEP = "[" * 100_000 + "]" * 100_000
JSONS = {
    "deep": (_DEEP, "not valid JSON"),
    "nan": ('{"images": [], "annotations": [{"bbox": [NaN, 0, 1, 1]}], "categories": []}', "NaN is no number"),
    "infinity": ('{"images": [], "annotations": [], "categories": [], "x": -Infinity}', "-Infinity is no number"),
    "digits": (f'{{"images": [{"9" * 5000}]}}', "not valid JSON"),
    "deep-string": ('{"images": ' + '{"a":' * 50_000, "not valid JSON"),
}


@pytest.mark.parametrize("kind", JSONS)
@pytest.mark.parametrize("reader", ["descriptor", "prepare"])
def test_json__is_refused(tmp_path: Path, kind: str, reader: str, capsys: pytest.CaptureFixture[str]) -> None:
    text, expected = JSONS[kind]
    coco = {"rgb": "rgb/train", "ir": "ir/train", "coco": "coco.json"}
    descriptor = make_pairs(tmp_path / "src", 2, 0, extra={"splits": {"train": coco}})
    (tmp_path / "src" / "coco.json").write_text(text)
    if reader == "descriptor":
        with pytest.raises(DataError, match=expected):
            pairs_of(descriptor)
        return
    options = ("--rgb", "rgb/train", "--ir", "ir/train", "--json", "coco.json", "--unlabelled", "background")
    code = data_cli.main(["prepare", "coco", "--src", str(tmp_path / "src"), "--out", str(tmp_path / "out"), *options])
    assert code == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["list", "object"])
def test_manifest__depth_that_cannot_be_printed_is_refused(tmp_path: Path, kind: str) -> None:
    descriptor = make_pairs(tmp_path, 1, 0, extra={"splits": {"train": {"manifest": "pairs.jsonl"}}})
    deep = "[" * 950 + "]" * 950 if kind == "list" else '{"a": ' * 950 + "1" + "}" * 950
    row = f'"rgb": "rgb/train/train_000.png", "ir": "ir/train/train_000.png", "at": {deep}'
    (tmp_path / "pairs.jsonl").write_text(f"{{{row}}}\n")
    with pytest.raises(DataError, match=r"pairs\.jsonl:1: (at: expected text or a number|not valid JSON)"):
        pairs_of(descriptor)


@pytest.mark.parametrize("name", ["coco.json", "pairs.csv", "pairs.jsonl", "list.txt", "tags.csv"])
def test_file__of_extreme_size_is_refused_without_reading(tmp_path: Path, name: str) -> None:
    folders = {"rgb": "rgb/train", "ir": "ir/train"}
    sources: dict[str, dict[str, object]] = {
        "coco.json": {**folders, "coco": name},
        "list.txt": {**folders, "labels": "labels/train", "list": name},
        "tags.csv": {
            **folders,
            "labels": "labels/train",
            "tags": {"file": name, "key": "name", "columns": ["at"]},
        },
    }
    source = sources.get(name, {"manifest": name})
    descriptor = make_pairs(tmp_path, 1, 0, extra={"splits": {"train": source}})
    with (tmp_path / name).open("wb") as file:
        file.truncate(MAX_TEXT_BYTES + 1)  # sparse: uses no disk space
    with pytest.raises(DataError, match="larger than 1 GiB"):
        pairs_of(descriptor)


LABELS = {
    "inf": ("0 1e400 0.5 0.1 0.1", "numbers must be finite"),
    "nan": ("nan 0.5 0.5 0.1 0.1", "numbers must be finite"),
    "huge-class": ("1e308 0.5 0.5 0.1 0.1", "class must be"),
    "many-digits": ("9" * 100_000 + " 0.5 0.5 0.1 0.1", "numbers must be finite"),
    "many-boxes": ("\n".join(f"0 0.5 0.5 0.1 {i / 1e6}" for i in range(1, 20_010)), "more than 20,000 boxes"),
    "many-mistakes": ("x\n" * 1_000_000, "and 80 more"),
    "nul": ("0 0.5 \0 0.5 0.1", "holds zero bytes, as a text in UTF-16 does; save it"),
    "size": (" " * (5 << 20), "larger than 4 MiB"),
}


@pytest.mark.parametrize("kind", LABELS)
def test_label__is_refused_with_a_short_message(tmp_path: Path, kind: str) -> None:
    text, expected = LABELS[kind]
    descriptor = make_pairs(tmp_path, 1, 0)
    (tmp_path / "labels" / "train" / "train_000.txt").write_text(text)
    started = time.perf_counter()
    with pytest.raises(DataError, match=expected) as caught:
        pairs_of(descriptor)
    assert time.perf_counter() - started < 10
    assert len(str(caught.value)) < 8000


def test_coco__unexpected_nesting_is_refused(tmp_path: Path) -> None:
    coco = {"rgb": "rgb/train", "ir": "ir/train", "coco": "coco.json"}
    descriptor = make_pairs(tmp_path, 1, 0, extra={"splits": {"train": coco}})
    nested: object = "x"
    for _ in range(800):
        nested = [nested]
    image = {"id": 1, "file_name": "train_000.png", "width": 96, "height": 64}
    annotation = {"id": 1, "image_id": 1, "category_id": nested, "bbox": nested}
    content = {"images": [image], "annotations": [annotation], "categories": [{"id": 1, "name": "person"}]}
    (tmp_path / "coco.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"annotations\[0\]"):
        pairs_of(descriptor)
