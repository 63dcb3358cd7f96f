"""Start, resume and close a run, one job at a time, and record on disk how it ended."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from yolofuse.config import Config
from yolofuse.config.load import plain_config
from yolofuse.config.recipe import adopt_resolved
from yolofuse.distributed.ranks import Ranks, join_ranks
from yolofuse.engine.active_run import ActiveRun, position, write_marker
from yolofuse.engine.artifacts import save_first_batches
from yolofuse.engine.build import TrainContext, build_context
from yolofuse.engine.callbacks import Callback, Ending
from yolofuse.engine.diagnostics.profiler import Profile
from yolofuse.engine.finished_run import is_finished
from yolofuse.engine.loggers import make_loggers
from yolofuse.engine.preemption import AT_ONCE, StopRequest, stop_requests
from yolofuse.engine.step import new_scaler, new_step_state
from yolofuse.engine.watchdog import Watchdog
from yolofuse.errors import RunStopped, YolofuseError
from yolofuse.files import remove_partial_files, save_json
from yolofuse.run.best_weights import restore_best
from yolofuse.run.checkpointer import AsyncCheckpointer, newest_checkpoint
from yolofuse.run.events import append_event, describe_last_exit
from yolofuse.run.folder import RunFolder
from yolofuse.run.lock import run_lock
from yolofuse.run.resume_check import check_resumable, data_record, report_versions, restore_threads
from yolofuse.run.status_writer import StatusWriter
from yolofuse.run.train_state import RESTORED, TrainState, restore
from yolofuse.weights import load_checkpoint

log = logging.getLogger("yolofuse")

_BATCH_S, _BATCH_OF_RANKS_S = 5.0, 20.0  # wait of a run that is to stop for a batch, after which all ranks could save

Resume = Literal["never", "auto", "always"]
"""Whether to resume a run: never start over a used folder, resume if it was started before, or fail if it was not."""


@contextmanager
def open_run(
    config: Config, *, resume: Resume, force: bool, callbacks: Sequence[Callback] = ()
) -> Iterator[ActiveRun | None]:
    """Start a run or resume it; None if it is finished already and ``resume`` is ``auto``.

    Args:
        config: The run.
        resume: Whether to resume from the last checkpoint.
        force: Whether to resume although config, data or code changed.
        callbacks: Called on rank 0 while the run trains.

    Raises:
        YolofuseError: If config, data, weights or run folder are wrong, or the finished run is another one.
        RunStopped: If the block was ended by a signal; the run is saved.
    """
    folder = RunFolder(config.run_dir)
    with ExitStack() as stack:
        # Before stops are requests: joining waits in C code for the other ranks, and a signal ends it.
        ranks = stack.enter_context(join_ranks(config.train.device))
        stop = stack.enter_context(stop_requests())
        callbacks = [*make_loggers(config), *callbacks] if ranks.is_main else []
        was_started = ranks.from_main(folder.config.exists())
        if resume == "auto" and was_started and not force and is_finished(folder, config, ranks):
            log.info("%s: finished already", folder.path)
            yield None
            return
        with stop.limited(AT_ONCE, "before training"):
            if resume == "always" or (resume == "auto" and was_started):
                run = _resume(folder, config, ranks, stack, stop, force=force)
            else:
                run = _start(folder, config, ranks, stack, stop)
        stack.enter_context(run.profile)
        stack.enter_context(run.watchdog.watching())
        yield from _record_exit(run, callbacks)


def _start(folder: RunFolder, config: Config, ranks: Ranks, stack: ExitStack, stop: StopRequest) -> ActiveRun:
    """Start a run in an unused folder."""
    ranks.run_on_main(folder.check_unused)  # before minutes are spent on checking data
    context = build_context(config, ranks)

    def create() -> None:
        folder.last.parent.mkdir(parents=True, exist_ok=True)
        stack.enter_context(run_lock(folder.path))
        folder.create(context.config)

    ranks.run_on_main(create)
    stop.run = folder.path
    run = _assemble(folder, context, TrainState(), new_scaler(context), stop, stack)
    run.log_event("begun")
    try:
        _write_initial_artifacts(run)
    except RunStopped:
        raise
    except Exception as error:  # without this event, the run would seem to have been killed
        _record_failure(run, error)
        raise
    return run


def _write_initial_artifacts(run: ActiveRun) -> None:
    """Write what a run leaves before its first step: images, the weights report, and a checkpoint to go back to."""
    context = run.context
    if context.ranks.is_main:
        save_first_batches(context, run.folder.path)
        if context.weights_report is not None:
            save_json(run.folder.weights_report, context.weights_report.plain(), indent=1)
    context.ranks.run_on_main(lambda: run.checkpointer.require_space(run.checkpoint()))
    run.save()
    run.checkpointer.flush()  # before workers are forked: a fork during a write could copy a held lock


def _resume(
    folder: RunFolder, config: Config, ranks: Ranks, stack: ExitStack, stop: StopRequest, *, force: bool
) -> ActiveRun:
    """Resume a run from its newest whole checkpoint, or from its start if it has none."""
    stop.run = folder.path
    ranks.run_on_main(lambda: _acquire_run_folder(folder, stack))
    saved = ranks.run_on_main(folder.load_config)
    config = adopt_resolved(config, saved)
    path, problems = ranks.run_on_main(lambda: newest_checkpoint(folder))
    content = None if path is None else load_checkpoint(path, needs=RESTORED)
    if content is not None:
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        restore_threads(content)
    context = build_context(config, ranks, checkpoint=content)
    data = data_record(context.train_pairs, context.val_pairs)
    before = content or {"config": plain_config(saved), **data}
    changes = check_resumable(path or folder.config, before, config, data, force=force)
    report_versions(before, ranks.device)
    last_exit = describe_last_exit(folder.path) if ranks.is_main else {}
    scaler = new_scaler(context)
    state = TrainState() if content is None or path is None else restore_context(context, scaler, path, content)
    best = ranks.run_on_main(lambda: restore_best(folder, state))
    if best is not None:
        problems = [*problems, f"{folder.best.name} was lost"]
        state.best_ap, state.best_epoch = best
    run = _assemble(folder, context, state, scaler, stop, stack)
    _report_resume(run, last_exit, problems, changes)
    if changes:  # so that config.yaml and the checkpoint describe the run as it is from now on
        ranks.run_on_main(lambda: folder.write_config(context.config))
    if content is not None and (changes or best):
        run.save()
        ranks.run_on_main(run.checkpointer.flush)
    ranks.barrier()  # rank 0 reads every rank's stacks before their watchdogs overwrite them
    if content is None:
        _write_initial_artifacts(run)
    return run


def _acquire_run_folder(folder: RunFolder, stack: ExitStack) -> None:
    """Lock a run's folder, and remove what a kill during a write has left."""
    if folder.path.is_dir():
        stack.enter_context(run_lock(folder.path))
        folder.refuse_wrong_folders()
        for parent in (folder.path, folder.last.parent):
            remove_partial_files(parent)


