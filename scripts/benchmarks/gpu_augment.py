"""Measure what augmentation on the device takes off a loader's process, and what it costs there instead.

    python scripts/bench_device.py --data path/to/data.yaml --csv results/device_augment.csv

The loader's part is one process with one thread, as a worker is; the device is CUDA where there is one, and else this
CPU, which says nothing about a GPU. Variants take turns within a round; medians of the rounds are given.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Literal

import cv2
import torch
from scripts.benchmarks.results_table import REPO, append_rows, repeated
from torch import Tensor

from yolofuse.config.schema import AugmentConfig
from yolofuse.data.dataloader import EpochSampler, collate
from yolofuse.data.dataset import SampleKey, TrainDataset
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.data.gpu.compose import TileBatch, TileDataset, compose
from yolofuse.data.images.lru_reader import Reader
from yolofuse.data.index.pair_set import PairSet, load_pairs
from yolofuse.data.pixel_cache import disk_cache
from yolofuse.types import PairedBatch

# So many that the tiles of one batch, drawn from the whole set, are nearly all different, as in a real data set.
_PAIRS_PER_SAMPLE = 20
Made = PairedBatch | TileBatch


def main() -> None:
    """Print the table, and append it to a CSV when asked to."""
    default = Path(os.environ.get("YOLOFUSE_REAL_DATA", REPO.parent / "shared" / "data")) / "llvip-hr" / "data.yaml"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=default, help="descriptor of a paired data set")
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--csv", type=Path, help="file to append the results to")
    args = parser.parse_args()

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as scratch:
        pairs = load_pairs(load_descriptor(args.data), "train", cache_dir=Path(scratch))
        pairs = repeated(pairs, -(-_PAIRS_PER_SAMPLE * args.batch // len(pairs)))
        for title, pool, reader in (
            ("4 tiles of the whole set", 0, None),
            (f"mosaic_pool {args.batch}", args.batch, None),
            ("pairs cached", 0, disk_cache(pairs, args.imgsz, Path(scratch), 2)),
        ):
            rows += _measured(pairs, args, title, pool, reader, device)
    print(f"device: {name}")
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    if args.csv:
        about = {"data": args.data.resolve().parent.name, "imgsz": args.imgsz, "batch": args.batch}
        append_rows(args.csv, rows, device=name, **about, rounds=args.rounds)


def _measured(
    pairs: PairSet, args: argparse.Namespace, title: str, pool: int, reader: Reader | None, device: torch.device
) -> list[dict[str, object]]:
    """A row for each way to divide the work, all for the same samples."""
    # Each way has a data set of its own, so that none finds what another has read.
    augment = AugmentConfig(mosaic=1.0, mosaic_pool=pool)
    ways: dict[str, Callable[[list[SampleKey]], Made]] = {
        "loader": _samples(TrainDataset(pairs, args.imgsz, augment, 0, reader)),
        "device": _tiles(TrainDataset(pairs, args.imgsz, augment, 0, reader), "cpu"),
    }
    if reader is None:
        ways["device, nvjpeg"] = _tiles(TrainDataset(pairs, args.imgsz, augment, 0), "nvjpeg")
    loader_ms: dict[str, list[float]] = {way: [] for way in ways}
    device_ms: dict[str, list[float]] = {way: [] for way in ways}
    sent: dict[str, int] = {}
    for turn, keys in enumerate(_batches(len(pairs), args.batch, pool, args.rounds + 1)):
        for way, make in ways.items():
            start = time.perf_counter()
            made = make(keys)
            on_loader = time.perf_counter() - start
            on_device = _device_seconds(made.pin_memory() if device.type == "cuda" else made, device, args.imgsz)
            if turn:  # the first only warms up
                loader_ms[way].append(on_loader * 1e3 / args.batch)
                device_ms[way].append(on_device * 1e3 / args.batch)
                sent[way] = _num_bytes(made)
    return [
        {
            "pairs_from": title,
            "augment_on": way,
            "loader_ms": f"{statistics.median(loader_ms[way]):.2f}",
            "loader_samples_per_s": f"{1e3 / statistics.median(loader_ms[way]):.0f}",
            "device_ms": f"{statistics.median(device_ms[way]):.3f}",
            "sent_mib": f"{sent[way] / args.batch / 2**20:.2f}",
        }
        for way in ways
    ]


def _batches(num: int, batch: int, pool: int, count: int) -> list[list[SampleKey]]:
    """The first batches of a run."""
    sampler = EpochSampler(num, batch, seed=0, pool=pool)
    batches: list[list[SampleKey]] = []
    for epoch in range(-(-count // len(sampler))):
        sampler.set_epoch(epoch)
        batches += list(sampler)
    return batches[:count]


def _samples(dataset: TrainDataset) -> Callable[[list[SampleKey]], Made]:
    return lambda keys: collate([dataset[key] for key in keys])


def _tiles(dataset: TrainDataset, decode: Literal["cpu", "nvjpeg"]) -> Callable[[list[SampleKey]], Made]:
    return TileDataset(dataset, decode).__getitems__


def _device_seconds(made: Made, device: torch.device, imgsz: int) -> float:
    """From the batch in the main process to pixels 0..1 on the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    _ = compose(made, device, imgsz) if isinstance(made, TileBatch) else made.to(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _num_bytes(made: Made) -> int:
    """What goes from a worker to the main process."""
    values = (getattr(made, field.name) for field in fields(made))
    return sum(value.numel() * value.element_size() for value in values if isinstance(value, Tensor))


if __name__ == "__main__":
    main()
