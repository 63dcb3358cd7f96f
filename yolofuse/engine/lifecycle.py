"""A run as a whole: begun, or gone on with, by one job at a time; and what it leaves of itself however it ends."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from torch import Tensor

from yolofuse.config import Config
from yolofuse.config.load import plain_config
from yolofuse.distributed.ranks import Ranks, join_ranks
from yolofuse.engine.artifacts import LogScalars, open_tensorboard, save_first_batches
from yolofuse.engine.build import TrainContext, build_context
from yolofuse.engine.diagnostics.early_steps import Monitor, open_monitor
from yolofuse.engine.diagnostics.profiler import Profile
from yolofuse.engine.nan_guard import NanGuard
from yolofuse.engine.preemption import StopRequest, stop_requests
from yolofuse.engine.watchdog import Watchdog, read_hang
from yolofuse.errors import RunStopped, YolofuseError
from yolofuse.files import save_json
from yolofuse.run.checkpointer import AsyncCheckpointer, newest_checkpoint
from yolofuse.run.folder import RunFolder
from yolofuse.run.lock import run_lock
from yolofuse.run.resume_check import check_resumable, code_fingerprint
from yolofuse.run.status_writer import StatusFile, append_event, describe_last_exit
from yolofuse.run.train_state import RESTORED, LossMeter, TrainState, capture, restore
from yolofuse.weights import load_checkpoint

log = logging.getLogger("yolofuse")


@dataclass
class Run:
    """What the loop holds in its hands on one rank.

    Attributes:
        micro_batches: How many pieces each batch is computed in, since memory did not hold more.
        bad: Whether the loss was not finite since the last update; None where no gradients are pending.
        prefetcher_at: Epoch and step at which the training loader was started, while no batch was taken.
        saved_at: When the last checkpoint was saved, in seconds of the monotonic clock.
    """

    folder: RunFolder
    session: TrainContext
    progress: TrainState
    checkpointer: AsyncCheckpointer
    watchdog: Watchdog
    stop: StopRequest
    status: StatusFile | None
    profile: Profile
    monitor: Monitor
    log_scalars: LogScalars
    micro_batches: int = 1
    bad: Tensor | None = None
    prefetcher_at: tuple[int, int] | None = None
    guard: NanGuard = field(default_factory=NanGuard)
    saved_at: float = field(default_factory=time.monotonic)

    @property
    def should_continue(self) -> bool:
        """Whether there is another epoch to train."""
        train, progress = self.session.config.train, self.progress
        return progress.epoch < train.epochs and not progress.is_stale(train.patience)

    def write_status(self, state: Any) -> None:
        """Note in ``status.json`` what the run is doing."""
        if self.status is not None:
            self.status.update(state, self.progress)

    def log_event(self, event: Any, **facts: Any) -> None:
        """Note an event in ``events.jsonl``; rank 0 does."""
        if self.session.ranks.is_main:
            append_event(self.folder.path, event, **position(self), **facts)

    def start_prefetcher(self, epoch: int, step: int) -> None:
        """Let the training loader's workers begin with an epoch's batches from a step on, unless they have already."""
        if self.prefetcher_at != (epoch, step):
            train = self.session.config.train
            self.session.sampler.set_epoch(epoch, mosaic=epoch < train.epochs - train.close_mosaic)
            self.session.prefetcher.start(step)
            self.prefetcher_at = (epoch, step)

    def save(self, meter: LossMeter | None = None) -> None:
        """Save where the run is; training goes on meanwhile.

        Args:
            meter: The running epoch's losses, in mid-epoch.
        """
        session, progress = self.session, self.progress
        if meter is not None:
            progress.loss_sums = session.ranks.gather(meter.plain())
        progress.last_save = progress.step
        self.saved_at = time.monotonic()
        if session.ranks.is_main:
            self.checkpointer.save_last(self.state(), progress.step)

    def state(self) -> dict[str, Any]:
        """All that a checkpoint holds."""
        s = self.session
        return describe(self) | capture(s.detector, s.ema, s.optimizer, s.scaler, self.progress)

    def wants_save(self) -> bool:
        """Whether rank 0 holds that it is time for a checkpoint."""
        minutes = self.session.config.train.save_minutes
        return self.session.ranks.is_main and minutes > 0 and time.monotonic() - self.saved_at > 60 * minutes

    def raise_if_stopped(self) -> None:
        """End the run if a rank was asked to; for places at which all ranks know the same.

        Raises:
            RunStopped: If so.
        """
        if self.session.consensus.stop:
            name = self.stop.name or "another rank's signal"
            raise RunStopped(name, f"stopped by {name} at step {self.progress.step}")


def position(run: Run) -> dict[str, int]:
    """The facts of every event."""
    return {"epoch": run.progress.epoch, "step": run.progress.step, "world": run.session.ranks.world}


def describe(run: Run) -> dict[str, Any]:
    """What a checkpoint says of itself: enough to build the model and to know where it is from."""
    session = run.session
    return {
        "config": plain_config(session.config),
        "names": list(session.train_pairs.names),
        "data_hash": session.train_pairs.fingerprint,
        "code": code_fingerprint(),
        "world": session.ranks.world,
        "ir_windows": {name: list(window) for name, window in session.train_pairs.ir_windows.items()},
        "epoch": run.progress.epoch,
        "ap": run.progress.best_ap,
    }


@contextmanager
def open_run(config: Config, *, resume: bool | None, force: bool) -> Iterator[Run | None]:
    """Begin a run, or go on with it; None if it is finished already.

    Args:
        config: The run.
        resume: Whether to go on from the last checkpoint; None: if the run was begun.
        force: Whether to go on though config, data or code changed.

    Raises:
        YolofuseError: Whatever is wrong with config, data, weights or run folder.
        RunStopped: If the block was ended by a signal; the run is saved.
    """
    folder = RunFolder(config.run_dir)
    with ExitStack() as stack:
        stop = stack.enter_context(stop_requests())
        ranks = stack.enter_context(join_ranks(config.train.device))
        was_begun = ranks.from_main(folder.config.exists())
        if resume is None and not force and ranks.from_main(folder.finished.exists()):
            log.info("%s: finished already", folder.path)
            yield None
            return
        if resume or (resume is None and was_begun):
            run = _resume(folder, config, ranks, stack, stop, force=force)
        else:
            run = _begin(folder, config, ranks, stack, stop)
        _start_watching(run, stack)
        yield from _record_exit(run)


def _begin(folder: RunFolder, config: Config, ranks: Ranks, stack: ExitStack, stop: StopRequest) -> Run:
    ranks.run_on_main(folder.check_unused)  # before minutes are spent on checking data
    session = build_context(config, ranks)

    def create() -> None:
        folder.last.parent.mkdir(parents=True, exist_ok=True)
        stack.enter_context(run_lock(folder.path))
        folder.create(session.config)

    ranks.run_on_main(create)
    run = _assemble(folder, session, TrainState(), stop, stack)
    run.log_event("begun")
    _write_initial_artifacts(run)
    return run


def _write_initial_artifacts(run: Run) -> None:
    """What a run leaves before its first step: pictures, the weights report, and a checkpoint to go back to."""
    session = run.session
    if session.ranks.is_main:
        save_first_batches(session, run.folder.path)
        if session.weights is not None:
            run.folder.write_weights_report(session.weights)
    session.ranks.run_on_main(lambda: run.checkpointer.require_space(run.state()))
    run.save()
    run.checkpointer.flush()  # before loaders fork: a fork amid writing could take a lock along


def _resume(
    folder: RunFolder, config: Config, ranks: Ranks, stack: ExitStack, stop: StopRequest, *, force: bool
) -> Run:
    ranks.run_on_main(lambda: _take(folder, stack))
    begun = ranks.run_on_main(folder.load_config)
    if config.train.batch < 0:  # what was found when the run began
        config = config.model_copy(update={"train": config.train.model_copy(update={"batch": begun.train.batch})})
    path, problems = ranks.run_on_main(lambda: newest_checkpoint(folder))
    content = None if path is None else load_checkpoint(path, needs=RESTORED)
    session = build_context(config, ranks, checkpoint=content)
    data_hash = session.train_pairs.fingerprint
    before = content or {"config": plain_config(begun), "data_hash": data_hash}
    changes = check_resumable(path or folder.config, before, config, data_hash, force=force)
    progress = _restored(session, path, content)
    facts = describe_last_exit(folder.path) if ranks.is_main else {}
    run = _assemble(folder, session, progress, stop, stack)
    _report_resume(run, facts, problems, changes)
    if changes:  # so that config.yaml and the checkpoint say what the run is from now on
        ranks.run_on_main(lambda: folder.write_config(session.config))
        if content is not None:
            run.save()
            ranks.run_on_main(run.checkpointer.flush)
    ranks.barrier()  # rank 0 looks at every rank's stacks before their watchdogs write anew
    if content is None:
        _write_initial_artifacts(run)
    return run


def _take(folder: RunFolder, stack: ExitStack) -> None:
    """Lock a run's folder, and clear away what a kill amid writing has left."""
    if folder.path.is_dir():
        stack.enter_context(run_lock(folder.path))
        for part in [*folder.path.glob(".*.part"), *folder.last.parent.glob(".*.part")]:
            part.unlink()


