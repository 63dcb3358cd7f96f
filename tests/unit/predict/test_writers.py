"""What predict writes: label files, COCO JSON, CSV, crops and pictures say what was detected, and nothing else."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from yolofuse.cli import predict as predict_cli
from yolofuse.cli.main import main as yolofuse_main
from yolofuse.errors import ConfigError, DataError
from yolofuse.predict import load as predict_load
from yolofuse.predict.model import Model
from yolofuse.predict.result import PairDetections
from yolofuse.predict.writers import FORMATS, free_folder, open_writers
from yolofuse.types import PairRecord


def result(root: Path, key: str = "night/a") -> PairDetections:
    """Return two boxes in a pair of 96 x 64 pixels."""
    record = PairRecord(1, key, root / "rgb/val/val_000.png", root / "ir/val/val_000.png", None, (64, 96), (64, 96))
    boxes = np.array([[24, 16, 72, 48], [0.4, 0.6, 9.5, 63]], np.float32)
    scores = np.array([0.75, 0.5], np.float32)
    return PairDetections(1, boxes, scores, np.array([1, 0]), ("person", "=car"), record)


def written(root: Path, out: Path, *kinds: str) -> Path:
    for writer in open_writers(out, kinds, ("rgb", "ir"), "grey"):
        writer.write(result(root))
        writer.close()
    return out


def test_txt__has_class_centre_size_and_score(root: Path) -> None:
    lines = (written(root, root / "out", "txt") / "labels/night/a.txt").read_text().splitlines()
    assert lines[0] == "1 0.500000 0.500000 0.500000 0.500000 0.750000"
    assert len(lines) == 2


def test_csv__has_a_row_per_detection_and_no_formula(root: Path) -> None:
    with (written(root, root / "out", "csv") / "detections.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["class"] for row in rows] == ["'=car", "person"]
    assert (rows[0]["pair"], rows[0]["score"], rows[0]["x1"], rows[0]["y2"]) == ("night/a", "0.7500", "24.00", "48.00")


def test_coco__has_the_image_with_its_boxes(root: Path) -> None:
    content = json.loads((written(root, root / "out", "coco") / "coco.json").read_text())
    assert content["images"] == [{"id": 1, "file_name": "night/val_000.png", "width": 96, "height": 64}]
    assert content["annotations"][0]["bbox"] == [24, 16, 48, 32]
    assert content["categories"][content["annotations"][0]["category_id"] - 1]["name"] == "=car"


def test_crops__show_both_cameras(root: Path) -> None:
    crop = cv2.imread(str(written(root, root / "out", "crops") / "crops/=car/night/a_1.jpg"))
    assert crop is not None
    assert crop.shape[0] == 32
    assert crop.shape[1] > 2 * 48
    assert (root / "out/crops/person/night/a_2.jpg").is_file()


@pytest.mark.parametrize(("name", "folder"), [("..", "_."), (".", "_"), ("a/b", "a_b")])
def test_crops__of_a_class_stay_in_a_folder_of_its_own(root: Path, name: str, folder: str) -> None:
    (writer,) = open_writers(root / "out", ["crops"], ("rgb",), "grey")
    writer.write(replace(result(root), names=("person", name)))
    assert (root / "out/crops" / folder / "night/a_1.jpg").is_file()


def test_images__draw_both_cameras(root: Path) -> None:
    image = cv2.imread(str(written(root, root / "out", "images") / "images/night/a.jpg"))
    assert image is not None
    assert image.shape[1] > 2 * 480


@pytest.mark.parametrize(
    "look", [{"show": "rgb"}, {"show": ()}, {"show": ("rgb", "thermal")}, {"palette": "hot"}, {"width": -3}]
)
def test_plot__of_an_unknown_look_is_refused(root: Path, look: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"^{'show' if 'width' in look else next(iter(look))}: "):
        result(root).plot(**look)


@pytest.mark.parametrize("key", ["../a", "/tmp/a", "a/../../b", ""])
@pytest.mark.parametrize("kind", ["txt", "images", "crops"])
def test_writers__refuse_names_that_lead_out(root: Path, key: str, kind: str) -> None:
    out = root / "inner" / "out"
    before = set(root.rglob("*"))
    (writer,) = open_writers(out, [kind], ("rgb",), "grey")
    bad = result(root, key)
    if kind == "crops" and key in {"", "/tmp/a"}:
        writer.write(bad)  # below the class's folder
    else:
        with pytest.raises(DataError, match="must not lead out"):
            writer.write(bad)
    assert [path for path in {*root.rglob("*")} - before if out not in {path, *path.parents, path / "out"}] == []


def test_open_writers__overwrites_nothing(root: Path) -> None:
    written(root, root / "out", "txt")
    with pytest.raises(ConfigError, match="out-2 is free"):
        open_writers(root / "out", ["txt"], ("rgb",), "grey")
    with pytest.raises(ConfigError, match="no 'text'; did you mean txt"):
        open_writers(root / "new", ["text"], ("rgb",), "grey")
    assert free_folder(root / "new") == root / "new"


def test_help__lists_what_can_be_written() -> None:
    assert set(predict_cli._SAVE) == set(FORMATS)


def test_predict_command__writes_what_it_found_and_tells_what_it_could_not_read(
    root: Path, model: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(predict_load, "load", lambda *_: model)
    monkeypatch.chdir(root)
    damaged = root / "ir/val/val_002.png"
    damaged.write_bytes(damaged.read_bytes()[:300])
    words = ["predict", "--weights", ".", "--rgb", "rgb/val", "--ir", "ir/val", "--conf", "0.0000001"]
    assert yolofuse_main([*words, "--max-det", "2", "--save", "txt", "csv"]) == 2
    printed = capsys.readouterr()
    assert "4 pairs, 8 detections" in printed.out
    assert "left out: 1 pair\n  " in printed.err
    assert "val_002.png" in printed.err
    assert len([*(root / "runs/predict/labels").iterdir()]) == 4
    assert yolofuse_main([*words, "--save"]) == 2
    assert "written to runs/predict-2" in capsys.readouterr().out
    assert yolofuse_main([*words, "--classes", "cat", "--out", "new"]) == 2
    assert "no class 'cat'" in capsys.readouterr().err
    assert not (root / "new").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--weights", "none.pt", "--rgb", "."], "--weights: none.pt: no such file or run"),
        (["--weights", ".", "--rgb", "none"], "--rgb: none: no such file or folder"),
        (["--weights", ".", "--rgb", ".", "--batch", "0"], "--batch: must be at least 1"),
    ],
)
def test_predict_command__tells_mistakes_before_torch_is_loaded(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict_cli.main(words) == 2
    assert told in capsys.readouterr().err
