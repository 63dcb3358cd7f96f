"""Count what was found, missed and invented in each pair, choose pairs worth a look, and draw them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolofuse.data import PairSet
from yolofuse.engine.evaluate_checkpoint import boxes_of_pair, view_pair
from yolofuse.errors import DataError
from yolofuse.eval.report import DAMAGED
from yolofuse.html.render import jpeg_uri
from yolofuse.reports.sections import Chart, PairFigure
from yolofuse.types import Detections
from yolofuse.viz.pairs import match_detections, outcome_panels

NO_DETECTIONS = Detections(0, np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
LEGEND = "Green: found. Red: false alarm. Yellow, dashed: missed. White: the box as it is labelled."


@dataclass(frozen=True, slots=True)
class Outcome:
    """One pair at one score: its position in the split, and how many boxes were found, missed and invented."""

    index: int
    found: int
    missed: int
    false: int

    @property
    def errors(self) -> int:
        """Missed boxes and false alarms."""
        return self.missed + self.false


def detections_by_image(rows: Sequence[Mapping[str, Any]]) -> dict[int, Detections]:
    """Group the rows of a COCO result file by image; class ids are counted from 0.

    Raises:
        DataError: If a row is damaged.
    """
    grouped: dict[int, list[tuple[Any, ...]]] = {}
    try:
        for row in rows:
            x, y, width, height = row["bbox"]
            values = (x, y, x + width, y + height, row["score"], row["category_id"] - 1)
            grouped.setdefault(row["image_id"], []).append(values)
        arrays = {image_id: np.array(values, np.float64) for image_id, values in grouped.items()}
    except DAMAGED as error:
        raise DataError(f"damaged predictions ({error!r}); write them again with yolofuse val") from error
    return {
        image_id: Detections(
            image_id, values[:, :4].astype(np.float32), values[:, 4].astype(np.float32), values[:, 5].astype(np.int64)
        )
        for image_id, values in arrays.items()
    }


def count_outcomes(pairs: PairSet, detections: Mapping[int, Detections], confidence: float) -> list[Outcome]:
    """Count the outcomes of every pair of a split, at an IoU of 0.5, for detections from a score on."""
    outcomes = []
    for index in range(len(pairs)):
        (boxes, class_ids), ignored = boxes_of_pair(pairs, index)
        shown = detections.get(index + 1, NO_DETECTIONS).above(confidence)
        _, matched = match_detections(shown, boxes, class_ids, ignored)
        found = int((matched >= 0).sum())
        outcomes.append(Outcome(index, found, len(class_ids) - found, len(matched) - found))
    return outcomes


def choose_best(outcomes: Sequence[Outcome], most: int) -> list[int]:
    """Return the positions of pairs in which everything was found and nothing else, those with most boxes first."""
    perfect = [outcome for outcome in outcomes if not outcome.errors and outcome.found]
    return [outcome.index for outcome in sorted(perfect, key=lambda outcome: -outcome.found)[:most]]


def choose_worst(outcomes: Sequence[Outcome], most: int) -> list[int]:
    """Return the positions of the pairs with most errors; of equally many, those with fewer boxes found first."""
    wrong = [outcome for outcome in outcomes if outcome.errors]
    return [outcome.index for outcome in sorted(wrong, key=lambda outcome: (-outcome.errors, outcome.found))[:most]]


def draw_pair(pairs: PairSet, index: int, detections: Mapping[int, Detections], confidence: float) -> PairFigure:
    """Draw the outcome of a pair on both of its images."""
    view = view_pair(pairs, index)
    found = detections.get(pairs.records[index].image_id, NO_DETECTIONS)
    panels, summary = outcome_panels(view, found, pairs.names, min_score=confidence, with_labels=True)
    labelled = [Chart(label, jpeg_uri(panel)) for label, panel in zip(("RGB", "IR"), panels, strict=True)]
    return PairFigure(view.caption, summary, labelled)
