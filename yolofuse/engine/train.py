"""The training loop, to be read from top to bottom."""

from __future__ import annotations

import logging
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from yolofuse.config import Config
from yolofuse.config.load import plain_config
from yolofuse.engine.distributed import Ranks, join_ranks, norm_statistics
from yolofuse.engine.log import open_tensorboard, save_first_batches, save_run_curves
from yolofuse.engine.monitor import Monitor, open_monitor
from yolofuse.engine.optim import hold_frozen_norms
from yolofuse.engine.runs import RunFolder
from yolofuse.engine.setup import Session, prepare
from yolofuse.engine.state import RESTORED, LossMeter, Progress, capture, restore
from yolofuse.engine.validate import autocast, evaluate
from yolofuse.errors import RunError
from yolofuse.eval.coco import CocoResult
from yolofuse.model import Detector
from yolofuse.types import PairedBatch
from yolofuse.weights import load_checkpoint, save_checkpoint

log = logging.getLogger("yolofuse")

_WORTH_TELLING = 0.05  # share of an epoch's time spent waiting for data
_LOOK_EVERY = 10  # steps between looks at the loss on CUDA, where each look waits for the device


def train(config: Config, *, resume: bool = False) -> Path:
    """Train a detector; returns the run's folder.

    Args:
        config: The run.
        resume: Go on from the run's last checkpoint, to the weights that it would have had without a stop.

    Raises:
        YolofuseError: If config, data, weights or run folder are wrong, or the loss stops being finite.
    """
    folder = RunFolder(config.run_dir)
    with join_ranks(config.train.device) as ranks:
        if not resume:
            folder.refuse_used()
        content = load_checkpoint(folder.last, needs=RESTORED) if resume and folder.last.exists() else None
        session = prepare(config, ranks, checkpoint=content)
        if not resume:
            _create(folder, config, ranks)
        progress = _resumed(folder, session, content) if resume else Progress()
        if ranks.is_main and progress.step == 0:
            save_first_batches(session, folder.path)
            if session.weights is not None:
                folder.write_weights_report(session.weights)
        monitor = open_monitor(session, folder.first_steps, progress.step)
        log_scalars = open_tensorboard(config.train.tensorboard and ranks.is_main, folder.path)
        while progress.epoch < config.train.epochs and not progress.is_stale(config.train.patience):
            row = _train_epoch(session, progress, folder, monitor)
            result = _evaluate_if_due(session, progress)
            _end_epoch(session, progress, folder, row, result)
            log_scalars(row, progress.epoch)
        if ranks.is_main:
            if progress.epoch < config.train.epochs:
                log.info("stopped: AP has not risen for %d epochs", config.train.patience)
            save_run_curves(folder)
            log.info("best AP %.4f at epoch %d; run in %s", progress.best_ap, progress.best_epoch, folder.path)
        ranks.barrier()
    return folder.path


def _train_epoch(session: Session, progress: Progress, folder: RunFolder, monitor: Monitor) -> dict[str, float | None]:
    """One epoch, or what is left of it after a resume; returns its row of results.csv."""
    config, ranks = session.config.train, session.ranks
    mosaic = progress.epoch < config.epochs - config.close_mosaic
    session.sampler.set_epoch(progress.epoch, start_step=progress.epoch_step, mosaic=mosaic)
    session.model.train()
    hold_frozen_norms(session.detector)
    meter = LossMeter(progress.loss_sums, ranks.device)
    started, num_steps = time.perf_counter(), len(session.sampler)
    with _progress_bar(session, progress, num_steps) as bar:
        for whole in session.feed:
            session.schedule.apply(session.optimizer, progress.step)
            batch = monitor.batch = _rescaled(whole, session, progress.step)
            due = progress.step + 1 - progress.last_update >= session.schedule.accumulation(progress.step)
            update = due or progress.epoch_step + 1 == num_steps  # no gradients are pending at the end of an epoch
            terms = _forward_backward(session, batch, sync=update)
            meter.add(terms)
            progress.step += 1
            progress.epoch_step += 1
            monitor.add(progress.step, terms)
            if ranks.device.type == "cpu" or progress.step % _LOOK_EVERY == 0:
                bar.set_postfix(_finite(meter, progress, monitor), refresh=False)
            if update:
                norm = _update(session, with_norm=monitor.wants_norm(progress.step))
                monitor.add_norm(progress.step, norm)
                progress.last_update = progress.step
                if config.save_every and progress.step - progress.last_save >= config.save_every:
                    _finite(meter, progress, monitor)
                    monitor.read()
                    _save_last(session, progress, folder, meter)
            bar.update()
    _finite(meter, progress, monitor)
    monitor.read()
    sums = _mean(ranks.gather(meter.plain()))
    seconds = time.perf_counter() - started
    return {
        "epoch": progress.epoch + 1,
        **{f"train/{name}": value / num_steps for name, value in sums.items()},
        "lr": session.schedule.rate(progress.step - 1),
        "seconds": round(seconds, 3),
        "data_wait": round(session.feed.waited / seconds, 4),
    }


