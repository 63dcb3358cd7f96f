"""The comparison of two evaluations: table, JSON, and what cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from yolofuse.cli import compare


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
    assert "over 50 draws of 4 images" in printed
    rows = json.loads(out.read_text())["differences"]
    assert rows["AP50"] == {"a": 0.0, "b": pytest.approx(1.0), "low": pytest.approx(1.0), "high": pytest.approx(1.0)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: (b / "predictions.json").unlink(), "holds no predictions.json and ground_truth.json"),
        (lambda b: (b / "predictions.json").write_text("{"), "cannot read the evaluation"),
        (lambda b: (b / "predictions.json").write_text('[{"image_id": 9}]'), "damaged predictions"),
        (lambda b: (b / "ground_truth.json").write_text('{"images": []}'), "not the same pairs, labels and classes"),
    ],
    ids=["missing", "damaged", "of-no-image", "other-data"],
)
def test_compare__refuses_what_cannot_be_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, message: str
) -> None:
    a, b = _write(tmp_path / "a", shift=3), _write(tmp_path / "b", shift=0)
    change(b)
    assert compare.main([str(a), str(b)]) == 2
    assert message in capsys.readouterr().err
