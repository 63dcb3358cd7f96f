"""Measure how long a training sample takes in one process, beside its decodes alone and ultralytics' pipelines.

    python scripts/bench_sample.py --csv results/sample_speed.csv --profile results/sample_profile.md

The variants take turns within a round, so that a busy machine slows all of them alike; medians of the rounds are given.
"""

from __future__ import annotations

import argparse
import cProfile
import importlib
import os
import pstats
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from scripts.benchmarks.results_table import REPO, append_rows, commit, machine, repeated

from yolofuse import upstream  # noqa: F401 - sets the offline environment up before ultralytics is imported
from yolofuse.config.schema import AugmentConfig
from yolofuse.data.dataloader import EpochSampler, one_thread_of_its_own
from yolofuse.data.dataset import SampleKey, TrainDataset
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.data.images.lru_reader import Reader
from yolofuse.data.index.pair_set import PairSet, load_pairs
from yolofuse.data.pixel_cache import disk_cache, ram_cache

_IGNORE = cv2.IMREAD_IGNORE_ORIENTATION
_BATCH = 16
_NUM_PAIRS = 320  # so many that a memory of recent images, ours or theirs, holds only a part of them
_FLOOR = "decode floor: one pair, reduced"
_YOLO = "ultralytics, RGB only"
_PROFILED = 200
Variant = Callable[[int], object]


