"""Test that pycocotools alone, on the files of a report, reproduces every digit of the report."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.pairs import real_data
from yolofuse.eval.coco import METRICS, CocoMatches, ground_truth, prediction_rows
from yolofuse.eval.report import EvalReport, write_report
from yolofuse.eval.slices import evaluate_slices
from yolofuse.types import Detections, FloatArray, IntArray, PairRecord

NAMES = ("person", "bicycle", "car")

Label = tuple[FloatArray, IntArray]

RESCORE = """
import json, sys
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
truth = COCO(sys.argv[1])
scorer = COCOeval(truth, truth.loadRes(sys.argv[2]), "bbox")
scorer.params.imgIds = json.loads(sys.argv[3]) or scorer.params.imgIds
scorer.evaluate(); scorer.accumulate(); scorer.summarize()
print(json.dumps(scorer.stats.tolist()))
"""


def rescore(folder: Path, image_ids: Sequence[int] = ()) -> list[float]:
    """Compute the twelve metrics from the two JSON files, in a process that never imports yolofuse."""
    files = [str(folder / name) for name in ("ground_truth.json", "predictions.json")]
    command = [sys.executable, "-c", RESCORE, *files, json.dumps(list(image_ids))]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder).stdout
    metrics: list[float] = json.loads(printed.splitlines()[-1])
    return metrics


def random_pairs(num_pairs: int, seed: int) -> tuple[list[PairRecord], list[Label]]:
    rng = np.random.default_rng(seed)
    records, labels = [], []
    for image_id in range(1, num_pairs + 1):
        key = f"{'left' if image_id % 2 else 'right'}/{image_id // 2:04d}"
        tags = {"daynight": "night" if image_id % 3 else "day"}
        records.append(
            PairRecord(image_id, key, Path(f"{key}.jpg"), Path(f"{key}.jpg"), None, (330, 500), (330, 500), tags=tags)
        )
        count = int(rng.integers(0, 8))
        sizes = rng.uniform(0.02, 0.4, (count, 2))
        boxes = np.hstack((rng.uniform(sizes / 2, 1 - sizes / 2), sizes)).astype(np.float32)
        labels.append((boxes, rng.integers(0, len(NAMES), count)))
    return records, labels


def real_pairs(folder: Path) -> tuple[list[PairRecord], list[Label]]:
    with (folder / "meta.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    daynight = {next(iter(row.values())): row["daynight"] for row in rows if "daynight" in row}
    records, labels = [], []
    for image_id, rgb in enumerate(sorted((folder / "images" / "val").iterdir()), start=1):
        label = folder / "labels" / "val" / f"{rgb.stem}.txt"
        image = cv2.imread(str(rgb))
        assert image is not None
        height, width = image.shape[:2]
        tags = {"daynight": daynight[rgb.stem]} if rgb.stem in daynight else {}
        ir = folder / "imagesIR" / "val" / rgb.name
        records.append(PairRecord(image_id, rgb.stem, rgb, ir, label, (height, width), (height, width), tags=tags))
        table = np.array([line.split() for line in label.read_text().splitlines()], dtype=np.float32).reshape(-1, 5)
        labels.append((table[:, 1:].copy(), table[:, 0].astype(np.int64)))
    return records, labels


def noisy_detections(records: Sequence[PairRecord], labels: Sequence[Label], seed: int) -> list[Detections]:
    """Make detections: most boxes slightly off, some duplicates, some false; rounded scores, so that there are ties."""
    rng = np.random.default_rng(seed)
    found = []
    for record, (boxes_xywhn, class_ids) in zip(records, labels, strict=True):
        height, width = record.size_hw
        pick = rng.integers(0, len(class_ids), 2 * len(class_ids)) if len(class_ids) else np.zeros(0, dtype=np.int64)
        alarms = np.hstack((rng.uniform(0.3, 0.7, (4, 2)), rng.uniform(0.05, 0.3, (4, 2))))
        true = boxes_xywhn[pick].astype(np.float64)
        boxes = np.vstack((true + true[:, [2, 3, 2, 3]] * rng.normal(0, 0.06, true.shape), alarms))
        boxes = np.hstack((boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2))
        boxes = boxes.clip(0, 1) * (width, height, width, height)
        classes = np.concatenate((class_ids[pick], rng.integers(0, len(NAMES), 4)))
        scores = np.sort(rng.uniform(0.01, 1, len(boxes)).round(2).astype(np.float32))[::-1].copy()
        found.append(Detections(record.image_id, boxes.astype(np.float32), scores, classes))
    return found


def check_report(folder: Path, records: list[PairRecord], labels: list[Label]) -> None:
    truth = ground_truth(records, labels.__getitem__, NAMES)
    predictions = prediction_rows(noisy_detections(records, labels, seed=1))
    matches = CocoMatches(truth, predictions)
    result, slices = matches.result(), evaluate_slices(matches, records)
    write_report(folder, EvalReport(result, slices), truth, predictions)
    saved = json.loads((folder / "report.json").read_text())
    assert 0.05 < result.AP < 0.95
    assert [saved[name] for name in METRICS] == rescore(folder)
    assert len(slices) == 2
    for part in slices:
        tag, value = part.split("=")
        image_ids = [record.image_id for record in records if record.tags.get(tag) == value]
        assert [saved["slices"][part][name] for name in METRICS] == rescore(folder, image_ids)


def test_rescore__random_pairs_equals_the_report(tmp_path: Path) -> None:
    check_report(tmp_path, *random_pairs(num_pairs=30, seed=0))


@pytest.mark.real
def test_rescore__real_pairs_equals_the_report(tmp_path: Path) -> None:
    check_report(tmp_path, *real_pairs(real_data("roadscene-flir")))
