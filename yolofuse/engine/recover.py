"""Ways on from a step that went wrong: back to the last checkpoint, without the bad batch or with smaller pieces."""

from __future__ import annotations

import logging
from typing import NoReturn

import torch

from yolofuse.engine.build import distribute
from yolofuse.engine.diagnostics.early_steps import open_monitor
from yolofuse.engine.lifecycle import Run, position, write_marker
from yolofuse.engine.nan_guard import NanGuard, NotFinite, OutOfMemoryInCollective, RollBack
from yolofuse.errors import RunError
from yolofuse.run.checkpointer import newest_checkpoint
from yolofuse.run.status_writer import append_event
from yolofuse.run.train_state import RESTORED, restore
from yolofuse.weights import load_checkpoint

log = logging.getLogger("yolofuse")


def recover(run: Run, reason: RollBack) -> None:
    """Put the run back to where it can go on, on every rank alike.

    Raises:
        RunError: If that was tried often enough.
    """
    if isinstance(reason, NotFinite):
        _leave_out(run, reason)
    else:
        _split_batches(run)


def _leave_out(run: Run, reason: NotFinite) -> None:
    """Go back, and leave out the batches whose loss or gradients were not finite."""
    before, most = run.progress, run.session.config.train.nan_rollbacks
    steps = f"step {reason.steps.start + 1}"
    if len(reason.steps) > 1:
        steps += f" to {reason.steps.stop}"
    if before.rollbacks >= most:
        so_far = f", having gone back {before.rollbacks} times" if most else ""
        raise RunError(
            f"loss or gradients are not finite in {steps} (epoch {before.epoch + 1}){so_far}: "
            f"{_where_it_began(run, reason)}. The checkpoints from before are whole. Try a lower train.lr0, or "
            "train.precision: fp32"
        )
    where_it_began = _where_it_began(run, reason)
    _go_back(run)
    run.progress.skipped = sorted({*before.skipped, *reason.steps})
    run.progress.rollbacks = before.rollbacks + 1
    log.warning(
        "warning: loss or gradients were not finite in %s: %s; back at step %d, going on without that batch (%d of %d)",
        steps,
        where_it_began,
        run.progress.step,
        run.progress.rollbacks,
        most,
    )
    run.log_event("rolled_back", reached=before.step, left_out=steps, why=where_it_began)


def _where_it_began(run: Run, reason: NotFinite) -> str:
    """In words, where values stop being finite; a GPU tells of it one update later, when the batch is gone."""
    if run.progress.step > reason.steps.stop:
        return "found one update later, so its batch is not there any more (on the CPU the layer would be told)"
    return run.monitor.where_not_finite()


def _split_batches(run: Run) -> None:
    """Go back, and compute every batch in twice as many pieces, whose gradients add up."""
    session, before = run.session, run.progress
    run.micro_batches = _more_parts(run)
    session.ranks.run_on_main(lambda: run.folder.write_micro_batches(run.micro_batches))
    _go_back(run)
    log.warning("warning: out of memory at step %d; %s", before.step, _in_pieces(run, run.progress.step))
    run.log_event("out_of_memory", reached=before.step, parts=run.micro_batches)


def end_job_out_of_memory(run: Run, reason: OutOfMemoryInCollective | torch.OutOfMemoryError) -> NoReturn:
    """End this rank, and with it the job, so that the next one begins with smaller pieces.

    Raises:
        RunError: Always.
    """
    parts = _more_parts(run)
    run.folder.write_micro_batches(parts)
    write_marker(run, run.folder.preempted, signal="out of memory")
    append_event(run.folder.path, "out_of_memory", **position(run), parts=parts)
    raise RunError(
        f"rank {run.session.ranks.rank} ran out of memory while the others waited for it; start the run "
        f"again with --resume {run.folder.path}: each batch will then be computed in {parts} pieces"
    ) from reason


def _more_parts(run: Run) -> int:
    """Twice as many pieces, up to one for each pair of a rank.

    Raises:
        RunError: If they are that small already.
    """
    most = run.session.config.train.batch // run.session.ranks.world
    if run.micro_batches >= most:
        raise RunError(
            "out of memory even with one pair at a time; take a lower train.imgsz, a smaller model.base, or another GPU"
        )
    return min(2 * run.micro_batches, most)


def _in_pieces(run: Run, step: int) -> str:
    return (
        f"back at step {step}, each batch is now computed in {run.micro_batches} pieces whose gradients add up; a "
        "train.batch of fewer pairs would take fewer, larger ones"
    )


def _go_back(run: Run) -> None:
    """Put the state of the last checkpoint back.

    Raises:
        DamagedError: If there is none that is whole.
    """
    session, folder = run.session, run.folder
    session.ranks.run_on_main(run.checkpointer.flush)
    path, _ = session.ranks.run_on_main(lambda: newest_checkpoint(folder))
    assert path is not None  # there is one from before the first step
    session.optimizer.zero_grad(set_to_none=True)
    session.model = distribute(session.detector, session.ranks)  # a step that broke off has left the old one waiting
    if session.ranks.device.type == "cuda":
        torch.cuda.empty_cache()
    # A scaler whose step broke off would not begin another one.
    session.scaler = torch.amp.GradScaler(session.ranks.device.type, enabled=session.scaler.is_enabled())
    content = load_checkpoint(path, needs=RESTORED)
    run.progress = restore(path, content, session.detector, session.ema, session.optimizer, session.scaler)
    session.criterion.set_epoch(run.progress.epoch)
    run.bad, run.prefetcher_at, run.guard = None, None, NanGuard()
    run.monitor = open_monitor(session, folder.first_steps, run.progress.step)
