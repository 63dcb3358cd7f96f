"""Build the parts of a training run from its config, and check them before epoch 0."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from yolofuse.batch import PairedBatch
from yolofuse.config import Config
from yolofuse.config.parts import make_part
from yolofuse.config.recipe import resolve_optimizer, resolve_pool, resolve_recipe
from yolofuse.data import EpochSampler, PairSet, TrainDataset, collate
from yolofuse.data.augment.extra import AUGMENTATIONS
from yolofuse.distributed.consensus import RankConsensus
from yolofuse.distributed.ranks import Ranks
from yolofuse.distributed.sync_batchnorm import synchronise_batchnorm
from yolofuse.engine.anchor_fit import report_recall, with_fitted_anchors
from yolofuse.engine.auto_batch import automatic_batch
from yolofuse.engine.dataloaders import (
    EvalLoader,
    TrainLoader,
    build_eval_loader,
    cache_kind,
    cached_pixels,
    check_decoder,
    check_shared_memory,
    load_run_splits,
    windows_in,
)
from yolofuse.engine.early_checks import check_names, check_weights
from yolofuse.engine.loss import DetectionLoss
from yolofuse.engine.loss_terms import LOSS_TERMS
from yolofuse.engine.norm_check import check_norms
from yolofuse.engine.optim import Schedule, build_optimizer, freeze
from yolofuse.engine.origin_run import warn_of_other_origin
from yolofuse.engine.precision import resolve_precision, warn_of_emulation
from yolofuse.errors import ConfigError
from yolofuse.eval.coco_backends import require_backend
from yolofuse.model import (
    Detector,
    build_detector,
    check_fusion,
    format_summary,
    overlap_streams,
    part_names,
    summarise,
)
from yolofuse.nn.ema import ModelEma
from yolofuse.weights import WeightsReport, load_and_initialise, policy_of
from yolofuse.weights.resolve_head import resolve_head
from yolofuse.weights.resolve_sources import load_sources

log = logging.getLogger("yolofuse")


@dataclass(frozen=True)
class TrainContext:
    """The parts of a run on one rank that stay the same from its first step to its last.

    Attributes:
        config: The run, with the batch size that was found where ``train.batch`` is -1.
        ranks: This process among the run's.
        train_pairs: The training split.
        val_pairs: The validation split.
        detector: The model, not wrapped for several ranks.
        ema: The exponential moving average of its weights.
        criterion: The loss.
        val_criterion: That of the averaged weights in evaluation; None unless ``train.val_loss``.
        optimizer: Of the trained parameters.
        schedule: Of learning rate, momentum and accumulation.
        dataset: Makes training samples.
        train_loader: Training batches on the device.
        val_loader: Validation batches on the device.
        consensus: The ranks' message in each step.
        weights_report: What was loaded into each tensor; None where a checkpoint is about to replace them all.
    """

    config: Config
    ranks: Ranks
    train_pairs: PairSet
    val_pairs: PairSet
    detector: Detector
    ema: ModelEma[Detector]
    criterion: DetectionLoss
    val_criterion: DetectionLoss | None
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    dataset: TrainDataset
    train_loader: TrainLoader
    val_loader: EvalLoader
    consensus: RankConsensus
    weights_report: WeightsReport | None


def build_context(config: Config, ranks: Ranks, *, checkpoint: Mapping[str, Any] | None = None) -> TrainContext:
    """Build a run's parts in the order in which mistakes are cheapest: config, data, model, weights.

    Args:
        config: The run.
        ranks: This process among the run's.
        checkpoint: What is about to be restored: no weights are loaded or initialised, its thermal windows are used.

    Raises:
        YolofuseError: If config, data or weights are wrong.
    """
    _check_config(config, ranks, loads_weights=checkpoint is None)
    train_pairs, val_pairs = load_run_splits(config, ranks, windows_in(checkpoint or {}))
    if checkpoint is None:
        start = build_start(with_fitted_anchors(config, train_pairs), train_pairs.names)
        config, detector, report, frozen = start.config, start.detector, start.report, start.frozen
        config = resolve_optimizer(config, num_classes=len(train_pairs.names), num_pairs=len(train_pairs))
    else:
        detector, report = new_detector(config, len(train_pairs.names)), None
        frozen = freeze(detector, config.train.freeze)
    _check_sizes(config, detector.stride)
    if ranks.is_main:
        log_model(config, detector, report, len(frozen))
        if report is not None:
            warn_of_other_origin(config, report.sources, config.data.train_split, train_pairs)
        report_recall(detector, train_pairs, config.train.imgsz)
    detector.to(ranks.device)
    if config.train.channels_last:
        detector.to(memory_format=torch.channels_last)
    config = _resolve_batch(config, detector, train_pairs, ranks)
    check_norms(config, detector, ranks)
    cache = cache_kind(config, train_pairs, ranks)
    if checkpoint is None and cache == "none" and config.train.cache == "auto":
        config = resolve_pool(config, ranks.world)
    train = config.train
    ema = ModelEma(detector, decay=train.ema_decay, tau=train.ema_tau, keep_start=train.keep_start)
    _prepare_forward(detector, config, ranks)
    sampler = EpochSampler(
        len(train_pairs), train.batch, train.seed, ranks.rank, ranks.world, pool=train.augment.mosaic_pool
    )
    check_shared_memory(config, train_pairs, ranks, len(sampler))
    reader = cached_pixels(cache, config, train_pairs, ranks)
    dataset = TrainDataset(train_pairs, train.imgsz, train.augment, train.seed, reader)
    return TrainContext(
        config=config,
        ranks=ranks,
        train_pairs=train_pairs,
        val_pairs=val_pairs,
        detector=detector,
        ema=ema,
        criterion=DetectionLoss(detector, train.loss, train.epochs),
        val_criterion=DetectionLoss(ema.ema, train.loss, train.epochs) if train.val_loss else None,
        optimizer=build_optimizer(detector, train),
        schedule=Schedule(train, len(sampler)),
        dataset=dataset,
        train_loader=TrainLoader(dataset, sampler, config, ranks),
        val_loader=build_eval_loader(val_pairs, config, detector.stride, ranks),
        consensus=RankConsensus(ranks),
        weights_report=report,
    )


def _check_config(config: Config, ranks: Ranks, *, loads_weights: bool) -> None:
    """Check what can be checked before the data is read.

    Raises:
        YolofuseError: If an option does not fit the machine or another option, or a file is not there.
    """
    check_names(config)
    if loads_weights:
        check_weights(config)
    batch = config.train.batch
    if batch > 0 and batch % ranks.world:
        raise ConfigError(f"train.batch: {batch} pairs cannot be divided evenly among {ranks.world} ranks")
    require_backend(config.val.backend)
    policy_of(config)
    check_fusion(config.model)
    for part in config.train.augment.extra:
        make_part("train.augment.extra", part, AUGMENTATIONS)
    for part in config.train.loss.extra:
        make_part("train.loss.extra", part, LOSS_TERMS)
    check_decoder(config, ranks)
    if ranks.is_main:
        precisions = {"train.precision": config.train.precision, "val.precision": config.val.precision}
        warn_of_emulation(ranks.device, precisions)


def _check_sizes(config: Config, stride: int) -> None:
    if config.train.imgsz % stride or config.val_imgsz % stride:
        raise ConfigError(f"train.imgsz, val.imgsz: must be multiples of {stride} for {config.model.base}")


@dataclass(frozen=True)
class Start:
    """A detector before its first step.

    Attributes:
        config: The run, with the head that the weights have, and its recipe's values.
        detector: On the CPU, loaded and initialised; some of it may be frozen.
        report: What was loaded into each tensor.
        frozen: Names of the frozen parameters.
    """

    config: Config
    detector: Detector
    report: WeightsReport
    frozen: list[str]


def build_start(config: Config, names: Sequence[str]) -> Start:
    """Build the detector of a run, load its weights, and initialise the rest.

    Args:
        config: The run.
        names: Classes of the data set.

    Raises:
        ConfigError: If an option does not fit the model.
        WeightsError: If a file of weights cannot be read or does not fit.
    """
    sources = load_sources(config.weights, part_names(config.model))
    config = resolve_head(config, sources, names)
    detector = new_detector(config, len(names))
    frozen = freeze(detector, config.train.freeze)
    report = load_and_initialise(detector, config, names, frozen, sources)
    return Start(resolve_recipe(config, knows_classes=report.knows_classes), detector, report, frozen)


def new_detector(config: Config, num_classes: int) -> Detector:
    """Build the detector of a run; its weights are neither loaded nor initialised by the policy yet."""
    return build_detector(
        config.model, num_classes=num_classes, seed=config.train.seed, bn_momentum=config.train.bn_momentum
    )


def first_batches(context: TrainContext, num: int) -> list[PairedBatch]:
    """Return the first batches of the first epoch on the CPU, augmented as in training."""
    sampler = context.train_loader.sampler
    sampler.set_epoch(0, mosaic=context.train_loader.has_mosaic(0))
    return [collate([context.dataset[key] for key in keys]) for keys in islice(sampler, num)]


def _resolve_batch(config: Config, detector: Detector, pairs: PairSet, ranks: Ranks) -> Config:
    """Return the config with the largest batch that fits in memory, where ``train.batch`` is -1."""
    if config.train.batch > 0:
        return config
    precision = resolve_precision(ranks.device, config.train.precision)
    batch = automatic_batch(detector, config, precision, pairs, ranks)
    return config.model_copy(update={"train": config.train.model_copy(update={"batch": batch})})


def _prepare_forward(detector: Detector, config: Config, ranks: Ranks) -> None:
    """Share BatchNorm statistics, overlap streams and compile, as the config asks; tensors and names stay."""
    train = config.train
    if train.sync_bn and ranks.world > 1:
        synchronise_batchnorm(detector, ranks.device)
    if train.overlap:
        overlap_streams(detector, ranks.device)
    if train.compile == "model":
        detector.compile()
    elif train.compile == "streams":
        for part in detector.parts.values():
            for module in part.values() if isinstance(part, nn.ModuleDict) else (part,):  # each fusion block
                module.compile()


def wrap_for_ranks(detector: Detector, ranks: Ranks) -> nn.Module:
    """Wrap the detector so that gradients are exchanged, where there are several ranks."""
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


def log_model(config: Config, detector: Detector, report: WeightsReport | None, num_frozen: int) -> None:
    """Log a detector's parts, what was loaded into them, and how much of it is frozen."""
    model = config.model
    if model.streams != "both":
        log.info("model: %s, %s only (cut, fusion and merge are not used)", model.base, model.streams.upper())
    else:
        log.info("model: %s, cut %s, fusion %s%s", model.base, model.cut, model.fusion_label, ", shared" * model.share)
    log.info("%s", format_summary(summarise(detector, config.train.imgsz), detector))
    if config.train.device == "auto" and not torch.cuda.is_available():
        log.info("train.device: auto is the CPU, since torch %s finds no GPU", torch.__version__)
    if report is not None:
        log.info("%s", report.format())
        for warning in report.warnings:
            log.warning("warning: %s", warning)
    if num_frozen:
        log.info("frozen: %d parameters", num_frozen)
