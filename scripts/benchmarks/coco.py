"""Measure time and memory of the COCO metrics of a large split, with pycocotools and with faster-coco-eval.

    python -m scripts.benchmarks.coco --csv results/coco_speed.csv

Each measurement runs in its own process, because memory once used stays in a process's peak. The backends alternate
within a round, so that a busy machine slows both equally; the table has the medians over the rounds. The metrics of the
two backends are compared as well.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import get_args

import numpy as np

from scripts.benchmarks.measure import peak_mib
from scripts.benchmarks.results_table import append_rows, print_rows
from scripts.paths import REPO
from yolofuse.config.schema import CocoBackend
from yolofuse.eval.coco import CocoMatches, ground_truth, prediction_rows
from yolofuse.types import Detections, FloatArray, IntArray, PairRecord

_BACKENDS: tuple[CocoBackend, ...] = get_args(CocoBackend)
_SIZE_HW = (512, 640)
_LABELS_PER_IMAGE = 10
_MEASURED = ("inputs_s", "score_s", "parts_s", "inputs_mib", "score_mib")
_TOLERANCE = 1e-9


def main() -> None:
    """Measure both backends, print the table and optionally append it to a CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=3500)
    parser.add_argument("--detections", type=int, default=300, help="per image")
    parser.add_argument("--classes", type=int, nargs="+", default=[1, 6])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--csv", type=Path, help="file to append the results to")
    parser.add_argument("--only", choices=_BACKENDS, help="measure once in this process and print JSON")
    args = parser.parse_args()
    if args.only:
        print(json.dumps(_measure(args.only, args.images, args.detections, args.classes[0])))
        return
    rows = [row for num_classes in args.classes for row in _compare_backends(args, num_classes)]
    print_rows(rows)
    if args.csv:
        append_rows(args.csv, rows, {name: metadata.version(name) for name in ("pycocotools", "faster-coco-eval")})


def _compare_backends(args: argparse.Namespace, num_classes: int) -> list[dict[str, object]]:
    """Return one row per backend: medians over the rounds.

    Raises:
        SystemExit: If the metrics of the backends differ.
    """
    turns: dict[CocoBackend, list[dict[str, float]]] = {backend: [] for backend in _BACKENDS}
    for _ in range(args.rounds):
        for backend in _BACKENDS:
            sizes = ["--images", str(args.images), "--detections", str(args.detections), "--classes", str(num_classes)]
            command = [sys.executable, "-m", "scripts.benchmarks.coco", "--only", backend, *sizes]
            printed = subprocess.run(command, cwd=REPO, check=True, capture_output=True, text=True).stdout
            turns[backend].append(json.loads(printed))
    metrics = [
        {name: value for name, value in turn.items() if name not in _MEASURED}
        for values in turns.values()
        for turn in values
    ]
    worst = max(abs(one[name] - metrics[0][name]) for one in metrics for name in one)
    if worst > _TOLERANCE:
        raise SystemExit(f"the backends' metrics differ by up to {worst:.3g}, more than {_TOLERANCE:g}: {metrics}")
    settings = {"images": args.images, "detections": args.detections, "classes": num_classes, "rounds": args.rounds}
    rows: list[dict[str, object]] = []
    for backend, values in turns.items():
        medians = {name: f"{statistics.median(turn[name] for turn in values):.2f}" for name in _MEASURED}
        rows.append({**settings, "backend": backend, **medians, "difference": f"{worst:.1e}"})
    return rows


def _measure(backend: CocoBackend, images: int, detections: int, num_classes: int) -> dict[str, float]:
    """Measure one backend in this process; return seconds and MiB of each stage, and the metrics.

    The stages: build the COCO rows, evaluate all images, then evaluate two halves, as for the values of a tag.
    """
    records, labels, predictions = _random_split(images, detections, num_classes)
    _warm_up(backend)
    memory, laps = [peak_mib()], [time.perf_counter()]

    def lap() -> None:
        memory.append(peak_mib())
        laps.append(time.perf_counter())

    truth = ground_truth(records, labels.__getitem__, [f"class {number}" for number in range(num_classes)])
    rows = prediction_rows(predictions)
    lap()
    matches = CocoMatches(truth, rows, backend)
    whole = matches.result()
    lap()
    for half in (0, 1):
        matches.result([record.image_id for record in records if record.image_id % 2 == half])
    lap()
    seconds = [float(gap) for gap in np.diff(laps)]
    stages = dict(zip(("inputs_s", "score_s", "parts_s"), seconds, strict=True))
    peaks = {"inputs_mib": memory[1] - memory[0], "score_mib": memory[-1] - memory[1]}
    return {**stages, **peaks, **whole.metrics()}


def _warm_up(backend: CocoBackend) -> None:
    """Import the backend before the clock starts."""
    empty = ground_truth([], lambda _: (np.zeros((0, 4), np.float32), np.zeros(0, np.int64)), ["class 0"])
    CocoMatches(empty, [], backend)


def _random_split(
    images: int, detections: int, num_classes: int
) -> tuple[list[PairRecord], list[tuple[FloatArray, IntArray]], list[Detections]]:
    """Draw labels and detections: half around labels, several per label, as NMS leaves them; the rest anywhere."""
    rng = np.random.default_rng(0)
    scale = np.array([_SIZE_HW[1], _SIZE_HW[0]] * 2)
    records, labels, predictions = [], [], []
    for image_id in range(1, images + 1):
        file = Path(f"{image_id}.png")
        records.append(PairRecord(image_id, file.stem, file, file, None, rgb_hw=_SIZE_HW, ir_hw=_SIZE_HW))
        count = int(rng.poisson(_LABELS_PER_IMAGE))
        sides = rng.uniform(0.02, 0.3, (count, 2))
        boxes_xywhn = np.hstack((rng.uniform(sides / 2, 1 - sides / 2), sides)).astype(np.float32)
        class_ids = rng.integers(0, num_classes, count)
        labels.append((boxes_xywhn, class_ids))
        near = rng.integers(0, count, detections // 2 if count else 0)
        boxes = boxes_xywhn[near].astype(np.float64)
        boxes += boxes[:, [2, 3, 2, 3]] * rng.normal(0, 0.12, boxes.shape)
        far = detections - len(near)
        boxes = np.vstack((boxes, np.hstack((rng.uniform(0.1, 0.9, (far, 2)), rng.uniform(0.01, 0.2, (far, 2))))))
        corners = np.hstack((boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2)) * scale
        scores = np.concatenate((rng.beta(2, 3, len(near)), rng.beta(1, 9, far))).astype(np.float32)
        classes = np.concatenate((class_ids[near], rng.integers(0, num_classes, far)))
        order = np.argsort(-scores, kind="stable")
        predictions.append(Detections(image_id, corners[order].astype(np.float32), scores[order], classes[order]))
    return records, labels, predictions


if __name__ == "__main__":
    main()