def _mean(sums: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(part[name] for part in sums) / len(sums) for name in sums[0]}


def _forward_backward(session: Session, batch: PairedBatch, *, sync: bool) -> dict[str, Tensor]:
    """Add a batch's gradients to what is there; ranks exchange them only with ``sync``."""
    model, ranks = session.model, session.ranks
    alone: AbstractContextManager[Any] = nullcontext()
    if isinstance(model, DistributedDataParallel) and not sync:
        alone = model.no_sync()
    with alone:
        with autocast(ranks.device, session.config.train.precision):
            outputs = model(batch.rgb, batch.ir)
        total, terms = session.criterion(outputs, batch)
        scaled = session.scaler.scale(total * ranks.world)  # the loss is a sum over pairs, but ranks average
        scaled.backward()  # type: ignore[no-untyped-call]
    return terms


def _update(session: Session, *, with_norm: bool) -> Tensor | None:
    """One step of the optimizer and of the moving average; returns the norm of the gradients before clipping."""
    session.scaler.unscale_(session.optimizer)
    norm: Tensor | None = None
    if session.config.train.clip_norm:
        norm = torch.nn.utils.clip_grad_norm_(session.detector.parameters(), session.config.train.clip_norm)
    elif with_norm:
        norm = torch.nn.utils.get_total_norm([p.grad for p in session.detector.parameters() if p.grad is not None])
    session.scaler.step(session.optimizer)
    session.scaler.update()
    session.optimizer.zero_grad(set_to_none=True)
    session.ranks.average_(norm_statistics(session.detector))
    session.ema.update(session.detector)  # type: ignore[no-untyped-call]
    return norm


def _rescaled(batch: PairedBatch, session: Session, step: int) -> PairedBatch:
    """The batch at this step's size of multi-scale training, the same on every rank and after every resume."""
    spread = session.config.train.multi_scale
    if not spread:
        return batch
    stride, side = session.detector.stride, batch.pixels.shape[-1]
    draw = np.random.default_rng([session.config.train.seed, step]).uniform(1 - spread, 1 + spread)
    target = max(round(side * draw / stride) * stride, stride)
    batch.pixels = functional.interpolate(batch.pixels, size=(target, target), mode="bilinear", align_corners=False)
    batch.boxes_xyxy = batch.boxes_xyxy * (target / side)
    return batch


def _finite(meter: LossMeter, progress: Progress, monitor: Monitor) -> dict[str, str]:
    """The epoch's mean losses for the progress bar.

    Raises:
        RunError: If one is not finite.
    """
    means = {name: value / max(progress.epoch_step, 1) for name, value in meter.plain().items()}
    broken = [name for name, value in means.items() if not np.isfinite(value)]
    if broken:
        raise RunError(
            f"the {' and '.join(broken)} loss is not finite at step {progress.step} (epoch {progress.epoch + 1}): "
            f"{monitor.where_not_finite()}. The checkpoints from before are whole. Try a lower train.lr0, or "
            "train.precision: fp32"
        )
    return {name: f"{value:.3f}" for name, value in means.items()}