def restore_context(
    context: TrainContext, scaler: torch.amp.GradScaler, path: Path, content: dict[str, Any]
) -> TrainState:
    """Restore a checkpoint's tensors in place; return its counters."""
    saved, world = content.get("world", context.ranks.world), context.ranks.world
    if saved != world:
        log.warning(
            "warning: saved by %d ranks and resumed with %d: the batches stay the same, but the result will differ in "
            "the last digits",
            saved,
            world,
        )
    state = restore(path, content, context.detector, context.ema, context.optimizer, scaler)
    if state.step:  # the rates of the last step, which a checkpoint after the last epoch holds
        context.schedule.apply(context.optimizer, state.step - 1)
    context.criterion.set_epoch(state.epoch)
    return state


def _report_resume(run: ActiveRun, last_exit: dict[str, Any], problems: list[str], changes: list[str]) -> None:
    """Record in log and events from where and after what a run is resumed; remove the markers of its last exit."""
    if not run.context.ranks.is_main:
        return
    folder, state = run.folder, run.state
    folder.preempted.unlink(missing_ok=True)
    folder.finished.unlink(missing_ok=True)
    for problem in problems:
        run.log_event("fell_back", why=problem)
    for change in changes:
        log.warning("warning: resumed with --force although changed: %s", change)
    for path in sorted(folder.path.glob("stacks-rank*.txt")):
        if path.stat().st_size:  # a process that was killed leaves an empty file
            log.warning("warning: the last job ended because it hung; the stacks are in %s", path)
            path.replace(path.with_name(f"hung-step{state.step}-{path.name}"))
    run.log_event("resumed", **last_exit, forced=bool(changes))
    folder.write_results(state.history)  # a kill may have come between the checkpoint and the file
    if state.epoch >= run.context.config.train.epochs:
        log.info("every epoch is trained; to train longer: --resume %s --force train.epochs=N", folder.path)
    else:
        log.info("resume: epoch %d, step %d", state.epoch + 1, state.step)


