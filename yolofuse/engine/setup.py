"""Everything a training run is made of, checked before epoch 0."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from yolofuse.config import Config
from yolofuse.data import EpochSampler, PairSet, TrainDataset, collate, load_descriptor, load_pairs, train_loader
from yolofuse.data.coded import require_decoder
from yolofuse.data.device import compose
from yolofuse.data.pairs import Windows
from yolofuse.data.pixel_cache import PixelCache, disk_cache, ram_cache
from yolofuse.data.scan_cache import default_cache_dir
from yolofuse.data.tiles import TileDataset
from yolofuse.engine.distributed import Ranks
from yolofuse.engine.feed import Feed
from yolofuse.engine.loss import DetectionLoss
from yolofuse.engine.optim import Schedule, build_optimizer, freeze
from yolofuse.errors import ConfigError
from yolofuse.eval.backends import require_backend
from yolofuse.model import Detector, build_detector, format_summary, summarise
from yolofuse.types import PairedBatch
from yolofuse.upstream import ModelEMA
from yolofuse.weights import WeightsReport, begin_weights, policy_of

log = logging.getLogger("yolofuse")


@dataclass
class Session:
    """The parts of a run on one rank."""

    config: Config
    ranks: Ranks
    train_pairs: PairSet
    val_pairs: PairSet
    detector: Detector
    model: nn.Module
    """The detector, wrapped for several ranks where there are several."""
    ema: ModelEMA
    criterion: DetectionLoss
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    scaler: torch.amp.GradScaler
    sampler: EpochSampler
    dataset: TrainDataset
    feed: Feed
    weights: WeightsReport | None
    """What became of each tensor; None where a checkpoint is about to replace them all."""


def cache_dir_of(config: Config) -> Path | None:
    """The config's folder for caches; None: the user's."""
    return Path(config.data.cache_dir) if config.data.cache_dir else None


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
            cache_dir=cache_dir_of(config),
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


def prepare(config: Config, ranks: Ranks, *, checkpoint: Mapping[str, Any] | None = None) -> Session:
    """Build a run's parts in the order in which mistakes are cheapest: config, data, model, weights.

    Args:
        config: The run.
        ranks: This process among the run's.
        checkpoint: What is about to be restored: no weights are loaded or initialised, and the thermal windows are its.

    Raises:
        YolofuseError: Whatever is wrong with config, data or weights.
    """
    train = config.train
    if train.batch % ranks.world:
        raise ConfigError(f"train.batch: {train.batch} pairs cannot be dealt evenly to {ranks.world} ranks")
    # Their mistakes are told before the data is looked at.
    require_backend(config.val.backend)
    policy_of(config)
    _require_decoder(config, ranks)
    train_pairs = load_split(config, config.data.train_split, ranks, windows_in(checkpoint or {}))
    val_pairs = load_split(config, config.data.val_split, ranks, train_pairs.ir_windows)
    detector = new_detector(config, train_pairs)
    if train.imgsz % detector.stride or config.val_imgsz % detector.stride:
        raise ConfigError(f"train.imgsz, val.imgsz: must be multiples of {detector.stride} for {config.model.base}")
    frozen = freeze(detector, train.freeze)
    report = begin_weights(detector, config, train_pairs.names, frozen) if checkpoint is None else None
    if ranks.is_main:
        _announce(config, detector, report, len(frozen))
    detector.to(ranks.device)
    if train.channels_last:
        detector.to(memory_format=torch.channels_last)
    model = _wrap(detector, config, ranks)
    sampler = EpochSampler(
        len(train_pairs), train.batch, train.seed, ranks.rank, ranks.world, pool=train.augment.mosaic_pool
    )
    reader = _cached(config, train_pairs, ranks)
    dataset = TrainDataset(train_pairs, train.imgsz, train.augment, train.seed, reader)
    return Session(
        config=config,
        ranks=ranks,
        train_pairs=train_pairs,
        val_pairs=val_pairs,
        detector=detector,
        model=model,
        ema=ModelEMA(detector, decay=train.ema_decay, tau=train.ema_tau),  # type: ignore[no-untyped-call]
        criterion=DetectionLoss(detector, train.loss, train.epochs),
        optimizer=build_optimizer(detector, train),
        schedule=Schedule(train, len(sampler)),
        scaler=torch.amp.GradScaler(ranks.device.type, enabled=train.precision == "fp16"),
        sampler=sampler,
        dataset=dataset,
        feed=_feed(config, dataset, sampler, ranks),
        weights=report,
    )


def new_detector(config: Config, pairs: PairSet) -> Detector:
    """The detector for a data set's classes, as built: its weights are neither loaded nor initialised by the policy."""
    return build_detector(
        config.model, num_classes=len(pairs.names), seed=config.train.seed, bn_momentum=config.train.bn_momentum
    )


