"""What an evaluation leaves behind: figures with everything needed to get them again."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import yolofuse
from yolofuse.eval.coco import FIGURES, CocoJson, CocoResult
from yolofuse.files import save_json, save_text

Scalar = str | int | float | bool | None

_PACKAGES = ("yolofuse", "torch", "torchvision", "ultralytics", "pycocotools", "numpy", "opencv-python")
_DIGITS = 4
_SLICE_FIGURES = ("AP", "AP50", "AP75", "AR100")


@dataclass(frozen=True, slots=True)
class EvalReport:
    """One evaluation.

    Attributes:
        result: Figures of the whole split.
        slices: Figures of its parts, by ``"tag=value"``.
        settings: What the figures depend on, flat: imgsz, conf, iou, max_det, data and checkpoint hashes, versions.
        ms_per_pair: Mean time for one pair, in milliseconds; None where it was not taken.
    """

    result: CocoResult
    slices: Mapping[str, CocoResult] = field(default_factory=dict)
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    ms_per_pair: float | None = None

    @property
    def num_images(self) -> int:
        """Pairs that were scored."""
        return self.result.num_images

    @property
    def num_boxes(self) -> int:
        """Boxes there were to be found."""
        return self.result.num_boxes

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain JSON values at full precision."""
        return {
            **self.result.as_json(),
            "ms_per_pair": self.ms_per_pair,
            "slices": {name: result.as_json() for name, result in self.slices.items()},
            "settings": dict(self.settings),
        }


def write_report(
    folder: Path, report: EvalReport, ground_truth: CocoJson, predictions: Sequence[Mapping[str, Any]]
) -> None:
    """Write ground_truth.json, predictions.json, report.json and report.md into ``folder``.

    The first two are plain COCO files: cocoapi, run by itself on them, gives every digit of the report.
    """
    save_json(folder / "ground_truth.json", ground_truth)
    save_json(folder / "predictions.json", list(predictions))
    save_json(folder / "report.json", report.as_json(), indent=2)
    save_text(folder / "report.md", format_markdown(report))


def format_table(report: EvalReport) -> str:
    """The figures for a terminal: the twelve, then classes, then slices."""
    return "\n\n".join([_summary(report), *("\n".join(_aligned(table, "  ")) for table in _tables(report))])


def format_markdown(report: EvalReport) -> str:
    """The figures and the settings as a Markdown page that reads well as plain text too."""
    blocks = ["# Evaluation", _summary(report), *(_markdown(table) for table in _tables(report))]
    if report.settings:
        rows = [[name, "" if value is None else str(value)] for name, value in report.settings.items()]
        blocks += ["## Settings", _markdown([["setting", "value"], *rows])]
    blocks.append(
        "AP and AR are cocoapi's, 0..1, with at most 100 detections per image and class. -1: nothing to find."
    )
    return "\n\n".join(blocks) + "\n"


def environment() -> dict[str, str]:
    """Date (UTC), commit, Python and package versions, ready for :attr:`EvalReport.settings`."""
    versions = {package: _version(package) for package in _PACKAGES}
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": git_commit(),
        "python": platform.python_version(),
        **versions,
    }


def git_commit() -> str:
    """Commit of the checkout that this package runs from, with ``-dirty`` where its files differ; else ``unknown``."""
    package = Path(yolofuse.__file__).resolve().parent
    head, top = _git(package, "rev-parse", "HEAD"), _git(package, "rev-parse", "--show-toplevel")
    # Installed into a virtual environment inside somebody's repository, the commit would be theirs.
    if not head or not top or Path(top).resolve() != package.parent:
        return "unknown"
    changes = _git(package, "status", "--porcelain", "--", ".")
    return f"{head}-dirty" if changes else head


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints, or None where it fails or is missing."""
    git = shutil.which("git")
    if git is None:
        return None
    # A hook of another repository sets GIT_DIR, which would win over the folder.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            [git, "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, env=environ, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _summary(report: EvalReport) -> str:
    speed = "" if report.ms_per_pair is None else f", {report.ms_per_pair:.1f} ms per pair"
    return f"{report.num_images} pairs, {report.num_boxes} boxes{speed}"


def _tables(report: EvalReport) -> list[list[list[str]]]:
    """Rows of cells, the head first, for each table there is something to say in."""
    figures = report.result.figures()
    half = len(FIGURES) // 2
    tables = [[list(part), [_digits(figures[name]) for name in part]] for part in (FIGURES[:half], FIGURES[half:])]
    if report.result.per_class:
        rows = [[name, _digits(ap), _digits(ap50)] for name, (ap, ap50) in report.result.per_class.items()]
        tables.append([["class", "AP", "AP50"], *rows])
    if report.slices:
        rows = [
            [name, str(part.num_images), str(part.num_boxes), *(_digits(getattr(part, f)) for f in _SLICE_FIGURES)]
            for name, part in report.slices.items()
        ]
        tables.append([["slice", "pairs", "boxes", *_SLICE_FIGURES], *rows])
    return tables


def _digits(value: float) -> str:
    return "-1" if value == -1 else f"{value:.{_DIGITS}f}"


def _aligned(table: list[list[str]], gap: str) -> list[str]:
    """One line per row, words to the left of their column, numbers to the right."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    numeric = _numeric(table)
    return [
        gap.join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in table
    ]


def _numeric(table: list[list[str]]) -> list[bool]:
    """Which columns hold numbers only, the head left aside."""
    return [all(_is_number(row[column]) for row in table[1:]) for column in range(len(table[0]))]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _markdown(table: list[list[str]]) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in table]
    rule = "| " + " | ".join("---:" if number else "---" for number in _numeric(escaped)) + " |"
    head, *rows = (f"| {line} |" for line in _aligned(escaped, " | "))
    return "\n".join([head, rule, *rows])
