"""Everything a training run is made of, checked before epoch 0."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from yolofuse.config import Config
from yolofuse.data import EpochSampler, PairSet, TrainDataset, collate
from yolofuse.distributed.ranks import Ranks
from yolofuse.distributed.sync_batchnorm import synchronise_batchnorm
from yolofuse.engine.auto_batch import automatic_batch
from yolofuse.engine.dataloaders import (
    EvalLoader,
    build_eval_loader,
    cached_pixels,
    check_decoder,
    load_split,
    train_prefetcher,
    windows_in,
)
from yolofuse.engine.evaluator import resolve_precision
from yolofuse.engine.loss import DetectionLoss
from yolofuse.engine.nan_guard import RankConsensus
from yolofuse.engine.optim import Schedule, build_optimizer, freeze
from yolofuse.engine.prefetcher import DevicePrefetcher
from yolofuse.errors import ConfigError
from yolofuse.eval.coco_backends import require_backend
from yolofuse.model import Detector, build_detector, format_summary, overlap_streams, summarise
from yolofuse.nn.ema import ModelEma
from yolofuse.types import PairedBatch
from yolofuse.weights import WeightsReport, load_and_initialise, policy_of

log = logging.getLogger("yolofuse")


@dataclass
class TrainContext:
    """The parts of a run on one rank."""

    config: Config
    """The run, with the batch that was found where ``train.batch`` is -1."""
    ranks: Ranks
    train_pairs: PairSet
    val_pairs: PairSet
    detector: Detector
    model: nn.Module
    """The detector, wrapped for several ranks where there are several."""
    ema: ModelEma[Detector]
    criterion: DetectionLoss
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    scaler: torch.amp.GradScaler
    sampler: EpochSampler
    dataset: TrainDataset
    prefetcher: DevicePrefetcher
    val_source: EvalLoader
    consensus: RankConsensus
    weights: WeightsReport | None
    """What became of each tensor; None where a checkpoint is about to replace them all."""


def build_context(config: Config, ranks: Ranks, *, checkpoint: Mapping[str, Any] | None = None) -> TrainContext:
    """Build a run's parts in the order in which mistakes are cheapest: config, data, model, weights.

    Args:
        config: The run.
        ranks: This process among the run's.
        checkpoint: What is about to be restored: no weights are loaded or initialised, and the thermal windows are its.

    Raises:
        YolofuseError: Whatever is wrong with config, data or weights.
    """
    train = config.train
    if train.batch > 0 and train.batch % ranks.world:
        raise ConfigError(f"train.batch: {train.batch} pairs cannot be dealt evenly to {ranks.world} ranks")
    # Their mistakes are told before the data is looked at.
    require_backend(config.val.backend)
    policy_of(config)
    check_decoder(config, ranks)
    train_pairs = load_split(config, config.data.train_split, ranks, windows_in(checkpoint or {}))
    val_pairs = load_split(config, config.data.val_split, ranks, train_pairs.ir_windows)
    detector = new_detector(config, train_pairs)
    if train.imgsz % detector.stride or config.val_imgsz % detector.stride:
        raise ConfigError(f"train.imgsz, val.imgsz: must be multiples of {detector.stride} for {config.model.base}")
    frozen = freeze(detector, train.freeze)
    report = load_and_initialise(detector, config, train_pairs.names, frozen) if checkpoint is None else None
    if ranks.is_main:
        _announce(config, detector, report, len(frozen))
    detector.to(ranks.device)
    if train.channels_last:
        detector.to(memory_format=torch.channels_last)
    if train.batch < 0:
        config = _with_batch_that_fits(config, detector, train_pairs, ranks)
        train = config.train
    ema = ModelEma(detector, decay=train.ema_decay, tau=train.ema_tau)
    model = _wrap(detector, config, ranks)
    sampler = EpochSampler(
        len(train_pairs), train.batch, train.seed, ranks.rank, ranks.world, pool=train.augment.mosaic_pool
    )
    reader = cached_pixels(config, train_pairs, ranks)
    dataset = TrainDataset(train_pairs, train.imgsz, train.augment, train.seed, reader)
    consensus = RankConsensus(ranks)
    scaled = resolve_precision(ranks.device, train.precision) == "fp16"
    return TrainContext(
        config=config,
        ranks=ranks,
        train_pairs=train_pairs,
        val_pairs=val_pairs,
        detector=detector,
        model=model,
        ema=ema,
        criterion=DetectionLoss(detector, train.loss, train.epochs, consensus.sum_over_ranks),
        optimizer=build_optimizer(detector, train),
        schedule=Schedule(train, len(sampler)),
        scaler=torch.amp.GradScaler(ranks.device.type, enabled=scaled),
        sampler=sampler,
        dataset=dataset,
        prefetcher=train_prefetcher(config, dataset, sampler, ranks),
        val_source=build_eval_loader(val_pairs, config, detector.stride, ranks),
        consensus=consensus,
        weights=report,
    )


def new_detector(config: Config, pairs: PairSet) -> Detector:
    """The detector for a data set's classes, as built: its weights are neither loaded nor initialised by the policy."""
    return build_detector(
        config.model, num_classes=len(pairs.names), seed=config.train.seed, bn_momentum=config.train.bn_momentum
    )


def first_batches(session: TrainContext, num: int) -> list[PairedBatch]:
    """The first batches of the first epoch, augmented as training augments them, on the CPU."""
    train = session.config.train
    session.sampler.set_epoch(0, start_step=0, mosaic=train.epochs > train.close_mosaic)
    return [collate([session.dataset[key] for key in keys]) for keys in islice(session.sampler, num)]


def _with_batch_that_fits(config: Config, detector: Detector, pairs: PairSet, ranks: Ranks) -> Config:
    precision = resolve_precision(ranks.device, config.train.precision)
    batch = automatic_batch(detector, config, precision, pairs, ranks)
    return config.model_copy(update={"train": config.train.model_copy(update={"batch": batch})})


def _wrap(detector: Detector, config: Config, ranks: Ranks) -> nn.Module:
    """The detector as it is trained: compiled, its streams overlapped, for several ranks, as the config wants it.

    All of that leaves its tensors and their names as they are.
    """
    train = config.train
    if train.sync_bn and ranks.world > 1:
        synchronise_batchnorm(detector, ranks.device)
    if train.overlap:
        overlap_streams(detector, ranks.device)
    if train.compile == "model":
        detector.compile()
    elif train.compile == "streams":
        for part in detector.parts.values():
            for module in part.values() if isinstance(part, nn.ModuleDict) else (part,):  # the blocks of the fusion
                module.compile()
    return distribute(detector, ranks)


def distribute(detector: Detector, ranks: Ranks) -> nn.Module:
    """The detector, with its gradients exchanged where there are several ranks."""
    if ranks.world == 1:
        return detector
    known = inspect.signature(DistributedDataParallel).parameters
    sync_buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # torch < 2.15
    return DistributedDataParallel(
        detector,
        device_ids=[ranks.device] if ranks.device.type == "cuda" else None,
        gradient_as_bucket_view=True,
        **cast(dict[str, Any], {sync_buffers: False}),  # statistics are averaged after each update instead, see step.py
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
