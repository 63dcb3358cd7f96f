"""Where a run's batches come from: splits, thermal windows, caches of pixels, and the feed to the device."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolofuse.config import Config
from yolofuse.data import (
    EpochSampler,
    EvalDataset,
    EvalSampler,
    PairSet,
    TrainDataset,
    eval_loader,
    load_descriptor,
    load_pairs,
    train_loader,
)
from yolofuse.data.gpu.batch import TileDataset
from yolofuse.data.gpu.compose import compose
from yolofuse.data.gpu.jpeg import require_decoder
from yolofuse.data.index.pair_set import Windows
from yolofuse.data.index.scan_cache import default_cache_dir
from yolofuse.data.pixel_cache import PixelCache, disk_cache, ram_cache
from yolofuse.distributed.ranks import Ranks
from yolofuse.engine.prefetcher import DevicePrefetcher
from yolofuse.errors import ConfigError


def load_split(config: Config, split: str, ranks: Ranks, ir_windows: Windows | None = None) -> PairSet:
    """A split of the config's data set, checked; rank 0 does the work and the others read its cache.

    Args:
        config: The run.
        split: Name of the split.
        ranks: This process among the run's.
        ir_windows: Thermal windows that were computed when a checkpoint was trained.
    """
    descriptor = load_descriptor(config.data.descriptor, config.data.root)

    def load() -> PairSet:
        return load_pairs(
            descriptor,
            split,
            cache_dir=_cache_dir(config),
            verify=config.data.verify,
            workers=max(config.data.workers, 1),
            ir_windows=ir_windows,
        )

    if ranks.is_main:
        pairs = load()
        ranks.barrier()
        return pairs
    ranks.barrier()
    return load()


def windows_in(checkpoint: Mapping[str, Any]) -> Windows:
    """The thermal windows that a checkpoint was trained with."""
    return {name: (low, high) for name, (low, high) in checkpoint.get("ir_windows", {}).items()}


def check_decoder(config: Config, ranks: Ranks) -> None:
    """Refuse a decoder that this process does not have.

    Raises:
        ConfigError: If the device or torchvision can't.
    """
    if config.train.decode != "nvjpeg":
        return
    if ranks.device.type != "cuda":
        raise ConfigError(f"train.decode: nvjpeg decodes on CUDA devices only (the device is {ranks.device}); use cpu")
    require_decoder()


def cached_pixels(config: Config, pairs: PairSet, ranks: Ranks) -> PixelCache | None:
    """The training pairs decoded once for all processes of a machine, where the config asks for it."""
    imgsz, workers = config.train.imgsz, max(config.data.workers, 1)
    if config.train.cache == "none":
        return None
    if config.train.cache == "disk":
        return disk_cache(pairs, imgsz, _cache_dir(config) or default_cache_dir(), workers)
    mine = ram_cache(pairs, imgsz, workers) if ranks.local_rank == 0 else None
    host = socket.gethostname()
    paths = {name: path for name, path in ranks.gather((host, mine.path if mine else None)) if path is not None}
    return mine or PixelCache(paths[host], pairs, imgsz)


def train_prefetcher(config: Config, dataset: TrainDataset, sampler: EpochSampler, ranks: Ranks) -> DevicePrefetcher:
    """Training batches on the device, in the sampler's order."""
    device, workers, pin = ranks.device, config.data.workers, ranks.device.type == "cuda"
    if config.train.augment_on == "loader":
        return DevicePrefetcher(
            lambda: train_loader(dataset, sampler, workers, pin), sampler.seek, lambda batch: batch.to(device), device
        )
    tiles = TileDataset(dataset, config.train.decode)
    imgsz = config.train.imgsz
    return DevicePrefetcher(
        lambda: train_loader(tiles, sampler, workers, pin),
        sampler.seek,
        lambda batch: compose(batch, device, imgsz),
        device,
    )


@dataclass(frozen=True)
class EvalLoader:
    """A split's evaluation batches on this rank; gone through as often as wanted, with the same worker processes.

    Attributes:
        prefetcher: The batches.
        num_steps: How many the rank with most of them has.
    """

    prefetcher: DevicePrefetcher
    num_steps: int


def build_eval_loader(pairs: PairSet, config: Config, stride: int, ranks: Ranks) -> EvalLoader:
    """Evaluation batches on the device."""
    dataset = EvalDataset(pairs, config.val_imgsz, letterbox=config.val.letterbox, stride=max(stride, 32))
    sampler = EvalSampler(dataset, config.val.batch, ranks.rank, ranks.world)
    pin = ranks.device.type == "cuda"
    feed = DevicePrefetcher(
        lambda: eval_loader(dataset, sampler, config.data.workers, pin),
        sampler.seek,
        lambda batch: batch.to(ranks.device),
        ranks.device,
    )
    return EvalLoader(feed, sampler.num_steps)


def _cache_dir(config: Config) -> Path | None:
    """The config's folder for caches; None: the user's."""
    return Path(config.data.cache_dir) if config.data.cache_dir else None
