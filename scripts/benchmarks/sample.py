"""Measure the time of one training sample in one process, beside its decodes alone and ultralytics' pipelines.

    python -m scripts.benchmarks.sample --csv results/sample_speed.csv --profile results/sample_profile.md

Variants alternate within a round, so that a busy machine slows all of them equally; the table has the medians over the
rounds.
"""

from __future__ import annotations

import argparse
import cProfile
import importlib
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

from scripts.benchmarks.measure import repeat_pairs
from scripts.benchmarks.results_table import append_rows, commit, machine, print_rows
from scripts.paths import REAL_DATA
from yolofuse import upstream  # noqa: F401 - sets the offline environment up before ultralytics is imported
from yolofuse.config.schema import AugmentConfig
from yolofuse.data.dataloader import set_up_worker_process
from yolofuse.data.dataset import SampleKey, TrainDataset
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.data.images.lru_reader import Reader
from yolofuse.data.index.pair_set import PairSet, load_pairs
from yolofuse.data.pixel_cache import disk_cache, ram_cache
from yolofuse.data.sampler import EpochSampler
from yolofuse.files import save_text
from yolofuse.tables import markdown_table

_IGNORE = cv2.IMREAD_IGNORE_ORIENTATION
_BATCH = 16
_NUM_PAIRS = 320  # enough that a buffer of recent images, of either library, holds only a part of them
_FLOOR = "decode floor: one pair, reduced"
_YOLO = "ultralytics, RGB only"
_PROFILED = 200
_PROFILE_ROWS = 16
Variant = Callable[[int], object]
"""Makes the sample of a number."""


def main() -> None:
    """Measure every variant, print the table and optionally append it to a CSV."""
    default = REAL_DATA / "llvip-hr" / "data.yaml"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=default, help="descriptor of a paired data set")
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--samples", type=int, default=48, help="samples per variant and round")
    parser.add_argument("--csv", type=Path, help="file to append the results to")
    parser.add_argument("--profile", type=Path, help="Markdown file for the time of each function")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        pairs = load_pairs(load_descriptor(args.data), "train", cache_dir=Path(scratch) / "cache")
        many = repeat_pairs(pairs, -(-_NUM_PAIRS // len(pairs)))
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
        set_up_worker_process()  # as in a worker; importing ultralytics changes some of these settings
        medians = _measure(variants, args.rounds, args.samples)
        if args.profile:
            save_text(args.profile, _format_profiles({name: variants[name] for name in (files, in_ram)}))
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
    print_rows(rows)
    if args.csv:
        settings = {"data": args.data.resolve().parent.name, "imgsz": args.imgsz}
        append_rows(args.csv, rows, {**settings, "rounds": args.rounds, "samples": args.samples})


def _measure(variants: dict[str, Variant], rounds: int, samples: int) -> dict[str, float]:
    """Return milliseconds per call: the median over the rounds of each round's mean. An extra first round warms up."""
    means: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds + 1):
        for name, make in variants.items():
            start = time.perf_counter()
            for number in range(samples):
                make(turn * samples + number)
            if turn:
                means[name].append((time.perf_counter() - start) * 1e3 / samples)
    return {name: statistics.median(values) for name, values in means.items()}


def _format_profiles(variants: dict[str, Variant]) -> str:
    """Profile each variant; return a Markdown page of the functions that take most time themselves."""
    text = f"# Time of a sample by function\n`python -m scripts.benchmarks.sample --profile`, commit {commit()}, "
    text += (
        f"{machine()}. Own time of each function over {_PROFILED} samples; the profiler itself adds to every call.\n"
    )
    for name, make in variants.items():
        profile = cProfile.Profile()
        profile.enable()
        for number in range(_PROFILED):
            make(number)
        profile.disable()
        stats: dict[Any, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
        total = sum(own for _, _, own, _, _ in stats.values())
        rows = [["function", "calls", "own ms", "share"]]
        slowest = sorted(stats.items(), key=lambda item: -item[1][2])[:_PROFILE_ROWS]
        for (file, line, function), (_, calls, own, _, _) in slowest:
            place = f"{Path(file).name}:{line} " if line else ""
            numbers = [f"{calls / _PROFILED:.1f}", f"{own * 1e3 / _PROFILED:.3f}", f"{own / total:.0%}"]
            rows.append([f"`{place}{function}`", *numbers])
        text += f"\n## {name}: {total * 1e3 / _PROFILED:.2f} ms\n{markdown_table(rows)}\n"
    return text


def _ours(pairs: PairSet, imgsz: int, pool: int, reader: Reader | None = None) -> Variant:
    """Return a variant that makes our samples, up to the tensor, in the order of a worker."""
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
    """Return a variant that only decodes one pair."""

    def make(number: int) -> object:
        record = pairs.records[number % len(pairs)]
        files = ((record.rgb, color), (record.ir, gray))
        return [cv2.imdecode(np.fromfile(file, np.uint8), flag | _IGNORE) for file, flag in files]

    return make


def _ultralytics(pairs: PairSet, imgsz: int, root: Path) -> Variant:
    """Return a variant that makes ultralytics' samples of the RGB half, with its image buffer full: one decode each.

    The files are linked into a scratch folder, because ultralytics writes caches beside the labels.
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
    random.Random(0).shuffle(order)  # noqa: S311 - not for cryptography
    buffer_size = dataset.max_buffer_length
    to_buffer = iter(order[:buffer_size])

    def make(number: int) -> object:
        for index in to_buffer:  # on the first call: afterwards the buffer is full, as for most samples of an epoch
            dataset[index]
        return dataset[order[(buffer_size + number) % len(order)]]

    return make


def _six_channels(pairs: PairSet, imgsz: int, root: Path) -> Variant:
    """Return a variant with ultralytics' pipeline on both images stacked to six channels, patched as in a fork."""
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
