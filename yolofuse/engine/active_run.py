"""Hold an open run on one rank: its fixed parts, its state, and its files."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yolofuse.config.load import plain_config
from yolofuse.engine.build import TrainContext
from yolofuse.engine.callbacks import Callback
from yolofuse.engine.diagnostics.profiler import Profile
from yolofuse.engine.preemption import StopRequest
from yolofuse.engine.step import StepState
from yolofuse.engine.watchdog import Watchdog
from yolofuse.errors import RunStopped
from yolofuse.files import save_json
from yolofuse.run.checkpointer import AsyncCheckpointer
from yolofuse.run.events import append_event
from yolofuse.run.folder import RunFolder
from yolofuse.run.records import EventName, State, utc_now
from yolofuse.run.resume_check import code_fingerprint, data_record, machine_record
from yolofuse.run.status_writer import StatusWriter
from yolofuse.run.train_state import LossMeter, TrainState, capture


@dataclass
class ActiveRun:
    """An open run on one rank: its fixed parts, its state, and its files.

    Attributes:
        context: What stays the same.
        state: Counters, scores and losses so far; part of every checkpoint.
        step: What changes from step to step outside of checkpoints.
        folder: Names of the run's files.
        checkpointer: Writes checkpoints beside training.
        watchdog: Ends the process if it hangs.
        stop: Whether this process was asked to stop.
        status: Writes ``status.json``; None on every rank but 0.
        profile: Traces a few steps, if the config asks for it.
        callbacks: Loggers and a user's own; none on every rank but 0.
        saved_at: When the last checkpoint was saved, in seconds of the monotonic clock.
    """

    context: TrainContext
    state: TrainState
    step: StepState
    folder: RunFolder
    checkpointer: AsyncCheckpointer
    watchdog: Watchdog
    stop: StopRequest
    status: StatusWriter | None
    profile: Profile
    callbacks: Sequence[Callback] = ()
    saved_at: float = field(default_factory=time.monotonic)

    @property
    def should_continue(self) -> bool:
        """Whether there is another epoch to train."""
        train = self.context.config.train
        return self.state.epoch < train.epochs and not self.state.is_stale(train.patience)

    def write_status(self, activity: State) -> None:
        """Write to ``status.json`` what the run is doing."""
        if self.status is not None:
            self.status.update(activity, self.state)

    def log_event(self, event: EventName, **facts: Any) -> None:
        """Append an event to ``events.jsonl`` on rank 0."""
        if self.context.ranks.is_main:
            append_event(self.folder.path, event, **position(self), **facts)

    def save(self, meter: LossMeter | None = None) -> None:
        """Save a checkpoint; it is written while training continues.

        Args:
            meter: The losses of the running epoch, in mid-epoch.
        """
        if meter is not None:
            self.state.loss_sums = self.context.ranks.gather(meter.plain())
        self.state.last_save = self.state.step
        self.saved_at = time.monotonic()
        if self.context.ranks.is_main:
            self.checkpointer.save_last(self.checkpoint(), self.state.step)
        for callback in self.callbacks:
            callback.on_checkpoint(self, self.folder.last)

    def checkpoint(self) -> dict[str, Any]:
        """Return everything that a checkpoint holds."""
        context = self.context
        state = capture(context.detector, context.ema, context.optimizer, self.step.scaler, self.state)
        return checkpoint_header(self) | state

    def wants_save(self) -> bool:
        """Return whether rank 0 finds a checkpoint due by time."""
        minutes = self.context.config.train.save_minutes
        return self.context.ranks.is_main and minutes > 0 and time.monotonic() - self.saved_at > 60 * minutes

    def raise_if_stopped(self) -> None:
        """End the run if any rank was asked to stop; only where all ranks know the same.

        Raises:
            RunStopped: If so.
        """
        if self.context.consensus.stop:
            name = self.stop.name or "another rank's signal"
            raise RunStopped(name, f"stopped by {name} at step {self.state.step}", self.folder.path)


def position(run: ActiveRun) -> dict[str, int]:
    """Return the epoch, step and number of ranks, which every event records."""
    return {"epoch": run.state.epoch, "step": run.state.step, "world": run.context.ranks.world}


def checkpoint_header(run: ActiveRun) -> dict[str, Any]:
    """Return what a checkpoint records about its run: enough to build the model and to know where it is from."""
    context = run.context
    return {
        "config": plain_config(context.config),
        **data_record(context.train_pairs, context.val_pairs),
        "code": code_fingerprint(),
        "machine": machine_record(context.ranks.device),
        "world": context.ranks.world,
        "ir_windows": {name: list(window) for name, window in context.train_pairs.ir_windows.items()},
        "epoch": run.state.epoch,
        "ap": run.state.best_ap if run.state.best_ap >= 0 else None,  # no score yet
    }


def write_marker(run: ActiveRun, path: Path, **facts: str) -> None:
    """Write a file by which job scripts know how the run ended."""
    save_json(path, {**facts, **position(run), "time": utc_now(), "host": socket.gethostname()})
