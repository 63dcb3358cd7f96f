"""Measure how long the COCO figures of a large split take, and how much memory, by pycocotools and by faster-coco-eval.

    python scripts/bench_coco.py --csv results/coco_speed.csv

Each measurement has a process of its own, because memory that Python once took stays in its peak. The backends take
turns within a round, so that a busy machine slows both alike; medians of the rounds are given. The figures of the two
are compared on the way.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import get_args

import numpy as np
from scripts.benchmarks.results_table import append_rows

from yolofuse.config.schema import CocoBackend
from yolofuse.eval.coco import CocoMatches, ground_truth, prediction_rows
from yolofuse.types import Detections, FloatArray, IntArray, PairRecord

_BACKENDS: tuple[CocoBackend, ...] = get_args(CocoBackend)
_SIZE_HW = (512, 640)
_LABELS = 10
_MEASURED = ("inputs_s", "score_s", "parts_s", "inputs_mib", "score_mib")
_TOLERANCE = 1e-9


def main() -> None:
    """Print the table, and append it to a CSV when asked to."""
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
    rows = [row for num_classes in args.classes for row in _compare(args, num_classes)]
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    if args.csv:
        versions = {name: metadata.version(name) for name in ("pycocotools", "faster-coco-eval")}
        append_rows(args.csv, rows, **versions)


def _compare(args: argparse.Namespace, num_classes: int) -> list[dict[str, object]]:
    """One row for each backend: medians over the rounds."""
    found: dict[CocoBackend, list[dict[str, float]]] = {backend: [] for backend in _BACKENDS}
    for _ in range(args.rounds):
        for backend in _BACKENDS:
            sizes = ["--images", str(args.images), "--detections", str(args.detections), "--classes", str(num_classes)]
            command = [sys.executable, __file__, "--only", backend, *sizes]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found[backend].append(json.loads(printed))
    figures = [
        {name: turn[name] for name in turn if name not in _MEASURED} for turns in found.values() for turn in turns
    ]
    worst = max(abs(one[name] - figures[0][name]) for one in figures for name in one)
    if worst > _TOLERANCE:
        raise SystemExit(f"the backends' figures differ by up to {worst:.3g}, more than {_TOLERANCE:g}: {figures}")
    about = {"images": args.images, "detections": args.detections, "classes": num_classes, "rounds": args.rounds}
    rows: list[dict[str, object]] = []
    for backend, turns in found.items():
        medians = {name: f"{statistics.median(turn[name] for turn in turns):.2f}" for name in _MEASURED}
        rows.append({**about, "backend": backend, **medians, "difference": f"{worst:.1e}"})
    return rows


def _measure(backend: CocoBackend, images: int, detections: int, num_classes: int) -> dict[str, float]:
    """Seconds and MiB of each stage, and the figures, for one backend in this process.

    The stages are the COCO rows, the figures of all images, and then those of two halves, as a tag makes them.
    """
    records, labels, found = _made_up(images, detections, num_classes)
    _warm_up(backend)
    memory, started = [_peak_mib()], [time.perf_counter()]

    def lap() -> None:
        memory.append(_peak_mib())
        started.append(time.perf_counter())

    truth = ground_truth(records, labels.__getitem__, [f"class {number}" for number in range(num_classes)])
    rows = prediction_rows(found)
    lap()
    matches = CocoMatches(truth, rows, backend)
    whole = matches.result()
    lap()
    for half in (0, 1):
        matches.result([record.image_id for record in records if record.image_id % 2 == half])
    lap()
    seconds = [float(gap) for gap in np.diff(started)]
    stages = dict(zip(("inputs_s", "score_s", "parts_s"), seconds, strict=True))
    peaks = {"inputs_mib": memory[1] - memory[0], "score_mib": memory[-1] - memory[1]}
    return {**stages, **peaks, **whole.figures()}


def _warm_up(backend: CocoBackend) -> None:
    """Import the backend before the clock starts."""
    empty = ground_truth([], lambda _: (np.zeros((0, 4), np.float32), np.zeros(0, np.int64)), ["class 0"])
    CocoMatches(empty, [], backend)


def _made_up(
    images: int, detections: int, num_classes: int
) -> tuple[list[PairRecord], list[tuple[FloatArray, IntArray]], list[Detections]]:
    """Labels with half of the detections around them, several to a label, as NMS leaves them; the rest anywhere."""
    rng = np.random.default_rng(0)
    scale = np.array([_SIZE_HW[1], _SIZE_HW[0]] * 2)
    records, labels, found = [], [], []
    for image_id in range(1, images + 1):
        file = Path(f"{image_id}.png")
        records.append(PairRecord(image_id, file.stem, file, file, None, rgb_hw=_SIZE_HW, ir_hw=_SIZE_HW))
        count = int(rng.poisson(_LABELS))
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
        found.append(Detections(image_id, corners[order].astype(np.float32), scores[order], classes[order]))
    return records, labels, found


def _peak_mib() -> float:
    """Most memory this process has ever held; Linux counts it in KiB, macOS in bytes."""
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


if __name__ == "__main__":
    main()
