"""Train a detector: the loop over epochs and steps, from top to bottom."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from yolofuse.config import Config
from yolofuse.distributed.replica_check import check_replicas_equal
from yolofuse.engine.active_run import ActiveRun, checkpoint_header, write_marker
from yolofuse.engine.build import TrainContext
from yolofuse.engine.callbacks import Callback
from yolofuse.engine.diagnostics.profiler import profile_span
from yolofuse.engine.evaluate_split import compute_metrics, predict_split
from yolofuse.engine.lifecycle import Resume, open_run
from yolofuse.engine.nan_guard import OutOfMemory, RollBack
from yolofuse.engine.optim import freeze_batchnorm_statistics
from yolofuse.engine.peak_memory import take_peak_memory
from yolofuse.engine.recover import end_job_out_of_memory, recover
from yolofuse.engine.step import rescale, train_step
from yolofuse.errors import RunError, RunStopped
from yolofuse.run.best_weights import require_best
from yolofuse.run.train_state import LossMeter, mean_sums
from yolofuse.tables import format_duration
from yolofuse.viz.axes import drawing
from yolofuse.viz.curves import save_curves

log = logging.getLogger("yolofuse")

_METRICS = ("AP", "AP50", "AP75")
_WAIT_WORTH_LOGGING = 0.05  # share of an epoch's time spent waiting for data
_REFRESH_S = 2.0  # seconds between two updates of the progress bar's losses on CUDA, each of which waits for the device


def train(config: Config, *, resume: Resume = "never", force: bool = False, callbacks: Sequence[Callback] = ()) -> Path:
    """Train a detector; return the run's folder.

    A run that ended early, for any reason, can be resumed from its last checkpoint and ends with the same weights.

    Args:
        config: The run.
        resume: ``always`` resumes the run, ``auto`` resumes it if it was started before, ``never`` starts it.
        force: Resume although config, data or code changed.
        callbacks: Called on rank 0 while it trains.

    Raises:
        YolofuseError: If config, data, weights or run folder are wrong, or the loss does not stay finite.
        RunStopped: If SIGTERM, SIGUSR1 or Ctrl-C ended it; its state is saved.
    """
    with open_run(config, resume=resume, force=force, callbacks=callbacks) as run:
        while run is not None and run.should_continue:
            reason: RollBack | None = None
            try:
                if run.context.config.train.score_start is True and not run.state.step and not run.state.history:
                    score_start(run)
                row = train_epoch(run)
                finish_epoch(run, row, evaluate_epoch(run) if _is_evaluated(run) else {})
            except RollBack as error:
                reason = error.with_traceback(None)  # whose frames keep tensors alive
            except torch.OutOfMemoryError as error:
                if run.context.ranks.world > 1:
                    end_job_out_of_memory(run, error)
                reason = OutOfMemory()
            if reason is not None:
                recover(run, reason)
        if run is not None:
            _finish(run)
    return config.run_dir


def score_start(run: ActiveRun) -> None:
    """Evaluate the model before its first step and record that as epoch 0, which training has to beat."""
    metrics = evaluate_epoch(run, next_epoch=0)
    row: dict[str, float | None] = {"epoch": 0, **_val_columns(metrics)}
    run.state.begin(row, metrics["AP"])
    if run.context.ranks.is_main:
        log.info("before training%s", _format_ap(row))
        run.checkpointer.save_best(checkpoint_header(run) | {"ema": run.context.ema.ema.state_dict()})
    run.save()
    if run.context.ranks.is_main:
        run.folder.write_results(run.state.history)
    for callback in run.callbacks:
        callback.on_epoch(run, run.state.history[-1])


def _val_columns(metrics: Mapping[str, float | None]) -> dict[str, float | None]:
    return {f"val/{name}": metrics.get(name) for name in dict.fromkeys((*_METRICS, *metrics))}


def train_epoch(run: ActiveRun) -> dict[str, float | None]:
    """Train for an epoch, or for what is left of it after a resume; return its row of results.csv."""
    context, state, loader = run.context, run.state, run.context.train_loader
    ranks, schedule = context.ranks, context.schedule
    loader.start(state.epoch, state.epoch_step)
    run.step.model.train()
    freeze_batchnorm_statistics(context.detector, everywhere=context.config.train.freeze_bn)
    meter = LossMeter(state.sums_of(ranks.rank, ranks.world), ranks.device)
    started = refreshed = time.perf_counter()
    batches = iter(loader)
    with _progress_bar(run) as bar:
        while True:
            with profile_span("data"), _saving_if_stopped(run, meter):
                batch = next(batches, None)
            if batch is None:
                break
            schedule.apply(context.optimizer, state.step)
            pending = range(state.last_update, state.step + 1)  # steps whose gradients are not applied yet
            is_due = len(pending) >= schedule.accumulation(state.step) or state.epoch_step + 1 == len(loader)
            if state.step not in state.skipped:
                batch = rescale(batch, context, state.step)
                terms = train_step(context, run.step, batch, state.step + 1, pending if is_due else None)
                meter.add(terms)
                for callback in run.callbacks:
                    callback.on_step(run, terms)
            _finish_step(run, meter, is_update=is_due)
            if ranks.device.type == "cpu" or time.perf_counter() - refreshed > _REFRESH_S:
                refreshed = time.perf_counter()
                bar.set_postfix({name: f"{mean:.3f}" for name, mean in meter.means().items()}, refresh=False)
            bar.update()
            run.profile.step()
    run.step.guard.check()
    run.step.monitor.read()
    _check_replicas(context)
    if _is_evaluated(run):
        run.save(meter)  # a kill during the evaluation must not cost the epoch
    seconds = time.perf_counter() - started
    return {
        "epoch": state.epoch + 1,
        **{f"train/{name}": mean for name, mean in mean_sums(ranks.gather(meter.means())).items()},
        "lr": schedule.rate(state.step - 1),
        "seconds": round(seconds, 3),
        "data_wait": round(loader.prefetcher.wait_s / seconds, 4),
        **take_peak_memory(ranks.device),
    }


@contextmanager
def _saving_if_stopped(run: ActiveRun, meter: LossMeter) -> Iterator[None]:
    """Save the state if the block is ended by a request to stop; several ranks can't, nor can a pending gradient."""
    try:
        yield
    except RunStopped:
        if run.context.ranks.world == 1 and run.state.last_update == run.state.step != run.state.last_save:
            run.step.guard.check()
            run.save(meter)
        raise


