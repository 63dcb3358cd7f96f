"""One step of training: forward, loss and backward; and one update of the weights."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from yolofuse.distributed.ranks import batchnorm_statistics
from yolofuse.engine.build import TrainContext
from yolofuse.engine.diagnostics.profiler import profile_span
from yolofuse.engine.evaluator import autocast
from yolofuse.engine.nan_guard import NanGuard, OutOfMemoryInCollective
from yolofuse.engine.optim import skip_if
from yolofuse.types import PairedBatch


def forward_backward(
    session: TrainContext, batch: PairedBatch, *, sync: bool, parts: int = 1
) -> tuple[dict[str, Tensor], Tensor]:
    """Add a batch's gradients to what is there.

    Args:
        session: The parts of the run.
        batch: On the device.
        sync: Whether ranks exchange the gradients.
        parts: How many pieces the batch is computed in, one after the other, to save memory.

    Returns:
        The loss terms per pair, and whether the loss was not finite on some rank.

    Raises:
        OutOfMemory: On every rank, if one has not enough for its piece.
        OutOfMemoryInCollective: On this rank, if it has not, and the others wait for it already.
    """
    pieces = batch.split(parts)
    sums: dict[str, Tensor] = {}
    bad: Tensor | None = None
    for number, piece in enumerate(pieces):
        exchange = sync and number == len(pieces) - 1
        with _alone(session, unless=exchange):
            total, terms = _loss(session, piece)
            _backward(session, total * session.ranks.world, exchange)  # the loss is a sum, but ranks average
        for name, value in terms.items():
            share = value * (len(piece) / len(batch))
            sums[name] = sums[name] + share if name in sums else share
        bad = session.criterion.bad if bad is None else bad | session.criterion.bad
    assert bad is not None
    return sums, bad


def _alone(session: TrainContext, *, unless: bool) -> AbstractContextManager[Any]:
    """Keep gradients from being exchanged: they go on adding up."""
    if isinstance(session.model, DistributedDataParallel) and not unless:
        return session.model.no_sync()
    return nullcontext()


def _loss(session: TrainContext, batch: PairedBatch) -> tuple[Tensor, dict[str, Tensor]]:
    agreement = session.consensus
    messages = agreement.messages
    try:
        with profile_span("forward"), autocast(session.ranks.device, session.config.train.precision):
            outputs = session.model(batch.rgb, batch.ir)
        with profile_span("loss"):
            total, terms = session.criterion(outputs, batch, batch.on_host)
        return total, terms
    except torch.OutOfMemoryError as error:
        if session.ranks.world > 1 and (session.config.train.sync_bn or agreement.messages > messages):
            raise OutOfMemoryInCollective from error
    agreement.out_of_memory = True  # outside of the handler, whose traceback holds on to the memory
    agreement.exchange()
    raise AssertionError("the message above tells every rank to go back")


def _backward(session: TrainContext, total: Tensor, exchange: bool) -> None:
    try:
        with profile_span("backward"):
            session.scaler.scale(total).backward()  # type: ignore[no-untyped-call]
        return
    except torch.OutOfMemoryError as error:
        if session.ranks.world > 1 and (exchange or session.config.train.sync_bn):
            raise OutOfMemoryInCollective from error
    session.consensus.out_of_memory = True  # told with the next message, before which nobody waits for anybody
    if session.ranks.world == 1:
        session.consensus.exchange()


def update(session: TrainContext, guard: NanGuard, bad: Tensor, steps: range) -> Tensor:
    """One step of the optimizer and of the moving average; returns the norm of the gradients before clipping.

    Args:
        session: The parts of the run.
        guard: Looks after the update before, and this one.
        bad: Whether the loss of one of ``steps`` was not finite.
        steps: Those whose gradients have added up.

    Raises:
        NotFinite: If an update was not fit to be made.
    """
    guard.check()
    optimizer, scaler = session.optimizer, session.scaler
    clip = session.config.train.clip_norm
    with profile_span("optimizer"):
        scaler.unscale_(optimizer)
        trained = [p for p in session.detector.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None])
        if not scaler.is_enabled():  # which has an answer of its own to gradients that overflow
            bad = bad | ~norm.isfinite()
        guard.record(bad, steps)
        if clip and (norm.is_cuda or norm > clip):  # a GPU is not asked: there they are multiplied by one
            torch.nn.utils.clip_grads_with_norm_(trained, clip, norm)
        skip_if(optimizer, bad)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
    with profile_span("ema"):
        session.ranks.average_(batchnorm_statistics(session.detector))
        session.ema.update(session.detector)
    return norm


def rescaled(batch: PairedBatch, session: TrainContext, step: int) -> PairedBatch:
    """The batch at a step's size of multi-scale training, the same on every rank and after every resume."""
    spread = session.config.train.multi_scale
    if not spread:
        return batch
    stride, side = session.detector.stride, batch.pixels.shape[-1]
    draw = np.random.default_rng([session.config.train.seed, step]).uniform(1 - spread, 1 + spread)
    target = max(round(side * draw / stride) * stride, stride)
    pixels = functional.interpolate(batch.pixels, size=(target, target), mode="bilinear", align_corners=False)
    return batch.scaled(pixels, target / side)
