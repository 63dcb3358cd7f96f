"""Compare the evaluations in two folders, and format the differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolofuse.errors import DataError, plural
from yolofuse.eval.bootstrap import Difference, compare, shared_classes
from yolofuse.eval.other_settings import unlike_settings
from yolofuse.eval.report import DAMAGED, read_predictions, read_report

_FEW_IMAGES = 10
"""Draws of fewer images than this are too alike for an interval to hold what it promises."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two evaluations, A and B, and how they differ.

    Attributes:
        a: What was named as A.
        b: What was named as B.
        differences: Of each metric.
        num_images: Images of the split.
        classes: Names of the classes that were compared, if one of the two has others too; else empty.
        resamples: Draws of the bootstrap.
        unlike: In which limits of detection the two differ; empty if in none.
    """

    a: Path
    b: Path
    differences: Sequence[Difference]
    num_images: int
    classes: Sequence[str]
    resamples: int
    unlike: str = ""

    @property
    def explanation(self) -> str:
        """Say what the intervals are."""
        images = f"95 % interval of B - A over {plural(self.resamples, 'draw')} of {plural(self.num_images, 'image')}"
        parts = [f"of the classes that both have: {', '.join(self.classes)}"] if self.classes else []
        parts += [f"warning: A and B were evaluated with unlike limits: {self.unlike}"] if self.unlike else []
        return "\n\n".join([*parts, images])

    def as_json(self) -> dict[str, Any]:
        """Return the figures as plain JSON values."""
        rows = {d.name: {"a": d.a, "b": d.b, "low": d.low, "high": d.high} for d in self.differences}
        return {"a": str(self.a), "b": str(self.b), "differences": rows}

    def table(self) -> list[list[str]]:
        """Return the differences as rows of cells, the header first."""
        rows = [["metric", "A", "B", "B - A", "95 % interval", "boxes", ""]]
        for d in self.differences:
            interval = f"{d.low:+.4f} .. {d.high:+.4f}"
            verdict = d.verdict + (f" (few images: {d.num_images})" if d.num_images < _FEW_IMAGES else "")
            rows.append([d.name, f"{d.a:.4f}", f"{d.b:.4f}", f"{d.b - d.a:+.4f}", interval, str(d.num_boxes), verdict])
        return rows


def compare_evaluations(
    a: tuple[Path, Path], b: tuple[Path, Path], *, resamples: int = 1000, seed: int = 0
) -> Comparison:
    """Compare two evaluations by a paired bootstrap over the images.

    Args:
        a: What the user named, and the folder with its evaluation.
        b: The same of the other one.
        resamples: Number of draws.
        seed: Of the draws.

    Raises:
        DataError: If one is damaged, or they are not of the same pairs.
    """
    both = [read_predictions(folder) for _, folder in (a, b)]
    try:
        truth, rows_a, rows_b = shared_classes(*both)
        found = compare(truth, [rows_a], [rows_b], resamples=resamples, seed=seed)
        is_part = any(len(truth["categories"]) < len(whole["categories"]) for whole, _ in both)
        classes = [str(category["name"]) for category in truth["categories"]] if is_part else []
        return Comparison(a[0], b[0], found, len(truth["images"]), classes, resamples, _unlike(a[1], b[1]))
    except DataError as error:
        raise DataError(f"{a[0]} and {b[0]}: {error}") from None
    except DAMAGED as error:
        raise DataError(f"{a[0]}, {b[0]}: damaged predictions ({error}); write them again") from error


def _unlike(a: Path, b: Path) -> str:
    """Return as :func:`unlike_settings`, of two folders; empty if one has no report."""
    try:
        return unlike_settings(read_report(a).settings, read_report(b).settings)
    except DataError:
        return ""