def _finish_step(run: ActiveRun, meter: LossMeter, *, is_update: bool) -> None:
    """Count a step and report it; after an update also compare the ranks, save and stop, where that is due."""
    context, state, config = run.context, run.state, run.context.config.train
    state.step += 1
    state.epoch_step += 1
    run.watchdog.beat()
    run.checkpointer.raise_if_failed()
    run.write_status("training")
    if not is_update:
        return
    every = config.check_ranks_every
    if state.step - 1 not in state.skipped and every and context.ema.updates % every == 0:
        _check_replicas(context)
    state.last_update = state.step
    is_due = config.save_every and state.step - state.last_save >= config.save_every
    if context.consensus.stop or context.consensus.save or is_due:
        run.step.guard.check()
        run.step.monitor.read()
        run.save(meter)
    run.raise_if_stopped()


def _check_replicas(context: TrainContext) -> None:
    check_replicas_equal({"model": context.detector, "average": context.ema.ema}, context.ranks)


def _is_evaluated(run: ActiveRun) -> bool:
    """Return whether the epoch that was just trained is evaluated."""
    config, epoch = run.context.config.train, run.state.epoch + 1
    return epoch == config.epochs or (config.val_every > 0 and epoch % config.val_every == 0)


def evaluate_epoch(run: ActiveRun, next_epoch: int | None = None) -> dict[str, float | None]:
    """Evaluate the EMA, while the training loader's workers begin with the next epoch; return AP and loss terms.

    AP is None where it is undefined, because the split has no box: that is no score.

    Args:
        run: The run.
        next_epoch: Counted from 0; by default the one after the current one.

    Raises:
        RunError: If memory runs out, which micro-batches would not change.
        RunStopped: If any rank was asked to stop.
    """
    context, config = run.context, run.context.config
    upcoming = run.state.epoch + 1 if next_epoch is None else next_epoch
    if upcoming < config.train.epochs:
        context.train_loader.start(upcoming, 0)
    if config.data.workers and not context.val_loader.prefetcher.is_open:
        run.checkpointer.flush()  # workers are about to fork, and must not do so during a write

    def on_batch_end() -> None:
        run.watchdog.beat()
        run.write_status("validating")
        if context.consensus.exchange(out_of_memory=run.step.out_of_memory):
            raise OutOfMemory
        run.raise_if_stopped()

    with profile_span("evaluation"):
        try:
            predictions = predict_split(
                context.ema.ema, context.val_loader, config, context.ranks, on_batch_end, context.val_criterion
            )
        except torch.OutOfMemoryError as error:
            raise RunError(
                f"out of memory while evaluating; resume with --resume {run.folder.path} --force and a lower val.batch"
            ) from error
        with run.watchdog.paused():  # rank 0 computes the metrics, the others wait
            evaluation = compute_metrics(predictions, context.val_pairs, config, context.ranks, with_slices=False)
            found = context.ranks.from_main((evaluation.result, evaluation.losses) if evaluation else None)
    assert found is not None
    result, losses = found
    for callback in run.callbacks:
        callback.on_evaluation(run, result)
    scores = result.scores()
    return {name: scores[name] for name in _METRICS} | losses


