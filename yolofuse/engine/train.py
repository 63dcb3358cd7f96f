"""The training loop, to be read from top to bottom."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from yolofuse.config import Config
from yolofuse.distributed.replica_check import check_replicas_equal
from yolofuse.engine.artifacts import save_run_curves
from yolofuse.engine.build import TrainContext
from yolofuse.engine.diagnostics.profiler import profile_span
from yolofuse.engine.evaluator import compute_metrics, predict_split
from yolofuse.engine.lifecycle import Run, describe, open_run, write_marker
from yolofuse.engine.nan_guard import OutOfMemory, OutOfMemoryInCollective, RollBack
from yolofuse.engine.optim import freeze_batchnorm_statistics
from yolofuse.engine.recover import end_job_out_of_memory, recover
from yolofuse.engine.step import forward_backward, rescaled, update
from yolofuse.errors import RunError
from yolofuse.eval.coco import CocoResult
from yolofuse.run.train_state import LossMeter, mean_sums
from yolofuse.types import PairedBatch

log = logging.getLogger("yolofuse")

_WORTH_TELLING = 0.05  # share of an epoch's time spent waiting for data
_LOOK_EVERY = 2.0  # seconds between looks at the loss on CUDA, where each look waits for the device


def train(config: Config, *, resume: bool | None = False, force: bool = False) -> Path:
    """Train a detector; returns the run's folder.

    Whatever ends it early, it can be gone on with from its last checkpoint, to the weights that it would have had.

    Args:
        config: The run.
        resume: Go on from the run's last checkpoint; None: if the run was begun, else begin it.
        force: Go on though config, data or code are not what they were.

    Raises:
        YolofuseError: If config, data, weights or run folder are wrong, or the loss does not stay finite.
        RunStopped: If SIGTERM, SIGUSR1 or Ctrl-C ended it; where it stood is saved.
    """
    with open_run(config, resume=resume, force=force) as run:
        while run is not None and run.should_continue:
            back: RollBack | None = None
            try:
                row = _train_epoch(run)
                _end_epoch(run, row, _evaluate_if_due(run))
            except RollBack as reason:
                back = reason.with_traceback(None)  # whose frames hold on to memory
            except OutOfMemoryInCollective as reason:
                end_job_out_of_memory(run, reason)
            except torch.OutOfMemoryError as reason:  # in an update, or for the batch that comes next
                if run.session.ranks.world > 1:
                    end_job_out_of_memory(run, reason)
                back = OutOfMemory()
            if back is not None:
                recover(run, back)
        if run is not None:
            _finish(run)
    return config.run_dir


def _train_epoch(run: Run) -> dict[str, float | None]:
    """The steps of an epoch, or what is left of them after a resume; returns the epoch's row of results.csv."""
    session, progress = run.session, run.progress
    num_steps = len(session.sampler)
    run.start_prefetcher(progress.epoch, progress.epoch_step)
    session.model.train()
    freeze_batchnorm_statistics(session.detector)
    meter = LossMeter(progress.sums_of(session.ranks.rank, session.ranks.world), session.ranks.device)
    started = looked = time.perf_counter()
    batches = iter(session.prefetcher)
    with _progress_bar(run, num_steps) as bar:
        while True:
            with profile_span("data"):
                batch = next(batches, None)
            if batch is None:
                break
            _step(run, batch, meter, is_last=progress.epoch_step + 1 == num_steps)
            if session.ranks.device.type == "cpu" or time.perf_counter() - looked > _LOOK_EVERY:
                looked = time.perf_counter()
                bar.set_postfix({k: f"{v:.3f}" for k, v in meter.means().items()}, refresh=False)
            bar.update()
            run.profile.step()
    run.guard.check()
    run.monitor.read()
    check_replicas_equal(_replicas(session), session.ranks)
    if _is_due(run):
        run.save(meter)  # a kill while it is evaluated must not cost the epoch
    seconds = time.perf_counter() - started
    means = mean_sums(session.ranks.gather(meter.means()))
    return {
        "epoch": progress.epoch + 1,
        **{f"train/{name}": value for name, value in means.items()},
        "lr": session.schedule.rate(progress.step - 1),
        "seconds": round(seconds, 3),
        "data_wait": round(session.prefetcher.wait_s / seconds, 4),
    }


