"""Measure what augmentation on the GPU saves in a loader worker, and what it costs on the device.

    python -m scripts.benchmarks.gpu_augment --data path/to/data.yaml --csv results/device_augment.csv

The loader's part runs in one process with one thread, like a worker; the device is CUDA if available, otherwise this
CPU, which says nothing about a GPU. Variants alternate within a round; the table has the medians over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Literal

import cv2
import torch
from torch import Tensor

from scripts.benchmarks.measure import device_name, repeat_pairs, synchronize
from scripts.benchmarks.results_table import append_rows, print_rows
from scripts.paths import REAL_DATA
from yolofuse.batch import PairedBatch
from yolofuse.config.schema import AugmentConfig
from yolofuse.data.dataloader import collate
from yolofuse.data.dataset import SampleKey, TrainDataset
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.data.gpu.augment_batch import augment_batch
from yolofuse.data.gpu.tile_batch import TileBatch, TileDataset
from yolofuse.data.images.lru_reader import Reader
from yolofuse.data.index.pair_set import PairSet, load_pairs
from yolofuse.data.pixel_cache import disk_cache
from yolofuse.data.sampler import EpochSampler

# Enough that the tiles of one batch, drawn from the whole set, are nearly all different, as in a large data set.
_PAIRS_PER_SAMPLE = 20
Batch = PairedBatch | TileBatch
BatchMaker = Callable[[list[SampleKey]], Batch]


def main() -> None:
    """Measure every variant, print the table and optionally append it to a CSV."""
    default = REAL_DATA / "llvip-hr" / "data.yaml"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=default, help="descriptor of a paired data set")
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--csv", type=Path, help="file to append the results to")
    args = parser.parse_args()

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as scratch:
        pairs = load_pairs(load_descriptor(args.data), "train", cache_dir=Path(scratch))
        pairs = repeat_pairs(pairs, -(-_PAIRS_PER_SAMPLE * args.batch // len(pairs)))
        for title, pool, reader in (
            ("4 tiles of the whole set", 0, None),
            (f"mosaic_pool {args.batch}", args.batch, None),
            ("pairs cached", 0, disk_cache(pairs, args.imgsz, Path(scratch), 2)),
        ):
            rows += _measure(pairs, args, title, pool, reader, device)
    print(f"device: {device_name(device)}")
    print_rows(rows)
    if args.csv:
        settings = {"device": device_name(device), "data": args.data.resolve().parent.name, "imgsz": args.imgsz}
        append_rows(args.csv, rows, {**settings, "batch": args.batch, "rounds": args.rounds})


def _measure(
    pairs: PairSet, args: argparse.Namespace, title: str, pool: int, reader: Reader | None, device: torch.device
) -> list[dict[str, object]]:
    """Return one row per division of the work between loader and device, all for the same samples."""
    # Each variant has its own data set, so that none profits from images that another has read.
    augment = AugmentConfig(mosaic=1.0, mosaic_pool=pool)
    makers: dict[str, BatchMaker] = {
        "loader": _sample_maker(TrainDataset(pairs, args.imgsz, augment, 0, reader)),
        "device": _tile_maker(TrainDataset(pairs, args.imgsz, augment, 0, reader), "cpu"),
    }
    if reader is None:
        makers["device, nvjpeg"] = _tile_maker(TrainDataset(pairs, args.imgsz, augment, 0), "nvjpeg")
    loader_ms: dict[str, list[float]] = {variant: [] for variant in makers}
    device_ms: dict[str, list[float]] = {variant: [] for variant in makers}
    sent: dict[str, int] = {}
    for number, keys in enumerate(_batch_keys(len(pairs), args.batch, pool, args.rounds + 1)):
        for variant, make in makers.items():
            start = time.perf_counter()
            batch = make(keys)
            on_loader = time.perf_counter() - start
            on_device = _device_seconds(batch.pin_memory() if device.type == "cuda" else batch, device, args.imgsz)
            if number:  # the first round warms up
                loader_ms[variant].append(on_loader * 1e3 / args.batch)
                device_ms[variant].append(on_device * 1e3 / args.batch)
                sent[variant] = _num_bytes(batch)
    return [
        {
            "pairs_from": title,
            "augment_on": variant,
            "loader_ms": f"{statistics.median(loader_ms[variant]):.2f}",
            "loader_samples_per_s": f"{1e3 / statistics.median(loader_ms[variant]):.0f}",
            "device_ms": f"{statistics.median(device_ms[variant]):.3f}",
            "sent_mib": f"{sent[variant] / args.batch / 2**20:.2f}",
        }
        for variant in makers
    ]


def _batch_keys(num: int, batch: int, pool: int, count: int) -> list[list[SampleKey]]:
    """Return the sample keys of the first ``count`` batches of a run."""
    sampler = EpochSampler(num, batch, seed=0, pool=pool)
    batches: list[list[SampleKey]] = []
    for epoch in range(-(-count // len(sampler))):
        sampler.set_epoch(epoch)
        batches += list(sampler)
    return batches[:count]


def _sample_maker(dataset: TrainDataset) -> BatchMaker:
    return lambda keys: collate([dataset[key] for key in keys])


def _tile_maker(dataset: TrainDataset, decode: Literal["cpu", "nvjpeg"]) -> BatchMaker:
    return TileDataset(dataset, decode).__getitems__


def _device_seconds(batch: Batch, device: torch.device, imgsz: int) -> float:
    """Return the seconds from the batch in the main process to pixels 0..1 on the device."""
    synchronize(device)
    start = time.perf_counter()
    _ = augment_batch(batch, device, imgsz) if isinstance(batch, TileBatch) else batch.to(device)
    synchronize(device)
    return time.perf_counter() - start


def _num_bytes(batch: Batch) -> int:
    """Return the bytes that a worker sends to the main process."""
    values = (getattr(batch, field.name) for field in fields(batch))
    return sum(value.numel() * value.element_size() for value in values if isinstance(value, Tensor))


if __name__ == "__main__":
    main()
