"""Measure how long a training sample takes in one process, beside its decodes alone and ultralytics' RGB pipeline.

    python scripts/bench_sample.py --data path/to/data.yaml --csv results/sample_speed.csv

The variants take turns within a round, so that a busy machine slows all of them alike; medians of the rounds are given.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from yolofuse import upstream  # noqa: F401 - sets the offline environment up before ultralytics is imported
from yolofuse.config.schema import AugmentConfig
from yolofuse.data.dataset import SampleKey, TrainDataset
from yolofuse.data.descriptor import load_descriptor
from yolofuse.data.loader import EpochSampler
from yolofuse.data.pairs import PairSet, load_pairs
from yolofuse.data.scan_cache import ScanResult

_REPO = Path(__file__).resolve().parents[1]
_IGNORE = cv2.IMREAD_IGNORE_ORIENTATION
_BATCH = 16
_NUM_PAIRS = 320  # so many that a memory of recent images, ours or theirs, holds only a part of them
_YOLO = "ultralytics RGB only"


def main() -> None:
    """Print the table, and append it to a CSV when asked to."""
    default = Path(os.environ.get("YOLOFUSE_REAL_DATA", _REPO.parent / "shared" / "data")) / "llvip-hr" / "data.yaml"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=default, help="descriptor of a paired data set")
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--samples", type=int, default=48, help="samples of each variant per round")
    parser.add_argument("--csv", type=Path, help="file to append the results to")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        pairs = load_pairs(load_descriptor(args.data), "train", cache_dir=Path(scratch) / "cache")
        many = _repeated(pairs, -(-_NUM_PAIRS // len(pairs)))
        variants = {
            "ours, 4 tiles of the whole set": _ours(many, args.imgsz, pool=0),
            f"ours, mosaic_pool {_BATCH}": _ours(many, args.imgsz, pool=_BATCH),
            "one pair decoded whole": _decodes(pairs, cv2.IMREAD_COLOR, cv2.IMREAD_GRAYSCALE),
            "one pair decoded by half": _decodes(pairs, cv2.IMREAD_REDUCED_COLOR_2, cv2.IMREAD_REDUCED_GRAYSCALE_2),
            _YOLO: _ultralytics(many, args.imgsz, Path(scratch) / "yolo"),
        }
        # As in a worker process; the import of ultralytics changes the first.
        cv2.setNumThreads(1)
        torch.set_num_threads(1)
        medians = _measure(variants, args.rounds, args.samples)
    for name, milliseconds in medians.items():
        print(f"{name:32s} {milliseconds:7.2f} ms  {milliseconds / medians[_YOLO]:5.2f} of {_YOLO}")
    if args.csv:
        _append(args.csv, args, medians)


def _measure(variants: dict[str, Callable[[int], object]], rounds: int, samples: int) -> dict[str, float]:
    """Milliseconds per call: the median over rounds of each round's mean. The first round only warms up."""
    means: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds + 1):
        for name, make in variants.items():
            start = time.perf_counter()
            for number in range(samples):
                make(turn * samples + number)
            if turn:
                means[name].append((time.perf_counter() - start) * 1e3 / samples)
    return {name: statistics.median(values) for name, values in means.items()}


def _ours(pairs: PairSet, imgsz: int, pool: int) -> Callable[[int], object]:
    """Samples in the order in which one worker makes them, up to the tensor."""
    dataset = TrainDataset(pairs, imgsz, AugmentConfig(mosaic=1.0, mosaic_pool=pool), seed=0)
    sampler = EpochSampler(len(pairs), _BATCH, seed=0)
    keys: list[SampleKey] = []

    def make(number: int) -> object:
        while number >= len(keys):
            sampler.set_epoch(len(keys) // len(pairs))
            keys.extend([key for batch in sampler for key in batch][: len(pairs)])
        return torch.from_numpy(dataset[keys[number]].image).permute(2, 0, 1)

    return make


def _decodes(pairs: PairSet, color: int, gray: int) -> Callable[[int], object]:
    def make(number: int) -> object:
        record = pairs.records[number % len(pairs)]
        files = ((record.rgb, color), (record.ir, gray))
        return [cv2.imdecode(np.fromfile(file, np.uint8), flag | _IGNORE) for file, flag in files]

    return make


def _repeated(pairs: PairSet, copies: int) -> PairSet:
    """The set several times over, each copy of a pair under an id of its own."""
    records = [replace(record, image_id=number) for number, record in enumerate(list(pairs.records) * copies, start=1)]
    scan = ScanResult(
        sizes_hw=np.tile(pairs.scan.sizes_hw, (copies, 1)),
        boxes_xywhn=np.tile(pairs.scan.boxes_xywhn, (copies, 1)),
        class_ids=np.tile(pairs.scan.class_ids, copies),
        offsets=np.concatenate([[0], np.cumsum(np.tile(np.diff(pairs.scan.offsets), copies))]),
        verified=pairs.scan.verified,
    )
    return replace(pairs, records=records, scan=scan)


def _ultralytics(pairs: PairSet, imgsz: int, root: Path) -> Callable[[int], object]:
    """Its own training samples of the RGB half, with its buffer of 128 recent images full: one new decode each.

    Links stand in a scratch folder, because it writes caches beside the labels.
    """
    from ultralytics.cfg import get_cfg
    from ultralytics.data.dataset import YOLODataset

    for record in pairs.records:
        _link(record.rgb, root / "images" / f"{record.image_id}{record.rgb.suffix}")
        if record.label:
            _link(record.label, root / "labels" / f"{record.image_id}.txt")
    names: dict[str, Any] = {"names": dict(enumerate(pairs.names)), "channels": 3}
    dataset = YOLODataset(
        img_path=str(root / "images"), imgsz=imgsz, batch_size=_BATCH, augment=True, hyp=get_cfg(), data=names
    )
    order = list(range(len(dataset)))
    random.Random(0).shuffle(order)  # noqa: S311 - an order, not a secret
    for index in order[: dataset.max_buffer_length]:  # until the buffer is full, as it is for all but the first samples
        dataset[index]
    filled = dataset.max_buffer_length
    return lambda number: dataset[order[(filled + number) % len(order)]]


def _link(target: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target.resolve())


def _append(file: Path, args: argparse.Namespace, medians: dict[str, float]) -> None:
    revision = subprocess.run(
        ["git", "-C", str(_REPO), "describe", "--always", "--dirty"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    about = {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "commit": revision.stdout.strip() or "none",
        "machine": f"{_cpu_name()}, {os.cpu_count()} cores",
        "data": args.data.resolve().parent.name,
        "imgsz": args.imgsz,
        "rounds": args.rounds,
        "samples": args.samples,
    }
    rows = [
        {**about, "variant": name, "ms": f"{value:.2f}", "ratio": f"{value / medians[_YOLO]:.3f}"}
        for name, value in medians.items()
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    is_new = not file.exists()
    with file.open("a", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())


if __name__ == "__main__":
    main()
