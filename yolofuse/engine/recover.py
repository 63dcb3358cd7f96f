"""Go back to the last checkpoint after a step that failed, without the bad batch or with smaller micro-batches."""

from __future__ import annotations

import logging
from typing import NoReturn

import torch

from yolofuse.engine.active_run import ActiveRun, position, write_marker
from yolofuse.engine.lifecycle import restore_context
from yolofuse.engine.nan_guard import NotFinite, RollBack
from yolofuse.engine.step import new_scaler, new_step_state
from yolofuse.errors import RunError
from yolofuse.run.checkpointer import newest_checkpoint
from yolofuse.run.events import append_event
from yolofuse.run.train_state import RESTORED
from yolofuse.weights import load_checkpoint

log = logging.getLogger("yolofuse")


def recover(run: ActiveRun, reason: RollBack) -> None:
    """Bring the run back to a state from which it can continue, on every rank alike.

    Raises:
        RunError: If that was tried often enough.
    """
    if isinstance(reason, NotFinite):
        _skip_batches(run, reason)
    else:
        _split_batches(run)


def _skip_batches(run: ActiveRun, reason: NotFinite) -> None:
    """Go back, and skip the batches whose loss or gradients were not finite."""
    before, most = run.state, run.context.config.train.nan_rollbacks
    steps = f"step {reason.steps.start + 1}"
    if len(reason.steps) > 1:
        steps += f" to {reason.steps.stop}"
    origin = _locate(run, reason)
    if before.rollbacks >= most:
        so_far = f", after {before.rollbacks} rollbacks" if most else ""
        raise RunError(
            f"loss or gradients are not finite in {steps} (epoch {before.epoch + 1}){so_far}: {origin}. The "
            "checkpoints from before are intact. Try a lower train.lr0, or train.precision: fp32"
        )
    _roll_back(run, run.step.micro_batches)
    run.state.skipped = sorted({*before.skipped, *reason.steps})
    run.state.rollbacks = before.rollbacks + 1
    log.warning(
        "warning: loss or gradients were not finite in %s: %s; back at step %d, continuing without that batch "
        "(%d of %d)",
        steps,
        origin,
        run.state.step,
        run.state.rollbacks,
        most,
    )
    run.log_event("rolled_back", reached=max(before.step, reason.steps.stop), left_out=steps, why=origin)


def _locate(run: ActiveRun, reason: NotFinite) -> str:
    """Describe where values stop being finite; a GPU reports it one update later, when the batch is gone."""
    if run.step.monitor.batch_step not in reason.steps:
        return "found one update later, when its batch was gone (on the CPU the layer would be named)"
    return run.step.monitor.where_not_finite()


def _split_batches(run: ActiveRun) -> None:
    """Go back, and compute every batch in twice as many micro-batches, whose gradients add up."""
    before, micro_batches = run.state, _more_micro_batches(run)
    run.context.ranks.run_on_main(lambda: run.folder.write_micro_batches(micro_batches))
    _roll_back(run, micro_batches)
    log.warning(
        "warning: out of memory at step %d; back at step %d, each batch is now computed in %d micro-batches whose "
        "gradients add up; a train.batch of fewer pairs would take fewer, larger ones",
        before.step,
        run.state.step,
        micro_batches,
    )
    run.log_event("out_of_memory", reached=before.step, parts=micro_batches)


def end_job_out_of_memory(run: ActiveRun, reason: torch.OutOfMemoryError) -> NoReturn:
    """End this rank, and with it the job, so that the next one starts with smaller micro-batches.

    Raises:
        RunError: Always.
    """
    micro_batches = _more_micro_batches(run)
    run.folder.write_micro_batches(micro_batches)
    write_marker(run, run.folder.preempted, signal="out of memory")
    append_event(run.folder.path, "out_of_memory", **position(run), parts=micro_batches)
    raise RunError(
        f"rank {run.context.ranks.rank} ran out of memory while the others waited for it; start the run again with "
        f"--resume {run.folder.path}: each batch will then be computed in {micro_batches} micro-batches"
    ) from reason


def _more_micro_batches(run: ActiveRun) -> int:
    """Return twice as many micro-batches, up to one for each pair of a rank.

    Raises:
        RunError: If they hold one pair each already.
    """
    most = run.context.config.train.batch // run.context.ranks.world
    if run.step.micro_batches >= most:
        raise RunError(
            "out of memory even with one pair at a time; use a lower train.imgsz, a smaller model.base, or another GPU"
        )
    return min(2 * run.step.micro_batches, most)


def _roll_back(run: ActiveRun, micro_batches: int) -> None:
    """Restore the last checkpoint, and replace everything that the failed step may have left unusable.

    Raises:
        DamagedError: If no checkpoint is intact.
    """
    context, folder = run.context, run.folder
    context.ranks.run_on_main(run.checkpointer.flush)
    path, _ = context.ranks.run_on_main(lambda: newest_checkpoint(folder))
    assert path is not None  # there is one from before the first step
    context.optimizer.zero_grad(set_to_none=True)
    if context.ranks.device.type == "cuda":
        torch.cuda.empty_cache()
    scaler = new_scaler(context)  # one whose step failed would not start another
    run.state = restore_context(context, scaler, path, load_checkpoint(path, needs=RESTORED))
    run.step = new_step_state(context, scaler, folder.first_steps, run.state.step, micro_batches)
    context.train_loader.restart_next()
