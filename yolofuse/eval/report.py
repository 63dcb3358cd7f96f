"""Format and write the report of an evaluation: metrics with everything needed to reproduce them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yolofuse.config import load_config
from yolofuse.errors import ConfigError, DataError, plural
from yolofuse.eval.coco import METRICS, CocoJson, CocoResult
from yolofuse.eval.limits import MAX_COUNTED
from yolofuse.eval.operating_point import OperatingPoints, Point
from yolofuse.eval.other_settings import other_settings
from yolofuse.files import read_regular, save_json, save_text
from yolofuse.tables import markdown_table, text_table
from yolofuse.types import CHANNELS, Modality

Scalar = str | int | float | bool | None

REPORT_NAME = "report.json"
SIGN = '"AP":'
"""Text by which a report is recognised."""
DAMAGED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What a file of JSON with other content than an evaluation's may raise where it is used."""
_DIGITS = 4
_MAX_BYTES = 1 << 26
_UNDEFINED = "-"
_SLICE_METRICS = ("AP", "AP50", "AP75", "AR100")


@dataclass(frozen=True, slots=True)
class EvalReport:
    """One evaluation."""

    result: CocoResult  # of the whole split
    slices: Mapping[str, CocoResult] = field(default_factory=dict)  # of its parts, by ``tag=value``
    # What the metrics depend on: imgsz, conf, iou, max_det, hashes of data and checkpoint, versions.
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    ms_per_pair: float | None = None  # mean time in milliseconds; None if it was not measured
    blanked: Mapping[Modality, CocoResult] = field(default_factory=dict)  # with the images of one camera black
    points: OperatingPoints | None = None  # precision, recall, F1 and confusions
    extra: Mapping[str, float] = field(default_factory=dict)  # further metrics, by ``val.metrics``
    limits: Sequence[str] = ()  # what the metrics do not show

    def as_json(self) -> dict[str, Any]:
        """Return all fields as plain JSON values at full precision; undefined metrics are -1, as in cocoapi."""
        return {
            **self.result.as_json(),
            "ms_per_pair": self.ms_per_pair,
            "blanked": {name: result.as_json() for name, result in self.blanked.items()},
            **({} if self.points is None else self.points.as_json()),
            "extra": dict(self.extra),
            "limits": list(self.limits),
            "slices": {name: result.as_json() for name, result in self.slices.items()},
            "settings": dict(self.settings),
        }


def write_report(
    folder: Path, report: EvalReport, ground_truth: CocoJson, predictions: Sequence[Mapping[str, Any]]
) -> None:
    """Write report.json, report.md, ground_truth.json and predictions.json into ``folder``.

    The last two are plain COCO files: cocoapi alone, run on them, reproduces every digit of the report.
    """
    save_json(folder / REPORT_NAME, report.as_json(), indent=2)  # first: it marks the folder as ours
    save_text(folder / "report.md", format_markdown(report))
    save_json(folder / "ground_truth.json", ground_truth)
    save_json(folder / "predictions.json", list(predictions))


def find_evaluation(path: Path, split: str = "val") -> Path:
    """Return the folder of an evaluation: the path itself, or ``eval-SPLIT`` in a run.

    Raises:
        DataError: If there is none.
    """
    for folder in (path, path / f"eval-{split}"):
        if (folder / "predictions.json").is_file() and (folder / "ground_truth.json").is_file():
            return folder
    raise DataError(f"{path}: holds no predictions.json and ground_truth.json; write them with val_dual.py")


def evaluation_warnings(folder: Path) -> list[str]:
    """Say if an evaluation in a run's folder is not one of its best weights by its config; empty for others."""
    warnings = []
    best, config = folder.parent / "weights" / "best.pt", folder.parent / "config.yaml"
    if best.is_file() and best.stat().st_mtime > (folder / "predictions.json").stat().st_mtime:
        warnings.append(f"{folder}: older than {best}; evaluate that with yolofuse val --run {folder.parent}")
    with suppress(DataError, ConfigError):  # other parts say what is missing
        if config.is_file() and (other := other_settings(folder, read_report(folder).settings, load_config(config))):
            warnings.append(f"{folder}: evaluated with {other}, which is not what {config} says")
    return warnings


def read_report(folder: Path) -> EvalReport:
    """Read what :func:`write_report` wrote, without operating points.

    Raises:
        DataError: If the file is missing or damaged.
    """
    path = folder / REPORT_NAME
    try:
        content = json.loads(read_regular(path, _MAX_BYTES))
        settings = {str(name): value for name, value in content["settings"].items()}
        parts = {
            key: {str(name): _read_result(part) for name, part in content.get(key, {}).items()}
            for key in ("slices", "blanked")
        }
        report = EvalReport(
            _read_result(content),
            parts["slices"],
            {name: value if isinstance(value, Scalar) else str(value) for name, value in settings.items()},
            None if content["ms_per_pair"] is None else float(content["ms_per_pair"]),
            {name: parts["blanked"][name] for name in CHANNELS if name in parts["blanked"]},
            extra={str(name): float(value) for name, value in content.get("extra", {}).items()},
            limits=tuple(str(text) for text in content.get("limits", ())),
        )
    except (OSError, RecursionError, *DAMAGED) as error:
        raise DataError(f"{path}: not a report of yolofuse val ({error!r}); write it again") from error
    return report