def _restored(session: TrainContext, path: Path | None, content: dict[str, Any] | None) -> TrainState:
    """The state of a checkpoint put back; a run that was stopped before its first one starts anew."""
    if content is None or path is None:
        return TrainState()
    if content.get("world", session.ranks.world) != session.ranks.world:
        log.warning(
            "warning: saved by %d ranks and gone on with by %d: the batches stay the same, but the result will not be "
            "the same to the last digit",
            content["world"],
            session.ranks.world,
        )
    progress = restore(path, content, session.detector, session.ema, session.optimizer, session.scaler)
    session.criterion.set_epoch(progress.epoch)
    return progress


def _report_resume(run: Run, facts: dict[str, Any], problems: list[str], changes: list[str]) -> None:
    if not run.session.ranks.is_main:
        return
    folder, progress = run.folder, run.progress
    folder.preempted.unlink(missing_ok=True)
    folder.finished.unlink(missing_ok=True)
    for problem in problems:
        run.log_event("fell_back", why=problem)
    for change in changes:
        log.warning("warning: goes on by force, though changed: %s", change)
    for path in sorted(folder.path.glob("stacks-rank*.txt")):
        if read_hang(path):
            log.warning("warning: the last job ended because it hung; where is in %s", path)
            path.replace(path.with_name(f"hung-step{progress.step}-{path.name}"))
    run.log_event("resumed", **facts, forced=bool(changes))
    folder.write_results(progress.history)  # a kill may have come between the checkpoint and the file
    log.info("resume: epoch %d, step %d", progress.epoch + 1, progress.step)


