"""Build the data sources of a run: splits, thermal windows, pixel caches, and loaders that end on the device."""

from __future__ import annotations

import logging
import math
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolofuse.batch import PairedBatch
from yolofuse.config import Config
from yolofuse.data import (
    EpochSampler,
    EvalDataset,
    EvalSampler,
    PairSet,
    TrainDataset,
    batch_loader,
    load_pairs,
)
from yolofuse.data.available_memory import SHARED_MEMORY, free_shared_memory
from yolofuse.data.dataloader import PREFETCHED
from yolofuse.data.descriptor.load import configured_descriptor
from yolofuse.data.gpu.augment_batch import augment_batch
from yolofuse.data.gpu.jpeg import require_decoder
from yolofuse.data.gpu.tile_batch import TileDataset
from yolofuse.data.images.read_pair import pixel_dtype
from yolofuse.data.index.compare_splits import describe_overlap
from yolofuse.data.index.pair_set import Windows
from yolofuse.data.index.scan_cache import default_cache_dir
from yolofuse.data.index.thermal_window import compare_depths
from yolofuse.data.pixel_cache import CacheKind, CacheNotWrittenError, PixelCache, choose_cache, disk_cache, ram_cache
from yolofuse.distributed.ranks import Ranks
from yolofuse.engine.prefetcher import DevicePrefetcher
from yolofuse.errors import ConfigError, DataError, listing, plural
from yolofuse.eval.limits import conf_limit

log = logging.getLogger("yolofuse")

_MIB, _GIB = 1 << 20, 1 << 30
_WITHOUT_CACHE = "warning: %s; training goes on without it: same batches, slower"


def load_split(config: Config, split: str, ranks: Ranks, ir_windows: Windows | None = None) -> PairSet:
    """Load and check a split of the config's data set; rank 0 does the work and the others read its cache.

    Args:
        config: The run.
        split: Name of the split.
        ranks: This process among the run's.
        ir_windows: Thermal windows of the checkpoint that is resumed or evaluated.
    """
    descriptor = configured_descriptor(config.data)
    streams = config.model.streams
    # A detector of one camera learns nothing from a black image; it is judged on all pairs.
    needs = streams if streams != "both" and split == config.data.train_split else None

    def load() -> PairSet:
        return load_pairs(
            descriptor,
            split,
            cache_dir=_cache_dir(config),
            verify=config.data.verify,
            workers=max(config.data.workers, 1),
            ir_windows=ir_windows,
            allow_missing=config.data.missing == "allow",
            needs=needs,
        )

    if ranks.is_main:
        pairs = load()
        ranks.barrier()
        return pairs
    ranks.barrier()
    return load()


def load_run_splits(config: Config, ranks: Ranks, ir_windows: Windows | None = None) -> tuple[PairSet, PairSet]:
    """Load the training and the validation split of a run.

    Args: as of :func:`load_split`.

    Raises:
        DataError: If training has no box to learn from, or validation none to score by, unless ``train.val_every`` is
            0; or if one thermal window is used for images of several depths.
    """
    data = config.data
    train = load_split(config, data.train_split, ranks, ir_windows)
    val = load_split(config, data.val_split, ranks, train.ir_windows)
    of_classes = f" of {', '.join(data.classes)} (data.classes)" if data.classes else ""
    labels = f"check its labels: yolofuse check --data {data.descriptor}"
    problems = compare_depths(train.window_bits, val.window_bits)
    if not train.num_boxes:
        problems.append(
            f"{data.train_split}: no box{of_classes} in {plural(len(train), 'pair')}, so there is nothing to learn; "
            f"{labels}, or train on another split with data.train_split"
        )
    if not val.num_boxes:
        text = f"{data.val_split}: no box{of_classes} in {plural(len(val), 'pair')}, so there is nothing to score"
        if config.train.val_every:
            advice = "evaluate another split with data.val_split, or train without validation: train.val_every=0"
            problems.append(f"{text}; {labels}, {advice}")
        elif ranks.is_main:
            log.warning("warning: %s: no epoch gets an AP, and best.pt will be that of the last one", text)
    if problems:
        raise DataError(listing(data.descriptor, problems))
    if ranks.is_main:
        for text in describe_overlap(train, val, (data.train_split, data.val_split)):
            log.warning("warning: %s: %s", data.descriptor, text)
        for text in conf_limit(config.val.conf):
            log.warning("warning: val.conf: %s; best.pt is chosen by it", text)
    return train, val


def windows_in(checkpoint: Mapping[str, Any]) -> Windows:
    """Return the thermal windows that a checkpoint was trained with."""
    return {name: (low, high) for name, (low, high) in checkpoint.get("ir_windows", {}).items()}


def check_decoder(config: Config, ranks: Ranks) -> None:
    """Check that the decoder of ``train.decode`` exists here.

    Raises:
        ConfigError: If the device or torchvision does not support it.
    """
    if config.train.decode != "nvjpeg":
        return
    if ranks.device.type != "cuda":
        raise ConfigError(f"train.decode: nvjpeg decodes on CUDA devices only (the device is {ranks.device}); use cpu")
    require_decoder()


def cache_kind(config: Config, pairs: PairSet, ranks: Ranks) -> CacheKind:
    """Return where the training pairs are kept; where ``train.cache`` is ``auto``, what suits every rank's machine."""
    train = config.train
    if train.cache != "auto":
        return train.cache
    if train.decode == "nvjpeg":
        return "none"
    kinds = ranks.gather(choose_cache(pairs, train.imgsz, _cache_dir(config) or default_cache_dir()))
    kind: CacheKind = next(kind for kind in ("none", "disk", "ram") if kind in kinds)
    if kind == "none" and ranks.is_main:
        log.info("train.cache: neither memory nor disk has room; train.augment.mosaic_pool saves time instead")
    return kind