def _read_result(content: Mapping[str, Any]) -> CocoResult:
    metrics = {name: float(content[name]) for name in METRICS}
    per_class = {str(name): (float(row["AP"]), float(row["AP50"])) for name, row in content["per_class"].items()}
    if not all(-1 <= value <= 1 for row in (metrics.values(), *per_class.values()) for value in row):
        raise ValueError("a metric is not within -1..1")  # nan is not, either
    num_images, num_boxes = int(content["num_images"]), int(content["num_boxes"])
    return CocoResult(**metrics, per_class=per_class, num_images=num_images, num_boxes=num_boxes)


def read_predictions(folder: Path) -> tuple[CocoJson, list[dict[str, Any]]]:
    """Return labels and predictions of an evaluation, as :func:`write_report` wrote them.

    Raises:
        DataError: If a file is missing or damaged.
    """
    try:
        truth, predictions = (
            json.loads(read_regular(folder / name)) for name in ("ground_truth.json", "predictions.json")
        )
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{folder}: cannot read the evaluation ({error}); write it again with val_dual.py") from error
    return truth, predictions


def format_table(report: EvalReport) -> str:
    """Format the metrics for a terminal: the twelve, then classes, then slices."""
    return "\n\n".join(
        [
            _summary(report),
            *map(text_table, report_tables(report).values()),
            *(f"warning: {text}" for text in report.limits),
        ]
    )


def format_markdown(report: EvalReport) -> str:
    """Format metrics and settings as a Markdown page that reads well as plain text too."""
    blocks = ["# Evaluation", _summary(report), *map(markdown_table, report_tables(report).values())]
    blocks += [f"- {text}" for text in report.limits]
    if report.settings:
        rows = [[name, "" if value is None else str(value)] for name, value in report.settings.items()]
        blocks += ["## Settings", markdown_table([["setting", "value"], *rows])]
    blocks.append(
        f"AP and AR are cocoapi's, 0..1, with at most {MAX_COUNTED} detections per image and class. "
        f"{_UNDEFINED}: nothing to find."
    )
    if report.points is not None:
        blocks.append(
            "Precision, recall and F1 are at an IoU of 0.5 and, line by line, from the score on that gives the best F1."
        )
    return "\n\n".join(blocks) + "\n"


def _summary(report: EvalReport) -> str:
    speed = "" if report.ms_per_pair is None else f", {report.ms_per_pair:.1f} ms per pair"
    return f"{plural(report.result.num_images, 'pair')}, {plural(report.result.num_boxes, 'box')}{speed}"


def report_tables(report: EvalReport) -> dict[str, list[list[str]]]:
    """Return the tables of the report that are not empty, by name, each as rows of cells, the header first."""
    metrics = report.result.metrics()
    half = len(METRICS) // 2
    tables = {
        name: [list(part), [digits(metrics[metric]) for metric in part]]
        for name, part in (("AP", METRICS[:half]), ("AR", METRICS[half:]))
    }
    if report.result.per_class:
        tables["classes"] = _class_table(report)
    if report.extra:
        tables["extra"] = [["metric", "value"], *([name, digits(value)] for name, value in report.extra.items())]
    if report.blanked:
        names = ("AP", "AP50", "AP75")
        shown = [("none", report.result), *report.blanked.items()]
        rows = [[name, *(digits(getattr(result, f)) for f in names)] for name, result in shown]
        tables["blanked"] = [["one camera black", *names], *rows]
    if report.slices:
        rows = [
            [name, str(part.num_images), str(part.num_boxes), *(digits(getattr(part, f)) for f in _SLICE_METRICS)]
            for name, part in report.slices.items()
        ]
        tables["slices"] = [["slice", "pairs", "boxes", *_SLICE_METRICS], *rows]
    return tables


def _class_table(report: EvalReport) -> list[list[str]]:
    """Return AP and AP50 of each class, and what it does at the confidence of its best F1."""
    per_class = report.result.per_class.items()
    if report.points is None or report.points.mean is None:
        return [["class", "AP", "AP50"], *([name, *map(digits, both)] for name, both in per_class)]
    best, whole = report.points.best, (report.result.AP, report.result.AP50)
    rows = [[name, *map(digits, both), *point_cells(best.get(name))] for name, both in per_class]
    rows.append(["all classes", *map(digits, whole), *point_cells(report.points.mean)])
    return [["class", "AP", "AP50", "precision", "recall", "F1", "from score"], *rows]


def point_cells(point: Point | None) -> list[str]:
    """Format precision, recall, F1 and score of a class; blank where there is nothing to find."""
    return (
        [""] * 4
        if point is None
        else [*map(digits, (point.precision, point.recall, point.f1)), f"{point.confidence:.3f}"]
    )


def digits(value: float) -> str:
    """Format a metric; a dash where there is nothing to find."""
    return _UNDEFINED if value == -1 else f"{value:.{_DIGITS}f}"