def _assemble(
    folder: RunFolder, session: TrainContext, progress: TrainState, stop: StopRequest, stack: ExitStack
) -> Run:
    config, ranks = session.config.train, session.ranks
    saver = AsyncCheckpointer(folder, config.keep)
    stack.callback(saver.close)
    steps = len(session.sampler)
    status = StatusFile(folder.path, epochs=config.epochs, steps_per_epoch=steps, batch=config.batch, world=ranks.world)
    run = Run(
        folder=folder,
        session=session,
        progress=progress,
        checkpointer=saver,
        watchdog=Watchdog(folder.stacks(ranks.rank), 60 * config.watchdog_minutes),
        stop=stop,
        status=status if ranks.is_main else None,
        profile=Profile(folder.path / "profile", config.profile_steps if ranks.is_main else 0, ranks.device),
        monitor=open_monitor(session, folder.first_steps, progress.step),
        log_scalars=open_tensorboard(config.tensorboard and ranks.is_main, folder.path),
        micro_batches=ranks.run_on_main(folder.read_micro_batches),
    )
    for feed in (session.prefetcher, session.val_source.prefetcher):
        stack.callback(feed.close)
        feed.on_restart = lambda why: append_event(
            folder.path, "worker_died", **position(run), rank=ranks.rank, why=why
        )
    session.consensus.wants_stop = lambda: bool(stop)
    session.consensus.wants_save = run.wants_save
    return run


def _start_watching(run: Run, stack: ExitStack) -> None:
    stack.enter_context(run.profile)
    stack.enter_context(run.watchdog.watching())


def _record_exit(run: Run) -> Iterator[Run]:
    """Note how the run ended, in its folder and its events."""
    try:
        yield run
    except RunStopped as stopped:
        if run.session.ranks.is_main:
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


def _record_failure(run: Run, error: BaseException) -> None:
    run.write_status("failed")
    run.log_event("failed", why=f"{type(error).__name__}: {error}")


def write_marker(run: Run, path: Path, **facts: str) -> None:
    """Leave a file that says to job scripts how the run ended."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    save_json(path, {**facts, **position(run), "time": now, "host": socket.gethostname()})