def _step(run: Run, whole: PairedBatch, meter: LossMeter, *, is_last: bool) -> None:
    """One batch; with it an update of the weights where enough of them have been seen, and whatever is due then."""
    session, progress, config = run.session, run.progress, run.session.config.train
    session.schedule.apply(session.optimizer, progress.step)
    due = progress.step + 1 - progress.last_update >= session.schedule.accumulation(progress.step)
    due = due or is_last  # no gradients are pending at the end of an epoch
    if progress.step not in progress.skipped:
        batch = run.monitor.batch = rescaled(whole, session, progress.step)
        terms, bad = forward_backward(session, batch, sync=due, parts=run.micro_batches)
        meter.add(terms)
        run.monitor.add(progress.step + 1, terms)
        run.bad = bad if run.bad is None else run.bad | bad
    progress.step += 1
    progress.epoch_step += 1
    run.watchdog.beat()
    run.checkpointer.raise_if_failed()
    run.write_status("training")
    if not due:
        return
    if run.bad is not None:
        norm = update(session, run.guard, run.bad, range(progress.last_update, progress.step))
        run.bad = None
        run.monitor.add_norm(progress.step, norm)
        if config.check_ranks_every and session.ema.updates % config.check_ranks_every == 0:
            check_replicas_equal(_replicas(session), session.ranks)
    progress.last_update = progress.step
    every = config.save_every
    if session.consensus.stop or session.consensus.save or (every and progress.step - progress.last_save >= every):
        run.guard.check()
        run.monitor.read()
        run.save(meter)
    run.raise_if_stopped()


def _replicas(session: TrainContext) -> dict[str, nn.Module]:
    return {"model": session.detector, "average": session.ema.ema}


def _is_due(run: Run) -> bool:
    """Whether the epoch that was just trained is evaluated."""
    config, epoch = run.session.config.train, run.progress.epoch + 1
    return epoch == config.epochs or (config.val_every > 0 and epoch % config.val_every == 0)


def _evaluate_if_due(run: Run) -> CocoResult | None:
    """Judge the average; the training loader's workers begin with the next epoch meanwhile."""
    session, progress = run.session, run.progress
    if not _is_due(run):
        return None
    if progress.epoch + 1 < session.config.train.epochs:
        run.start_prefetcher(progress.epoch + 1, 0)
    if session.config.data.workers and not session.val_source.prefetcher.is_open:
        run.checkpointer.flush()  # workers are about to fork, and must not do so amid writing

    def between() -> None:
        run.watchdog.beat()
        run.write_status("validating")
        session.consensus.exchange()
        run.raise_if_stopped()

    with profile_span("evaluation"):
        try:
            found = predict_split(session.ema.ema, session.val_source, session.config, session.ranks, between)
        except torch.OutOfMemoryError as error:  # pieces would not help here
            raise RunError(
                f"out of memory while evaluating; go on with --resume {run.folder.path} --force and a smaller val.batch"
            ) from error
        with run.watchdog.paused():  # rank 0 scores, the others wait
            judged = compute_metrics(found, session.val_pairs, session.config, session.ranks, with_slices=False)
            return session.ranks.from_main(judged.result if judged else None)


def _end_epoch(run: Run, row: dict[str, float | None], result: CocoResult | None) -> None:
    """Book the epoch and save. ``best`` goes first: a kill between the two must not lose it."""
    session, progress = run.session, run.progress
    figures = result.figures() if result else {}
    row |= {f"val/{name}": figures.get(name) for name in ("AP", "AP50", "AP75")}
    progress.finish_epoch(row, figures.get("AP"))
    session.criterion.end_epoch()
    if session.ranks.is_main:
        log.info("epoch %d/%d  %s", progress.epoch, session.config.train.epochs, _in_words(row))
        if progress.best_epoch == progress.epoch:
            run.checkpointer.save_best(describe(run) | {"ema": session.ema.ema.state_dict()})
    run.save()
    if session.ranks.is_main:
        run.folder.write_results(progress.history)
    run.log_scalars(row, progress.epoch)


def _in_words(row: dict[str, float | None]) -> str:
    words = ", ".join(f"{k.removeprefix('train/')} {v:.3f}" for k, v in row.items() if k.startswith("train/") and v)
    if row["val/AP"] is not None:
        words += f"  AP {row['val/AP']:.4f}, AP50 {row['val/AP50']:.4f}"
    waited = row["data_wait"] or 0.0
    return words + (f"  waited {waited:.0%} for data" if waited > _WORTH_TELLING else "")


def _finish(run: Run) -> None:
    """Wait for the disk, draw the curves, and say that it is done."""
    progress, folder = run.progress, run.folder
    if run.session.ranks.is_main:
        run.checkpointer.flush()
        if progress.epoch < run.session.config.train.epochs:
            log.info("stopped: AP has not risen for %d epochs", run.session.config.train.patience)
        save_run_curves(folder)
        write_marker(run, folder.finished)
        run.write_status("finished")
        run.log_event("finished")
        log.info("best AP %.4f at epoch %d; run in %s", progress.best_ap, progress.best_epoch, folder.path)
    run.session.ranks.barrier()


def _progress_bar(run: Run, num_steps: int) -> tqdm[Any]:
    return tqdm(
        total=num_steps,
        initial=run.progress.epoch_step,
        desc=f"epoch {run.progress.epoch + 1}/{run.session.config.train.epochs}",
        unit="batch",
        leave=False,
        disable=None if run.session.ranks.is_main else True,  # None: silent when stderr is no terminal
    )