def _evaluate_if_due(session: Session, progress: Progress) -> CocoResult | None:
    config = session.config.train
    epoch = progress.epoch + 1
    if epoch < config.epochs and not (config.val_every and epoch % config.val_every == 0):
        return None
    averaged = cast(Detector, session.ema.ema)
    found = evaluate(averaged, session.val_pairs, session.config, session.ranks, with_slices=False)
    return session.ranks.from_main(found.result if found else None)


def _end_epoch(
    session: Session, progress: Progress, folder: RunFolder, row: dict[str, float | None], result: CocoResult | None
) -> None:
    """Book the epoch and save. ``best`` goes first: a kill between the two must not lose it."""
    figures = result.figures() if result else {}
    row |= {f"val/{name}": figures.get(name) for name in ("AP", "AP50", "AP75")}
    progress.finish_epoch(row, figures.get("AP"))
    session.criterion.end_epoch()
    if session.ranks.is_main:
        losses = ", ".join(
            f"{k.removeprefix('train/')} {v:.3f}" for k, v in row.items() if k.startswith("train/") and v
        )
        scores = f"  AP {figures['AP']:.4f}, AP50 {figures['AP50']:.4f}" if result else ""
        waited = row["data_wait"] or 0.0
        scores += f"  waited {waited:.0%} for data" if waited > _WORTH_TELLING else ""
        log.info("epoch %d/%d  %s%s", progress.epoch, session.config.train.epochs, losses, scores)
        if progress.best_epoch == progress.epoch:
            save_checkpoint(folder.best, _described(session, progress) | {"ema": session.ema.ema.state_dict()})
    _save_last(session, progress, folder, None)
    if session.ranks.is_main:
        folder.write_results(progress.history)


def _save_last(session: Session, progress: Progress, folder: RunFolder, meter: LossMeter | None) -> None:
    if meter is not None:
        progress.loss_sums = _mean(session.ranks.gather(meter.plain()))
    progress.last_save = progress.step
    if session.ranks.is_main:
        state = capture(session.detector, session.ema, session.optimizer, session.scaler, progress)
        save_checkpoint(folder.last, _described(session, progress) | state)


def _described(session: Session, progress: Progress) -> dict[str, Any]:
    """What a checkpoint says of itself: enough to build the model and to know where it is from."""
    return {
        "config": plain_config(session.config),
        "names": list(session.train_pairs.names),
        "data_hash": session.train_pairs.fingerprint,
        "ir_windows": {name: list(window) for name, window in session.train_pairs.ir_windows.items()},
        "epoch": progress.epoch,
        "ap": progress.best_ap,
    }


def _create(folder: RunFolder, config: Config, ranks: Ranks) -> None:
    """Make the run's folder on rank 0; a refusal there ends every rank."""
    problem: RunError | None = None
    if ranks.is_main:
        try:
            folder.create(config)
        except RunError as error:
            problem = error
    problem = ranks.from_main(problem)
    if problem:
        raise problem


def _resumed(folder: RunFolder, session: Session, content: dict[str, Any] | None) -> Progress:
    """The state of the run's last checkpoint put back; a run that was stopped before its first one starts anew."""
    if content is None:
        log.info("resume: no checkpoint yet in %s, so it starts at the first step", folder.path)
        return Progress()
    if content["data_hash"] != session.train_pairs.fingerprint:
        raise RunError(f"{folder.path}: the training data changed since the run began; put it back or begin a new run")
    progress = restore(folder.last, content, session.detector, session.ema, session.optimizer, session.scaler)
    session.criterion.set_epoch(progress.epoch)
    if session.ranks.is_main:
        folder.write_results(progress.history)  # a kill may have come between the checkpoint and the file
        log.info("resume: epoch %d, step %d", progress.epoch + 1, progress.step)
    return progress


def _progress_bar(session: Session, progress: Progress, num_steps: int) -> tqdm[Any]:
    return tqdm(
        total=num_steps,
        initial=progress.epoch_step,
        desc=f"epoch {progress.epoch + 1}/{session.config.train.epochs}",
        unit="batch",
        leave=False,
        disable=None if session.ranks.is_main else True,  # None: silent when stderr is no terminal
    )
