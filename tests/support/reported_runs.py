"""Write whole run folders for tests of reports, evaluated and with weights, without training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.detectors import build
from tests.support.pairs import make_pairs
from tests.support.run_folders import write_events, write_status
from tests.support.runs import write_config
from yolofuse.boxes import xywhn_to_xyxy
from yolofuse.config import Config, load_config
from yolofuse.config.load import plain_config
from yolofuse.data import PairSet, load_pairs
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.eval.coco import CocoMatches, ground_truth, prediction_rows
from yolofuse.eval.operating_point import operating_points
from yolofuse.eval.report import EvalReport, write_report
from yolofuse.eval.slices import evaluate_slices
from yolofuse.run.folder import RunFolder
from yolofuse.types import Detections
from yolofuse.weights import save_checkpoint

NAMES = ("person", "car")
NUM_VAL = 4
_WEIGHTS = {
    "policy": "kaiming", "share_loaded": 0.75, "warnings": ["ir: nothing was loaded"],
    "sources": {"rgb": {"file": "w.pt", "sha256": "ab" * 32, "base": "yolov8n", "names": None}},
    "classes": {"person": {"from": "person", "by": "name", "row": 0}, "car": {"from": None, "by": None, "row": None}},
    "parts": {"rgb": {"loaded": 130, "inflated": 5}, "fusion": {"initialised": 6}},
}  # fmt: skip


def make_run(
    root: Path, name: str = "run", *, names: Sequence[str] = NAMES, errors: int = 2, blank: bool = True, **model: Any
) -> Path:
    """Write an evaluated run of two epochs, whose detector has random weights; return its folder.

    Args:
        root: Its data set is made in ``data``, once.
        name: Of the run.
        names: Class names.
        errors: Of the last pairs of the split, in the order of ``found_with_errors``.
        blank: Whether the evaluation was repeated with one camera black.
        model: Options of the config's model section.
    """
    descriptor = root / "data" / "data.yaml"
    if not descriptor.exists():
        make_pairs(root / "data", 3, NUM_VAL, names=names)
    raw = load_config(write_config(root, descriptor, model=model, train={"run": str(root / name)}))
    run = RunFolder(root / name)
    run.create(raw)
    run.write_results(_history())
    run.weights_report.write_text(json.dumps(_WEIGHTS))
    write_status(run.path, state="finished", epoch=2, epochs=2)
    write_events(run.path, ("08:00", "begun", {"step": 0}), ("08:10", "finished", {"step": 6}))
    pairs = load_pairs(load_descriptor(descriptor), "val")
    _evaluate(run, raw, pairs, errors, blank=blank)
    detector = build(len(names), **raw.model.model_dump(mode="json", exclude_unset=True))
    save_checkpoint(
        run.best,
        {
            "config": plain_config(raw), "names": list(names), "ema": detector.state_dict(), "epoch": 2,
            "data_hash": pairs.fingerprint, "code": {"torch": "2.x"}, "machine": {"threads": 1, "versions": {}},
            "ir_windows": {}, "formats": [{}],
        },
    )  # fmt: skip
    return run.path


def found_with_errors(pairs: PairSet, errors: int) -> list[Detections]:
    """Return perfect detections, but of the last ``errors`` pairs: a miss, then a miss and a false alarm, in turn."""
    detections = []
    for index in range(len(pairs)):
        boxes_xywhn, class_ids = pairs.labels(index)
        boxes = xywhn_to_xyxy(boxes_xywhn, pairs.size_hw(index))
        scores = np.full(len(boxes), 0.9 - 0.01 * index, np.float32)
        number = len(pairs) - index
        if number <= errors:
            boxes = boxes[:0] if number % 2 else boxes + np.float32(boxes.max())
            class_ids, scores = class_ids[: len(boxes)], scores[: len(boxes)]
        detections.append(Detections(index + 1, boxes, scores, class_ids))
    return detections


def _history() -> list[dict[str, float | None]]:
    rows: list[dict[str, float | None]] = [{"epoch": 0, "val/AP": 0.1, "val/AP50": 0.2, "val/AP75": 0.1}]
    for epoch in (1, 2):
        taken = {"seconds": 2.0, "data_wait": 0.1}
        scores = {"val/AP": 0.1 * epoch, "val/AP50": 0.3 * epoch, "val/AP75": 0.2}
        rows.append({"epoch": epoch, "train/box": 1.0 / epoch, "train/cls": 2.0 / epoch, "lr": 0.01, **taken, **scores})
    return rows


def _evaluate(run: RunFolder, config: Config, pairs: PairSet, errors: int, *, blank: bool) -> None:
    truth = ground_truth(pairs.records, pairs.labels, pairs.names, pairs.ignored)
    rows = prediction_rows(found_with_errors(pairs, errors))
    matches = CocoMatches(truth, rows)
    report = EvalReport(
        matches.result(),
        evaluate_slices(matches, pairs.records),
        {"split": "val", "config": str(config.run_dir)},
        1.5,
        {name: CocoMatches(truth, []).result() for name in ("rgb", "ir")} if blank else {},
        operating_points(truth, rows),
    )
    write_report(run.path / "eval-val", report, truth, rows)
