"""Test names with terminal escapes, bidirectional overrides or HTML: refused, or printed escaped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from tests.support.pairs import make_pairs, pairs_of
from tests.support.runs import write_config
from yolofuse.cli import data as data_cli
from yolofuse.cli import train as train_cli
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.errors import DataError, WeightsError
from yolofuse.weights import load_source

ESCAPES = ["\x1b[2J\x1b]0;owned\x07", "a\rb", "\x9b31m", "\u202egnp", "a\nb"]
HTML = "<script>alert(1)</script>'\"><img src=x onerror=alert(1)>"


def _is_printable(text: str) -> bool:
    return all(part.isprintable() for part in text.split("\n"))


@pytest.mark.parametrize("name", [*ESCAPES, "\x00"])
def test_class_name__with_control_characters_is_refused(tmp_path: Path, name: str) -> None:
    descriptor = make_pairs(tmp_path, 1, 0, names=["person"])
    descriptor.write_text(yaml.safe_dump(yaml.safe_load(descriptor.read_text()) | {"names": [f"x{name}"]}))
    with pytest.raises(DataError, match=r"control character|plain text") as caught:
        load_descriptor(descriptor)
    assert _is_printable(str(caught.value))


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("kind", ["rgb", "ir", "labels"])
def test_file_name__with_control_characters_is_refused(
    tmp_path: Path, name: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    descriptor = make_pairs(tmp_path / "data", 1, 1)
    suffix = ".txt" if kind == "labels" else ".png"
    folder = tmp_path / "data" / kind / "train"
    (folder / f"x{name}{suffix}").write_bytes((folder / f"train_000{suffix}").read_bytes())
    assert train_cli.main(["--cfg", str(write_config(tmp_path, descriptor))]) == 2
    captured = capsys.readouterr()
    assert "control characters; rename it" in captured.err
    assert _is_printable(captured.err)
    assert _is_printable(captured.out)


@pytest.mark.parametrize("name", ESCAPES)
def test_values__of_lists_with_control_characters_are_refused(tmp_path: Path, name: str) -> None:
    folders = {"rgb": "rgb/train", "ir": "ir/train"}
    tags = {"file": "tags.csv", "key": "name", "columns": ["at"]}
    sources: list[tuple[str, str, dict[str, object]]] = [
        (
            "pairs.jsonl",
            json.dumps({"rgb": "rgb/train/train_000.png", "ir": "ir/train/train_000.png", "at": name}),
            {"manifest": "pairs.jsonl"},
        ),
        ("tags.csv", f'name,at\ntrain_000,"{name}"\n', {**folders, "labels": "labels/train", "tags": tags}),
        ("tags.csv", f'name,"{name}"\ntrain_000,day\n', {**folders, "labels": "labels/train", "tags": tags}),
        (
            "coco.json",
            json.dumps(
                {
                    "images": [{"id": 1, "file_name": name, "width": 9, "height": 9}],
                    "annotations": [],
                    "categories": [{"id": 1, "name": "person"}],
                }
            ),
            {**folders, "coco": "coco.json"},
        ),
    ]
    for file, text, source in sources:
        descriptor = make_pairs(tmp_path, 1, 0, extra={"splits": {"train": source}})
        (tmp_path / file).write_text(text, newline="")
        with pytest.raises(DataError) as caught:
            pairs_of(descriptor)
        assert _is_printable(str(caught.value))


@pytest.mark.parametrize("name", ESCAPES[:4])
def test_weights__with_such_names_are_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "w.pt"
    tensor = torch.zeros(16, 3, 3, 3)
    for content in (
        {"state_dict": {"model.0.conv.weight": tensor}, "names": [f"x{name}"]},
        {f"model.0.{name}": tensor},
        {name: tensor},
    ):
        torch.save(content, file)
        with pytest.raises(WeightsError) as caught:
            load_source(file)
        assert _is_printable(str(caught.value))


def test_page__shows_html_as_text(tmp_path: Path) -> None:
    """Class names, file names, tags and split names must not become markup on the page of ``check``."""
    folder = tmp_path / "data"
    name = HTML.replace("/", "")
    tags = {"file": "tags.csv", "key": "name", "columns": ["at"]}
    descriptor = make_pairs(folder, 3, 1, names=[HTML], extra={"tags": tags})
    for kind in ("rgb", "ir"):
        (folder / kind / "train" / "train_002.png").rename(folder / kind / "train" / f"{name}.png")
    rows = "".join(f"{key},day\n" for key in ("train_000", "train_001", "val_000"))
    (folder / "tags.csv").write_text(f"name,at\n{rows}" + '"' + name.replace('"', '""') + '","<b>night"\n')
    (folder / "labels" / "train" / "train_002.txt").rename(folder / "labels" / "train" / f"{name}.txt")
    data_cli.main(["check", "--data", str(descriptor), "--out", str(tmp_path / "report")])
    pages = list((tmp_path / "report").glob("*.html"))
    assert pages
    for page in pages:
        text = page.read_text()
        assert "<script" not in text
        assert "<img src=x" not in text
        assert "<b>night" not in text
        assert "Content-Security-Policy" in text