def finish_epoch(run: ActiveRun, row: dict[str, float | None], metrics: Mapping[str, float | None]) -> None:
    """Record the epoch, with its evaluation if there was one, and save.

    ``best`` goes first: a kill between the two must not lose it. Where no epoch has a score, it is the last one's.
    """
    context, state = run.context, run.state
    row |= _val_columns(metrics)
    state.finish_epoch(row, metrics.get("AP"))
    context.criterion.end_epoch()
    if context.ranks.is_main:
        left = run.status.eta_s("training", state) if run.status is not None else None
        log.info("epoch %d/%d  %s%s", state.epoch, context.config.train.epochs, _format_row(row), _time(row, left))
        is_last = state.epoch == context.config.train.epochs
        if state.best_epoch == state.epoch or (is_last and state.best_ap < 0):
            run.checkpointer.save_best(checkpoint_header(run) | {"ema": context.ema.ema.state_dict()})
    run.save()
    if context.ranks.is_main:
        run.folder.write_results(state.history)
    for callback in run.callbacks:
        callback.on_epoch(run, row)


def _format_row(row: dict[str, float | None]) -> str:
    text = ", ".join(f"{k.removeprefix('train/')} {v:.3f}" for k, v in row.items() if k.startswith("train/") and v)
    waited = row["data_wait"] or 0.0
    return text + _format_ap(row) + (f"  waited {waited:.0%} for data" if waited > _WAIT_WORTH_LOGGING else "")


def _format_ap(row: Mapping[str, float | None]) -> str:
    return "" if row["val/AP"] is None else f"  AP {row['val/AP']:.4f}, AP50 {row['val/AP50']:.4f}"


def _time(row: Mapping[str, float | None], left_s: float | None) -> str:
    """Return the time of an epoch and of the rest of the run, for a log that has no progress bar."""
    left = f", {format_duration(left_s)} left" if left_s else ""
    return f"  {format_duration(row['seconds'] or 0.0)}{left}"


def _finish(run: ActiveRun) -> None:
    """Wait for the disk, draw the curves, and mark the run as finished."""
    state, folder, config = run.state, run.folder, run.context.config.train
    if run.context.ranks.is_main:
        run.checkpointer.flush()
        if state.epoch < config.epochs:
            log.info("stopped: AP has not risen for %d epochs", config.patience)
        require_best(folder, state)
        with drawing(folder.curves):
            save_curves(state.history, folder.curves)
        write_marker(run, folder.finished)
        run.write_status("finished")
        run.log_event("finished")
        if state.best_ap >= 0 and not state.best_epoch and state.history[0]["epoch"] == 0:
            log.info("no epoch was better than the start: best.pt is the model before training")
        scored = f"best AP {state.best_ap:.4f} at epoch {state.best_epoch}"
        best = scored if state.best_ap >= 0 else f"no epoch has an AP: best.pt is epoch {state.epoch}"
        log.info("%s; run in %s; evaluate it: yolofuse val --run %s", best, folder.path, folder.path)
    run.context.ranks.barrier()


def _progress_bar(run: ActiveRun) -> tqdm[Any]:
    return tqdm(
        total=len(run.context.train_loader),
        initial=run.state.epoch_step,
        desc=f"epoch {run.state.epoch + 1}/{run.context.config.train.epochs}",
        unit="batch",
        leave=False,
        disable=None if run.context.ranks.is_main else True,  # None: silent when stderr is no terminal
    )
