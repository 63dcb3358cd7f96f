"""The comparison of two evaluations: table, JSON, and what cannot be compared."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from yolofuse.cli import compare
from yolofuse.eval.coco import METRICS


def _write(folder: Path, shift: float, names: tuple[str, ...] = ("person", "car")) -> Path:
    """Write an evaluation of four images with a box each, found with this error."""
    folder.mkdir(parents=True)
    boxes = [{"image_id": i, "category_id": 1 + i % 2, "bbox": [10.0, 10.0, 40.0, 40.0]} for i in range(1, 5)]
    truth: dict[str, Any] = {
        "images": [{"id": i, "width": 100, "height": 100, "file_name": f"{i}.png"} for i in range(1, 5)],
        "annotations": [{**box, "id": i, "area": 1600.0, "iscrowd": 0} for i, box in enumerate(boxes, start=1)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(names, start=1)],
    }
    found = [{**box, "bbox": [10.0 + shift, 10.0, 40.0, 40.0], "score": 0.9} for box in boxes]
    (folder / "ground_truth.json").write_text(json.dumps(truth))
    (folder / "predictions.json").write_text(json.dumps(found))
    return folder


def test_compare__prints_and_writes_the_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = _write(tmp_path / "a", shift=30), _write(tmp_path / "run" / "eval-val", shift=0)
    out = tmp_path / "difference.json"
    assert compare.main([str(a), str(b.parent), "--resamples", "50", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "AP50" in printed
    assert "car AP50" in printed
    assert printed.count("B is better") == 6
    assert printed.count("(few images: 2)") == 4
    assert printed.count("(few images: 4)") == 2
    assert "over 50 draws of 4 images" in printed
    rows = json.loads(out.read_text())["differences"]
    assert rows["AP50"] == {"a": 0.0, "b": pytest.approx(1.0), "low": pytest.approx(1.0), "high": pytest.approx(1.0)}


def test_compare__replaces_its_own_file_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = _write(tmp_path / "a", shift=3), _write(tmp_path / "b", shift=0)
    command = [str(a), str(b), "--resamples", "2", "--out"]
    for _ in range(2):
        assert compare.main([*command, str(tmp_path / "ours.json")]) == 0
    before = (a / "predictions.json").read_bytes()
    assert compare.main([*command, str(a / "predictions.json")]) == 2
    assert "not overwritten" in capsys.readouterr().err
    assert (a / "predictions.json").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: (b / "predictions.json").unlink(), "holds no predictions.json and ground_truth.json"),
        (lambda b: (b / "predictions.json").write_text("{"), "cannot read the evaluation"),
        (lambda b: (b / "predictions.json").write_text('[{"image_id": 9}]'), "damaged predictions"),
        (lambda b: (b / "predictions.json").write_text('[{"image_id": 1e999}]'), "damaged predictions"),
        (lambda b: (b / "ground_truth.json").write_text('{"images": []}'), "not the same pairs (4 and 0 images)"),
    ],
    ids=["missing", "damaged", "of-no-image", "infinite", "other-data"],
)
def test_compare__refuses_what_cannot_be_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, message: str
) -> None:
    a, b = _write(tmp_path / "a", shift=3), _write(tmp_path / "b", shift=0)
    change(b)
    assert compare.main([str(a), str(b)]) == 2
    assert message in capsys.readouterr().err


def test_compare__of_other_classes_looks_at_those_in_common(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """B has a class less, which A numbers first, and another one."""
    a, b = _write(tmp_path / "a", shift=30), _write(tmp_path / "b", shift=0, names=("bus", "car"))
    truth, found = (json.loads((b / name).read_text()) for name in ("ground_truth.json", "predictions.json"))
    truth["annotations"] = [row for row in truth["annotations"] if row["category_id"] == 2]
    truth["categories"] = [{"id": 1, "name": "car"}, {"id": 2, "name": "bus"}]
    for row in truth["annotations"] + found:
        row["category_id"] = 3 - row["category_id"]
    (b / "ground_truth.json").write_text(json.dumps(truth))
    (b / "predictions.json").write_text(json.dumps(found))
    assert compare.main([str(a), str(b), "--resamples", "20"]) == 0
    printed = capsys.readouterr().out
    assert "of the classes that both have: car" in printed
    assert "person" not in printed
    assert printed.count("B is better") == 4
    (b / "predictions.json").write_text(json.dumps([{**row, "category_id": 1 + row["category_id"]} for row in found]))
    assert compare.main([str(a), str(b)]) == 2
    assert "1 categories that the ground truth does not have: 3" in capsys.readouterr().err
    (b / "ground_truth.json").write_text(json.dumps({**truth, "annotations": truth["annotations"][1:]}))
    assert compare.main([str(a), str(b)]) == 2
    assert "not the same labels of car" in capsys.readouterr().err
    (b / "ground_truth.json").write_text(json.dumps({**truth, "categories": [{"id": 1, "name": "tram"}]}))
    assert compare.main([str(a), str(b)]) == 2
    assert "no class in common (person, car and tram)" in capsys.readouterr().err


def test_compare__tells_of_weights_that_are_newer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = _write(tmp_path / "a", shift=3), _write(tmp_path / "run" / "eval-val", shift=0)
    best = tmp_path / "run" / "weights" / "best.pt"
    best.parent.mkdir()
    best.touch()
    os.utime(b / "predictions.json", (1, 1))
    assert compare.main([str(a), str(b.parent), "--resamples", "5"]) == 0
    assert f"older than {best}; evaluate that" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, ""),
        ({"nms": "IoU 0.7, inside the file", "device": "cuda:0"}, ""),
        (
            {"conf": 0.5, "imgsz": 64},
            "warning: A and B were evaluated with unlike limits: imgsz 320 and 64, conf",
        ),
        ({"nms": "IoU 0.5"}, "unlike limits: nms IoU 0.7 and IoU 0.5"),
    ],
)
def test_compare__tells_of_unlike_limits(
    tmp_path: Path, change: dict[str, object], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"imgsz": 320, "letterbox": "rect", "conf": 0.001, "nms": "IoU 0.7", "max_det": 300}
    folders = [_write(tmp_path / name, shift=shift) for name, shift in (("a", 3), ("b", 0))]
    for folder, own in zip(folders, (settings, settings | change), strict=True):
        report = dict.fromkeys(METRICS, 0.5) | {"per_class": {}, "num_images": 4, "num_boxes": 4}
        report |= {"ms_per_pair": None, "settings": own}
        (folder / "report.json").write_text(json.dumps(report))
    assert compare.main([*map(str, folders), "--resamples", "5"]) == 0
    printed = capsys.readouterr().out
    assert told in printed
    assert ("unlike" in printed) == bool(told)


def test_compare__json_nested_too_deep_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("ground_truth.json", "predictions.json"):
        (tmp_path / name).write_text("[" * 100_000)
    assert compare.main([str(tmp_path), str(tmp_path)]) == 2
    assert "cannot read the evaluation" in capsys.readouterr().err
