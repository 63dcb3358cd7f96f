"""Measure what the start of a run costs on a large data set, and what each worker holds of it.

    python scripts/bench_start.py --pairs 200000 --csv results/start.csv

The data set is drawn: a manifest of that many pairs, whose files are hard links to a few small images. The first start
looks into every file; the second finds the scan in the cache. Memory of workers is what each has for itself (USS), so
pages that it shares with its parent do not count.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import fields, is_dataclass
from pathlib import Path

import cv2
import numpy as np
from scripts.benchmarks.results_table import append_rows

from yolofuse.data.index.text_column import TextColumn

_PICTURES = 64
_SIZE_HW = (96, 128)
_PER_FOLDER = 10_000
_WORKERS = 2
_BATCH = 16
_STEPS = 40


def main() -> None:
    """Print the figures, and append them to a CSV when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, nargs="+", default=[2_000, 200_000])
    parser.add_argument("--csv", type=Path, help="file to append the results to")
    parser.add_argument("--only", type=Path, help="start once on this data set in this process and print JSON")
    args = parser.parse_args()
    if args.only:
        print(json.dumps(_start(args.only)))
        return
    rows: list[dict[str, object]] = []
    for num in args.pairs:
        with tempfile.TemporaryDirectory() as scratch:
            root = Path(scratch)
            _draw(root, num)
            for turn in ("first", "second"):
                command = [sys.executable, __file__, "--only", str(root)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                rows.append({"pairs": num, "start": turn, **json.loads(done.stdout.splitlines()[-1])})
                print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    if args.csv:
        append_rows(args.csv, rows)


def _draw(root: Path, num: int) -> None:
    """A manifest of ``num`` pairs below ``root``, with a descriptor."""
    rng = np.random.default_rng(0)
    height, width = _SIZE_HW
    sources: list[dict[str, Path]] = []
    for number in range(_PICTURES):
        files = {"rgb": root / f"rgb{number}.jpg", "ir": root / f"ir{number}.jpg", "label": root / f"{number}.txt"}
        cv2.imwrite(str(files["rgb"]), rng.integers(0, 255, (height, width, 3), dtype=np.uint8))
        cv2.imwrite(str(files["ir"]), rng.integers(0, 255, (height, width), dtype=np.uint8))
        boxes = rng.uniform(0.3, 0.4, (number % 8, 4))
        files["label"].write_text("".join(f"0 {' '.join(f'{value:.6f}' for value in box)}\n" for box in boxes))
        sources.append(files)
    with (root / "pairs.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["rgb", "ir", "label", "split", "daynight"])
        for number in range(num):
            row = []
            for kind, file in sources[number % _PICTURES].items():
                link = root / kind / f"{number // _PER_FOLDER:03d}" / f"{number:06d}{file.suffix}"
                if number % _PER_FOLDER == 0:
                    link.parent.mkdir(parents=True)
                os.link(file, link)
                row.append(link.relative_to(root).as_posix())
            writer.writerow([*row, "train", "night" if number % 3 else "day"])
    text = "root: .\nnames: [person]\nsplits: {train: {manifest: pairs.csv}}\n"
    (root / "data.yaml").write_text(text)


def _start(root: Path) -> dict[str, object]:
    """One start: pairs, and two epochs' first steps through workers."""
    from yolofuse.config.schema import AugmentConfig
    from yolofuse.data import EpochSampler, TrainDataset, load_descriptor, load_pairs, train_loader

    before = _peak_mib()
    started = time.perf_counter()
    pairs = load_pairs(load_descriptor(root / "data.yaml"), "train", cache_dir=root / "cache")
    seconds = time.perf_counter() - started
    peak, kept = _peak_mib() - before, _status_mib("VmRSS", os.getpid())
    sampler = EpochSampler(len(pairs), _BATCH, seed=0, pool=_BATCH)
    dataset = TrainDataset(pairs, 128, AugmentConfig(mosaic_pool=_BATCH), seed=0)
    started = time.perf_counter()
    loader = train_loader(dataset, sampler, _WORKERS)
    batches = iter(loader)
    next(batches)
    first_batch = time.perf_counter() - started
    early = [_own_mib(pid) for pid in _children()]
    for _ in range(_STEPS):
        next(batches, None)
    late = [_own_mib(pid) for pid in _children()]
    return {
        "seconds": round(seconds, 2),
        "peak_mib": round(peak),
        "process_mib": round(kept),
        "table_mib": round(_table_mib(pairs), 1),
        "first_batch_s": round(first_batch, 2),
        "worker_mib_first": round(max(early)),
        "worker_mib_later": round(max(late)),
    }


def _table_mib(pairs: object) -> float:
    """What the arrays of a pair set take."""
    seen: dict[int, int] = {}

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


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _status_mib(field: str, pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def _children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()]


def _own_mib(pid: int) -> float:
    """Memory that only this process has: private pages, clean and changed."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("Private_"))


if __name__ == "__main__":
    main()