def main() -> None:
    """Print the table, and append it to a CSV when asked to."""
    default = Path(os.environ.get("YOLOFUSE_REAL_DATA", REPO.parent / "shared" / "data")) / "llvip-hr" / "data.yaml"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=default, help="descriptor of a paired data set")
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--samples", type=int, default=48, help="samples of each variant per round")
    parser.add_argument("--csv", type=Path, help="file to append the results to")
    parser.add_argument("--profile", type=Path, help="file to write where the time goes to")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        pairs = load_pairs(load_descriptor(args.data), "train", cache_dir=Path(scratch) / "cache")
        many = repeated(pairs, -(-_NUM_PAIRS // len(pairs)))
        files = f"ours, mosaic_pool {_BATCH}"
        in_ram = "ours, cache ram"
        variants: dict[str, Variant] = {
            files: _ours(many, args.imgsz, _BATCH),
            "ours, 4 tiles of the whole set": _ours(many, args.imgsz, 0),
            in_ram: _ours(many, args.imgsz, 0, ram_cache(many, args.imgsz, 2)),
            "ours, cache disk": _ours(many, args.imgsz, 0, disk_cache(many, args.imgsz, Path(scratch) / "cache", 2)),
            _FLOOR: _decodes(pairs, cv2.IMREAD_REDUCED_COLOR_2, cv2.IMREAD_REDUCED_GRAYSCALE_2),
            "one pair decoded whole": _decodes(pairs, cv2.IMREAD_COLOR, cv2.IMREAD_GRAYSCALE),
            _YOLO: _ultralytics(many, args.imgsz, Path(scratch) / "yolo"),
            "ultralytics, six channels": _six_channels(many, args.imgsz, Path(scratch) / "six"),
        }
        one_thread_of_its_own()  # as in a worker process; the import of ultralytics changes some of it
        medians = _measure(variants, args.rounds, args.samples)
        if args.profile:
            args.profile.write_text(_profiles({name: variants[name] for name in (files, in_ram)}))
    rows: list[dict[str, object]] = [
        {
            "variant": name,
            "ms": f"{value:.2f}",
            "samples_per_s": f"{1000 / value:.0f}",
            "of_floor": f"{value / medians[_FLOOR]:.3f}",
            "of_ultralytics_rgb": f"{value / medians[_YOLO]:.3f}",
        }
        for name, value in medians.items()
    ]
    for row in rows:
        print(f"{row['variant']:32} {row['ms']:>7} ms  {row['of_floor']:>6} of the floor  ", end="")
        print(f"{row['of_ultralytics_rgb']:>6} of {_YOLO}")
    if args.csv:
        data = args.data.resolve().parent.name
        append_rows(args.csv, rows, data=data, imgsz=args.imgsz, rounds=args.rounds, samples=args.samples)


def _measure(variants: dict[str, Variant], rounds: int, samples: int) -> dict[str, float]:
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


def _profiles(variants: dict[str, Variant]) -> str:
    """Where the time of samples goes, as Markdown: the functions with most time of their own."""
    text = f"# Where a sample's time goes\n`scripts/bench_sample.py --profile`, commit {commit()}, {machine()}. "
    text += f"Own time of each function over {_PROFILED} samples; the profiler itself adds to every call.\n"
    for name, make in variants.items():
        profile = cProfile.Profile()
        profile.enable()
        for number in range(_PROFILED):
            make(number)
        profile.disable()
        stats: dict[Any, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
        total = sum(own for _, _, own, _, _ in stats.values())
        text += f"\n## {name}: {total * 1e3 / _PROFILED:.2f} ms\n"
        text += "| function | calls | own ms | share |\n| --- | --: | --: | --: |\n"
        for (file, line, function), (_, calls, own, _, _) in sorted(stats.items(), key=lambda s: -s[1][2])[:16]:
            where = f"{Path(file).name}:{line} " if line else ""
            spent = f"{calls / _PROFILED:.1f} | {own * 1e3 / _PROFILED:.3f} | {own / total:.0%}"
            text += f"| `{where}{function}` | {spent} |\n"
    return text


def _ours(pairs: PairSet, imgsz: int, pool: int, reader: Reader | None = None) -> Variant:
    """Samples in the order in which one worker makes them, up to the tensor."""
    dataset = TrainDataset(pairs, imgsz, AugmentConfig(mosaic=1.0, mosaic_pool=pool), seed=0, reader=reader)
    sampler = EpochSampler(len(pairs), _BATCH, seed=0, pool=pool)
    keys: list[SampleKey] = []

    def make(number: int) -> object:
        while number >= len(keys):
            sampler.set_epoch(len(keys) // len(pairs))
            keys.extend([key for batch in sampler for key in batch][: len(pairs)])
        return torch.from_numpy(dataset[keys[number]].image).permute(2, 0, 1)

    return make


def _decodes(pairs: PairSet, color: int, gray: int) -> Variant:
    def make(number: int) -> object:
        record = pairs.records[number % len(pairs)]
        files = ((record.rgb, color), (record.ir, gray))
        return [cv2.imdecode(np.fromfile(file, np.uint8), flag | _IGNORE) for file, flag in files]

    return make


def _ultralytics(pairs: PairSet, imgsz: int, root: Path) -> Variant:
    """Its own training samples of the RGB half, with its buffer of 128 recent images full: one new decode each.

    Links stand in a scratch folder, because it writes caches beside the labels.
    """
    from ultralytics.cfg import get_cfg
    from ultralytics.data.dataset import YOLODataset

    for record in pairs.records:
        _link(record.rgb, root / "images" / f"{record.image_id}{record.rgb.suffix}")
        _link(record.ir, root / "imagesIR" / f"{record.image_id}{record.rgb.suffix}")
        if record.label:
            _link(record.label, root / "labels" / f"{record.image_id}.txt")
    names: dict[str, Any] = {"names": dict(enumerate(pairs.names)), "channels": 3}
    dataset = YOLODataset(
        img_path=str(root / "images"), imgsz=imgsz, batch_size=_BATCH, augment=True, hyp=get_cfg(), data=names
    )
    order = list(range(len(dataset)))
    random.Random(0).shuffle(order)  # noqa: S311 - an order, not a secret
    filled = dataset.max_buffer_length
    fill = iter(order[:filled])

    def make(number: int) -> object:
        for index in fill:  # until the buffer is full, as it is for all but the first samples
            dataset[index]
        return dataset[order[(filled + number) % len(order)]]

    return make


def _six_channels(pairs: PairSet, imgsz: int, root: Path) -> Variant:
    """The same pipeline on both images stacked to six channels, as a fork would patch it: its reader reads the pair."""
    base: Any = importlib.import_module("ultralytics.data.base")
    read: Callable[..., Any] = base.imread
    make_rgb = _ultralytics(pairs, imgsz, root)

    def read_both(file: str, flags: int = cv2.IMREAD_COLOR) -> Any:
        infrared = Path(file).parent.with_name("imagesIR") / Path(file).name
        return np.dstack([read(file, flags=flags), read(str(infrared), flags=flags)])

    def make(number: int) -> object:
        base.imread = read_both
        try:
            return make_rgb(number)
        finally:
            base.imread = read

    return make


def _link(target: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target.resolve())


if __name__ == "__main__":
    main()
