"""Call a user's own code while a run trains, on rank 0."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from yolofuse.engine.active_run import ActiveRun
    from yolofuse.eval.coco import CocoResult

Ending = Literal["finished", "stopped", "failed"]


class Callback:
    """What a run calls while it trains; override what you need. Only rank 0 has callbacks.

    ``run.folder`` has the run's files, ``run.context.config`` its config, ``run.state`` its counters. An exception of a
    callback ends the run as an error of its own would; what was saved stays.
    """

    def on_start(self, run: ActiveRun) -> None:
        """Handle that a run is about to train, from its start or after a resume."""

    def on_step(self, run: ActiveRun, terms: Mapping[str, Tensor]) -> None:
        """Handle the loss terms per pair of a step, which stay on the device: to read one waits for it."""

    def on_evaluation(self, run: ActiveRun, result: CocoResult) -> None:
        """Handle the metrics of the validation split, before the epoch is recorded."""

    def on_epoch(self, run: ActiveRun, row: Mapping[str, float | None]) -> None:
        """Handle an epoch's row of results.csv; epoch 0 is the model before training."""

    def on_checkpoint(self, run: ActiveRun, path: Path) -> None:
        """Handle that a checkpoint is complete up to ``run.state.step``; it may still be on its way to the disk."""

    def on_end(self, run: ActiveRun, how: Ending) -> None:
        """Handle the end of the run, or of this job of it."""