def first_batches(session: Session, num: int) -> list[PairedBatch]:
    """The first batches of the first epoch, augmented as training augments them, on the CPU."""
    train = session.config.train
    session.sampler.set_epoch(0, start_step=0, mosaic=train.epochs > train.close_mosaic)
    return [collate([session.dataset[key] for key in keys]) for keys in islice(session.sampler, num)]


def windows_in(checkpoint: Mapping[str, Any]) -> Windows:
    """The thermal windows that a checkpoint was trained with."""
    return {name: (low, high) for name, (low, high) in checkpoint.get("ir_windows", {}).items()}


def _require_decoder(config: Config, ranks: Ranks) -> None:
    if config.train.decode != "nvjpeg":
        return
    if ranks.device.type != "cuda":
        raise ConfigError(f"train.decode: nvjpeg decodes on CUDA devices only (the device is {ranks.device}); use cpu")
    require_decoder()


def _cached(config: Config, pairs: PairSet, ranks: Ranks) -> PixelCache | None:
    """The training pairs decoded once for all processes of a machine, where the config asks for it."""
    imgsz, workers = config.train.imgsz, max(config.data.workers, 1)
    if config.train.cache == "none":
        return None
    if config.train.cache == "disk":
        return disk_cache(pairs, imgsz, cache_dir_of(config) or default_cache_dir(), workers)
    mine = ram_cache(pairs, imgsz, workers) if ranks.local_rank == 0 else None
    host = socket.gethostname()
    paths = {name: path for name, path in ranks.gather((host, mine.path if mine else None)) if path is not None}
    return mine or PixelCache(paths[host], pairs, imgsz)


def _feed(config: Config, dataset: TrainDataset, sampler: EpochSampler, ranks: Ranks) -> Feed:
    """Batches on the device."""
    device, workers, pin = ranks.device, config.data.workers, ranks.device.type == "cuda"
    if config.train.augment_on == "loader":
        return Feed(train_loader(dataset, sampler, workers, pin), lambda batch: batch.to(device), device)
    tiles = TileDataset(dataset, config.train.decode)
    loader = train_loader(tiles, sampler, workers, pin)
    return Feed(loader, lambda batch: compose(batch, device, config.train.imgsz), device)


def _wrap(detector: Detector, config: Config, ranks: Ranks) -> nn.Module:
    if ranks.world == 1:
        return detector
    if config.train.sync_bn:
        if ranks.device.type != "cuda":
            raise ConfigError("train.sync_bn: torch has it for CUDA only; set it to false")
        detector = nn.SyncBatchNorm.convert_sync_batchnorm(detector)  # type: ignore[no-untyped-call]
    return DistributedDataParallel(
        detector,
        device_ids=[ranks.device] if ranks.device.type == "cuda" else None,
        broadcast_buffers=False,  # statistics are averaged after each update instead, see train.py
        gradient_as_bucket_view=True,
    )


def _announce(
    config: Config,
    detector: Detector,
    report: WeightsReport | None,
    num_frozen: int,
) -> None:
    model = config.model
    if model.streams != "both":
        log.info("model: %s, %s only (cut, fusion and merge are not used)", model.base, model.streams.upper())
    else:
        log.info("model: %s, cut %s, fusion %s%s", model.base, model.cut, model.fusion, ", shared" * model.share)
    log.info("%s", format_summary(summarise(detector, config.train.imgsz), detector))
    if report is not None:
        log.info("%s", report.format())
        for warning in report.warnings:
            log.warning("warning: %s", warning)
    if num_frozen:
        log.info("frozen: %d parameters", num_frozen)
