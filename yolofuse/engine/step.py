"""Run one training step: forward, loss, the ranks' message, backward, and the update of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from yolofuse.batch import PairedBatch
from yolofuse.distributed.ranks import Ranks, batchnorm_statistics
from yolofuse.engine.build import TrainContext, wrap_for_ranks
from yolofuse.engine.diagnostics.early_steps import Monitor, open_monitor
from yolofuse.engine.diagnostics.profiler import profile_span
from yolofuse.engine.nan_guard import NanGuard, OutOfMemory
from yolofuse.engine.optim import clip_gradients, gradient_norm, skip_if
from yolofuse.engine.precision import autocast, resolve_precision


@dataclass
class StepState:
    """What changes from step to step outside of checkpoints; a rollback replaces it whole.

    Attributes:
        model: The detector, wrapped where there are several ranks.
        scaler: Of the gradients; does nothing unless training in fp16.
        monitor: Records losses and gradient norms of the first steps.
        micro_batches: How many parts each batch is computed in, one after the other, to save memory.
        non_finite: One bool on the device: whether a loss since the last update was not finite.
        guard: Finds updates that are not finite.
        out_of_memory: Whether memory ran out since the ranks' last message.
    """

    model: nn.Module
    scaler: torch.amp.GradScaler
    monitor: Monitor
    micro_batches: int
    non_finite: Tensor
    guard: NanGuard = field(default_factory=NanGuard)
    out_of_memory: bool = False


def new_scaler(context: TrainContext) -> torch.amp.GradScaler:
    """Create the gradient scaler of a run; it does nothing unless training in fp16."""
    device = context.ranks.device
    scaled = resolve_precision(device, context.config.train.precision) == "fp16"
    return torch.amp.GradScaler(device.type, enabled=scaled)


def new_step_state(
    context: TrainContext, scaler: torch.amp.GradScaler, first_steps: Path, step: int, micro_batches: int
) -> StepState:
    """Create the state between two steps, with no gradients pending.

    Args:
        context: The fixed parts of the run.
        scaler: As it was restored, or new.
        first_steps: File of the monitor.
        step: Number of steps made so far.
        micro_batches: How many parts each batch is computed in.
    """
    return StepState(
        model=wrap_for_ranks(context.detector, context.ranks),
        scaler=scaler,
        monitor=open_monitor(context, first_steps, step, scaled=scaler.is_enabled()),
        micro_batches=micro_batches,
        non_finite=torch.zeros((), dtype=torch.bool, device=context.ranks.device),
    )


def train_step(
    context: TrainContext, state: StepState, batch: PairedBatch, number: int, update_of: range | None
) -> dict[str, Tensor]:
    """Run step ``number`` (from 1) on this rank; return the loss terms per pair.

    Gradients add up over steps. ``update_of`` are the steps, counted from 0, whose summed gradients this call applies
    to the weights; None: gradients are only added up.

    Raises:
        NotFinite: If an update is not finite; on a GPU the one before.
        OutOfMemory: On every rank, if one has too little memory for its part and the others do not wait for it.
        torch.OutOfMemoryError: On this rank alone, if it has too little memory and the others may wait for it.
    """
    config, ranks, criterion, optimizer = context.config.train, context.ranks, context.criterion, context.optimizer
    state.monitor.batch, state.monitor.batch_step = batch, number - 1
    parts = batch.split(state.micro_batches)
    terms: dict[str, Tensor] = {}
    for index, part in enumerate(parts):
        sync = update_of is not None and index + 1 == len(parts)
        with _gradient_sync(state.model, sync):
            with _flag_out_of_memory(state, ranks, others_wait=config.sync_bn):
                with profile_span("forward"), autocast(ranks.device, config.precision):
                    outputs = state.model(part.rgb, part.ir)
                with profile_span("loss"):
                    sums = criterion.branch_sums(outputs, part)
            if context.consensus.exchange(out_of_memory=state.out_of_memory):  # the ranks' one message
                raise OutOfMemory
            with profile_span("loss"):
                loss = criterion.reduce(sums, ranks.sum_)
            with profile_span("backward"), _flag_out_of_memory(state, ranks, others_wait=sync or config.sync_bn):
                scaled = state.scaler.scale(loss.total * ranks.world)  # the loss is a sum, but ranks average gradients
                scaled.backward()  # type: ignore[no-untyped-call]
        terms = _add_terms(terms, loss.terms, len(part) / len(batch))
        state.non_finite |= loss.non_finite
    state.monitor.add(number, terms)
    if update_of is None:
        return terms

    state.guard.check()  # the update before
    with profile_span("optimizer"):
        state.scaler.unscale_(optimizer)
        trained = [p for p in context.detector.parameters() if p.grad is not None]
        norm = gradient_norm(trained)
        if not state.scaler.is_enabled():  # which answers gradients that overflow by itself
            state.non_finite |= ~norm.isfinite()
        state.guard.record(state.non_finite, update_of)
        clip_gradients(trained, norm, config.clip_norm)
        skip_if(optimizer, state.non_finite)
        state.scaler.step(optimizer)
        state.scaler.update()
        optimizer.zero_grad(set_to_none=True)
    with profile_span("ema"):
        ranks.average_(batchnorm_statistics(context.detector))
        context.ema.update(context.detector)
    state.non_finite = torch.zeros_like(state.non_finite)
    state.monitor.add_norm(number, norm)
    return terms


def _add_terms(sums: dict[str, Tensor], terms: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    return {name: sums[name] + value * share if name in sums else value * share for name, value in terms.items()}


def _gradient_sync(model: nn.Module, sync: bool) -> AbstractContextManager[Any]:
    """Return the context in which ranks exchange gradients, or keep adding up their own."""
    if isinstance(model, DistributedDataParallel) and not sync:
        return model.no_sync()
    return nullcontext()


@contextmanager
def _flag_out_of_memory(state: StepState, ranks: Ranks, *, others_wait: bool) -> Iterator[None]:
    """Turn a lack of memory into a flag for the ranks' next message, where they do not wait for this rank before it.

    Where there is no other rank, or they wait in a collective, the error is raised.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        if ranks.world == 1 or others_wait:
            raise
        state.out_of_memory = True


def rescale(batch: PairedBatch, context: TrainContext, step: int) -> PairedBatch:
    """Resize a batch to the step's size of multi-scale training, the same on every rank and after every resume."""
    scale_range = context.config.train.multi_scale
    if not scale_range:
        return batch
    stride, side = context.detector.stride, batch.pixels.shape[-1]
    draw = np.random.default_rng([context.config.train.seed, step]).uniform(1 - scale_range, 1 + scale_range)
    target = max(round(side * draw / stride) * stride, stride)
    pixels = functional.interpolate(batch.pixels, size=(target, target), mode="bilinear", align_corners=False)
    return batch.scaled(pixels, target / side)
