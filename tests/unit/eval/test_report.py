"""Files and tables of an evaluation's report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from yolofuse.errors import DataError
from yolofuse.eval.coco import METRICS, CocoResult
from yolofuse.eval.operating_point import OperatingPoints, Point
from yolofuse.eval.report import (
    EvalReport,
    format_markdown,
    format_table,
    read_report,
    report_tables,
    write_report,
)


def _result(base: float) -> CocoResult:
    values = {name: base + 0.01 * index for index, name in enumerate(METRICS)}
    return CocoResult(
        **{**values, "APs": -1.0}, per_class={"person": (base, 0.7), "car": (-1.0, -1.0)}, num_images=41, num_boxes=360
    )


REPORT = EvalReport(
    result=_result(0.123456789),
    slices={"daynight=day": _result(0.2), "daynight=night": _result(0.1)},
    settings={"imgsz": 640, "conf": 0.001, "seed": None, "data": "configs/data/a|b.yaml"},
    ms_per_pair=12.34,
)


def test_write_report__leaves_four_files_that_hold_everything(tmp_path: Path) -> None:
    predictions = [{"image_id": 1, "category_id": 1, "bbox": [0.1, 0.2, 0.3, 0.4], "score": 1 / 3}]
    write_report(tmp_path / "new", REPORT, {"images": [], "annotations": [], "categories": []}, predictions)
    files = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert files == ["ground_truth.json", "predictions.json", "report.json", "report.md"]
    assert json.loads((tmp_path / "new/predictions.json").read_text()) == predictions
    saved = json.loads((tmp_path / "new/report.json").read_text())
    assert saved["AP"] == 0.123456789
    assert saved["APs"] == -1
    assert saved["per_class"]["person"] == {"AP": 0.123456789, "AP50": 0.7}
    assert saved["slices"]["daynight=night"]["AP"] == 0.1
    assert saved["settings"] == dict(REPORT.settings)
    assert (saved["num_images"], saved["num_boxes"], saved["ms_per_pair"]) == (41, 360, 12.34)
    page = (tmp_path / "new/report.md").read_text()
    assert "0.1235" in page
    assert "a\\|b.yaml" in page


def test_format_table__shows_figures_classes_and_slices() -> None:
    lines = format_table(REPORT).splitlines()
    assert lines[0] == "41 pairs, 360 boxes, 12.3 ms per pair"
    assert lines[2].split() == list(METRICS[:6])
    assert lines[3].split()[:4] == ["0.1235", "0.1335", "0.1435", "-"]
    assert ["car", "-", "-"] in [line.split() for line in lines]
    assert any(line.split()[:4] == ["daynight=night", "41", "360", "0.1000"] for line in lines)


def test_report__says_what_its_metrics_do_not_show() -> None:
    report = replace(REPORT, limits=["no box, so no AP: car"])
    assert format_table(report).endswith("\n\nwarning: no box, so no AP: car")
    assert "\n- no box, so no AP: car\n" in format_markdown(report)
    assert report.as_json()["limits"] == ["no box, so no AP: car"]


def test_format_markdown__holds_the_same_tables_and_the_settings() -> None:
    page = format_markdown(REPORT)
    assert page.startswith("# Evaluation\n\n41 pairs, 360 boxes, 12.3 ms per pair\n\n|     AP |   AP50 |")
    assert "| class  |     AP |   AP50 |\n| --- | ---: | ---: |\n| person | 0.1235 | 0.7000 |" in page
    assert "| daynight=day   |    41 |   360 | 0.2000 |" in page
    assert "## Settings" in page
    assert page.endswith("-: nothing to find.\n")


def test_points__stand_beside_the_classes_and_in_the_json(tmp_path: Path) -> None:
    point = Point(0.25, 0.5, 1.0, 2 / 3)
    points = OperatingPoints(
        {"person": point}, point, {}, np.array([[3, 0, 1], [0, 0, 0], [2, 1, 0]]), ("person", "car")
    )
    report = replace(REPORT, points=points)
    rows = [line.split() for line in format_table(report).splitlines()]
    assert ["person", "0.1235", "0.7000", "0.5000", "1.0000", "0.6667", "0.250"] in rows
    assert ["car", "-", "-"] in rows
    assert ["all", "classes", "0.1235", "0.1335", "0.5000", "1.0000", "0.6667", "0.250"] in rows
    assert "gives the best F1" in format_markdown(report)
    saved = report.as_json()
    assert saved["points"]["person"] == {"confidence": 0.25, "precision": 0.5, "recall": 1.0, "F1": 2 / 3}
    assert saved["points_mean"] == saved["points"]["person"]
    assert saved["confusion"] == {"classes": ["person", "car"], "rows": [[3, 0, 1], [0, 0, 0], [2, 1, 0]]}


def test_read_report__gives_what_was_written(tmp_path: Path) -> None:
    written = EvalReport(
        _result(0.3), {"time=day": _result(0.4)}, {"imgsz": 64, "cut": None}, 1.5, {"ir": _result(0.2)}
    )
    write_report(tmp_path, written, {}, [])
    assert read_report(tmp_path) == written


@pytest.mark.parametrize(
    "change",
    [
        {"AP": 2},
        {"AP": "x"},
        {"AP": float("nan")},
        {"per_class": []},
        {"settings": 3},
        {"num_boxes": 1e999},
        {"limits": 1},
    ],
)
def test_read_report__damaged_file_is_named(tmp_path: Path, change: dict[str, object]) -> None:
    write_report(tmp_path, EvalReport(_result(0.3)), {}, [])
    path = tmp_path / "report.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=r"report\.json: not a report of yolofuse val"):
        read_report(tmp_path)


def test_table__a_class_called_all_classes_has_a_row_of_its_own() -> None:
    result = replace(REPORT.result, per_class={"all classes": (0.5, 0.75)})
    points = OperatingPoints(
        {"all classes": Point(0.5, 1.0, 1.0, 1.0)},
        Point(0.25, 0.5, 1.0, 2 / 3),
        {},
        np.zeros((2, 2), int),
        ("all classes",),
    )
    *_, own, whole = report_tables(replace(REPORT, result=result, points=points))["classes"]
    assert own == ["all classes", "0.5000", "0.7500", "1.0000", "1.0000", "1.0000", "0.500"]
    assert whole == ["all classes", "0.1235", "0.1335", "0.5000", "1.0000", "0.6667", "0.250"]