def cached_pixels(kind: CacheKind, config: Config, pairs: PairSet, ranks: Ranks) -> PixelCache | None:
    """Decode the training pairs once for all processes of a machine; None for the kind ``none``."""
    imgsz, workers = config.train.imgsz, max(config.data.workers, 1)
    if kind == "none":
        return None
    if kind == "disk":
        try:
            return disk_cache(pairs, imgsz, _cache_dir(config) or default_cache_dir(), workers)
        except CacheNotWrittenError as error:
            log.warning(_WITHOUT_CACHE, error)
            return None
    try:
        own = ram_cache(pairs, imgsz, workers) if ranks.local_rank == 0 else None
    except CacheNotWrittenError as error:
        if config.train.cache != "auto":
            raise
        log.warning(_WITHOUT_CACHE, error)
        own = None
    host = socket.gethostname()
    paths = {name: path for name, path in ranks.gather((host, own.path if own else None)) if path is not None}
    return own or (PixelCache(paths[host], pairs, imgsz) if host in paths else None)


def check_shared_memory(config: Config, pairs: PairSet, ranks: Ranks, num_batches: int) -> None:
    """Check before training that the batches that wait for their step fit in shared memory: all do in an evaluation.

    Raises:
        ConfigError: If they do not; a worker would be killed, or could not send its batch.
    """
    free, workers = free_shared_memory(), config.data.workers
    if not workers or free is None or config.train.decode == "nvjpeg":  # encoded images are small
        return
    shape = (config.train.batch // ranks.world, config.train.imgsz, config.train.imgsz, 4)
    size = math.prod(shape) * pixel_dtype(pairs.records[0].format).itemsize
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    needed = size * processes * min(PREFETCHED * workers, num_batches)
    if needed > free:
        most = free // (size * processes * PREFETCHED)
        raise ConfigError(
            f"data.workers: {workers} workers fill {needed / _MIB:.0f} MiB of shared memory with batches of "
            f"{size / _MIB:.1f} MiB, but {free / _MIB:.0f} are free in {SHARED_MEMORY}; set data.workers to {most}, or "
            f"start the container with --shm-size={2 * needed // _GIB + 1}g"
        )


class TrainLoader:
    """Training batches on the device, from any step of any epoch on.

    Attributes:
        sampler: Which pairs are in which batch.
        prefetcher: The batches of the epoch that was started last.
    """

    def __init__(self, dataset: TrainDataset, sampler: EpochSampler, config: Config, ranks: Ranks) -> None:
        """Keep what batches are made from; no worker process is started yet."""
        self.sampler = sampler
        self.prefetcher = _train_prefetcher(config, dataset, sampler, ranks)
        self._mosaic_epochs = config.train.epochs - config.train.close_mosaic
        self._started: tuple[int, int] | None = None

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[PairedBatch]:
        """Iterate over the batches from where :meth:`start` was called."""
        return iter(self.prefetcher)

    def has_mosaic(self, epoch: int) -> bool:
        """Return whether mosaics are made in an epoch, counted from 0: not in the last ``close_mosaic`` ones."""
        return epoch < self._mosaic_epochs

    def start(self, epoch: int, step: int) -> None:
        """Let the workers begin at a step of an epoch, unless they did so already and no batch was used since."""
        if self._started != (epoch, step):
            self.sampler.set_epoch(epoch, mosaic=self.has_mosaic(epoch))
            self.prefetcher.start(step)
            self._started = (epoch, step)

    def restart_next(self) -> None:
        """Make the next :meth:`start` begin again even at a step that was started before."""
        self._started = None


def _train_prefetcher(config: Config, dataset: TrainDataset, sampler: EpochSampler, ranks: Ranks) -> DevicePrefetcher:
    """Build the prefetcher of the training batches, in the sampler's order."""
    device, workers, pin = ranks.device, config.data.workers, ranks.device.type == "cuda"
    if config.train.augment_on == "loader":
        return DevicePrefetcher(
            lambda: batch_loader(dataset, sampler, workers, pin), sampler.seek, lambda batch: batch.to(device), device
        )
    tiles = TileDataset(dataset, config.train.decode)
    imgsz = config.train.imgsz
    return DevicePrefetcher(
        lambda: batch_loader(tiles, sampler, workers, pin),
        sampler.seek,
        lambda batch: augment_batch(batch, device, imgsz),
        device,
    )


@dataclass(frozen=True)
class EvalLoader:
    """A split's evaluation batches on this rank; every pass uses the same worker processes.

    Attributes:
        prefetcher: The batches, on the device.
        num_steps: Number of batches of the rank that has most.
    """

    prefetcher: DevicePrefetcher
    num_steps: int


def build_eval_loader(pairs: PairSet, config: Config, stride: int, ranks: Ranks) -> EvalLoader:
    """Build the loader of a split's evaluation batches."""
    dataset = EvalDataset(pairs, config.val_imgsz, letterbox=config.val.letterbox, stride=max(stride, 32))
    sampler = EvalSampler(dataset, config.val.batch, ranks.rank, ranks.world)
    pin = ranks.device.type == "cuda"
    feed = DevicePrefetcher(
        lambda: batch_loader(dataset, sampler, config.data.workers, pin),
        sampler.seek,
        lambda batch: batch.to(ranks.device),
        ranks.device,
    )
    return EvalLoader(feed, sampler.num_steps)


def _cache_dir(config: Config) -> Path | None:
    """Return the config's folder for caches; None: the user's."""
    return Path(config.data.cache_dir) if config.data.cache_dir else None