def _assemble(
    folder: RunFolder,
    context: TrainContext,
    state: TrainState,
    scaler: torch.amp.GradScaler,
    stop: StopRequest,
    stack: ExitStack,
) -> ActiveRun:
    """Open everything around a built context: checkpointer, status, watchdog, profile, monitor."""
    config, ranks = context.config.train, context.ranks
    checkpointer = AsyncCheckpointer(folder, config.keep)
    stack.callback(checkpointer.close)
    steps = len(context.train_loader)
    status = StatusWriter(
        folder.path, epochs=config.epochs, steps_per_epoch=steps, batch=config.batch, world=ranks.world
    )
    micro_batches = ranks.run_on_main(folder.read_micro_batches)
    run = ActiveRun(
        context=context,
        state=state,
        step=new_step_state(context, scaler, folder.first_steps, state.step, micro_batches),
        folder=folder,
        checkpointer=checkpointer,
        watchdog=Watchdog(folder.stacks(ranks.rank), 60 * config.watchdog_minutes),
        stop=stop,
        status=status if ranks.is_main else None,
        profile=Profile(folder.path / "profile", config.profile_steps if ranks.is_main else 0, ranks.device),
    )
    for prefetcher in (context.train_loader.prefetcher, context.val_loader.prefetcher):
        stack.callback(prefetcher.close)
        limit_s = _BATCH_S if ranks.world == 1 else _BATCH_OF_RANKS_S
        prefetcher.waiting = partial(stop.limited, limit_s, "while it waited for a batch")
        prefetcher.on_restart = lambda why: append_event(
            folder.path, "worker_died", **position(run), rank=ranks.rank, why=why
        )
    context.consensus.wants_stop = lambda: bool(stop)
    context.consensus.wants_save = run.wants_save
    return run


def _record_exit(run: ActiveRun, callbacks: Sequence[Callback]) -> Iterator[ActiveRun]:
    """Record in the run's folder and events how it ended, and tell the callbacks."""
    run.callbacks = callbacks
    how: Ending = "failed"
    try:
        for callback in callbacks:
            callback.on_start(run)
        yield run
        how = "finished"
    except RunStopped as stopped:
        how = "stopped"
        if run.context.ranks.is_main:
            try:
                run.checkpointer.flush()
            except YolofuseError as error:
                _record_failure(run, error)
                raise
            run.write_status("preempted")
            run.log_event("preempted", signal=stopped.signal)
            write_marker(run, run.folder.preempted, signal=stopped.signal)
        raise
    except BaseException as error:
        _record_failure(run, error)
        raise
    finally:
        for callback in callbacks:
            callback.on_end(run, how)


def _record_failure(run: ActiveRun, error: BaseException) -> None:
    run.write_status("failed")
    run.log_event("failed", why=f"{type(error).__name__}: {error}")
