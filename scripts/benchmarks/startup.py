"""Measure time and memory of a run's start on a large data set, and the memory of each loader worker.

    python -m scripts.benchmarks.startup --pairs 200000 --csv results/start.csv

The data set is generated: a manifest of that many pairs, whose files are hard links to a few small images. The first
start reads every file; the second uses the cached scan. The memory of a worker is its unique set size (USS), without
the pages that it shares with its parent.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import fields, is_dataclass
from pathlib import Path

import cv2
import numpy as np

from scripts.benchmarks.measure import peak_mib
from scripts.benchmarks.results_table import append_rows
from scripts.paths import REPO
from yolofuse.data.index.pair_table import TextColumn
from yolofuse.tables import csv_text

_IMAGES = 64
_SIZE_HW = (96, 128)
_PER_FOLDER = 10_000
_WORKERS = 2
_BATCH = 16
_STEPS = 40


def main() -> None:
    """Measure two starts per data set size, print the results and optionally append them to a CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, nargs="+", default=[2_000, 200_000])
    parser.add_argument("--csv", type=Path, help="file to append the results to")
    parser.add_argument("--only", type=Path, help="start once on this data set in this process and print JSON")
    args = parser.parse_args()
    if args.only:
        print(json.dumps(_measure_start(args.only)))
        return
    rows: list[dict[str, object]] = []
    for num in args.pairs:
        with tempfile.TemporaryDirectory() as scratch:
            root = Path(scratch)
            _write_data_set(root, num)
            for turn in ("first", "second"):
                command = [sys.executable, "-m", "scripts.benchmarks.startup", "--only", str(root)]
                done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True)
                rows.append({"pairs": num, "start": turn, **json.loads(done.stdout.splitlines()[-1])})
                print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    if args.csv:
        append_rows(args.csv, rows)


def _write_data_set(root: Path, num: int) -> None:
    """Write a manifest of ``num`` pairs, their files and a descriptor below ``root``."""
    rng = np.random.default_rng(0)
    height, width = _SIZE_HW
    sources: list[dict[str, Path]] = []
    for number in range(_IMAGES):
        files = {"rgb": root / f"rgb{number}.jpg", "ir": root / f"ir{number}.jpg", "label": root / f"{number}.txt"}
        cv2.imwrite(str(files["rgb"]), rng.integers(0, 255, (height, width, 3), dtype=np.uint8))
        cv2.imwrite(str(files["ir"]), rng.integers(0, 255, (height, width), dtype=np.uint8))
        boxes = rng.uniform(0.3, 0.4, (number % 8, 4))
        files["label"].write_text("".join(f"0 {' '.join(f'{value:.6f}' for value in box)}\n" for box in boxes))
        sources.append(files)
    rows = []
    for number in range(num):
        row: dict[str, object] = {}
        for kind, file in sources[number % _IMAGES].items():
            link = root / kind / f"{number // _PER_FOLDER:03d}" / f"{number:06d}{file.suffix}"
            if number % _PER_FOLDER == 0:
                link.parent.mkdir(parents=True)
            os.link(file, link)
            row[kind] = link.relative_to(root).as_posix()
        rows.append({**row, "split": "train", "daynight": "night" if number % 3 else "day"})
    (root / "pairs.csv").write_text(csv_text(rows))
    (root / "data.yaml").write_text("root: .\nnames: [person]\nsplits: {train: {manifest: pairs.csv}}\n")


def _measure_start(root: Path) -> dict[str, object]:
    """Load the pairs and the first batches through workers; return seconds and MiB."""
    from yolofuse.config.schema import AugmentConfig
    from yolofuse.data import EpochSampler, TrainDataset, batch_loader, load_descriptor, load_pairs

    before = peak_mib()
    started = time.perf_counter()
    pairs = load_pairs(load_descriptor(root / "data.yaml"), "train", cache_dir=root / "cache")
    seconds = time.perf_counter() - started
    peak, current = peak_mib() - before, _status_mib("VmRSS", os.getpid())
    sampler = EpochSampler(len(pairs), _BATCH, seed=0, pool=_BATCH)
    dataset = TrainDataset(pairs, 128, AugmentConfig(mosaic_pool=_BATCH), seed=0)
    started = time.perf_counter()
    loader = batch_loader(dataset, sampler, _WORKERS)
    batches = iter(loader)
    next(batches)
    first_batch = time.perf_counter() - started
    early = [_unique_mib(pid) for pid in _children()]
    for _ in range(_STEPS):
        next(batches, None)
    late = [_unique_mib(pid) for pid in _children()]
    return {
        "seconds": round(seconds, 2),
        "peak_mib": round(peak),
        "process_mib": round(current),
        "table_mib": round(_table_mib(pairs), 1),
        "first_batch_s": round(first_batch, 2),
        "worker_mib_first": round(max(early)),
        "worker_mib_later": round(max(late)),
    }


def _table_mib(pairs: object) -> float:
    """Return the memory of a pair set's arrays, in MiB."""
    seen: dict[int, int] = {}  # bytes by id, so that a shared array counts once

    def walk(value: object, depth: int) -> None:
        if isinstance(value, np.ndarray):
            seen[id(value)] = value.nbytes
        elif depth and is_dataclass(value):
            for field in fields(value):
                walk(getattr(value, field.name), depth - 1)
        elif depth and isinstance(value, TextColumn):
            walk(value.content, 0)
            walk(value.offsets, 0)

    walk(pairs, 3)
    return sum(seen.values()) / 2**20


def _status_mib(field: str, pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def _children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()]


def _unique_mib(pid: int) -> float:
    """Return a process's unique set size in MiB: its private pages, clean and dirty."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("Private_"))


if __name__ == "__main__":
    main()
