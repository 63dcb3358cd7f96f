"""Check a run's best weights, and write them again from a checkpoint where they were lost."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, NamedTuple

from yolofuse.errors import RunError, WeightsError
from yolofuse.files import set_aside
from yolofuse.run.checkpointer import check_saved
from yolofuse.run.folder import RunFolder
from yolofuse.run.train_state import RESTORED, TrainState
from yolofuse.weights import has_checksum, load_checkpoint, save_checkpoint

log = logging.getLogger("yolofuse")

_NOT_IN_BEST = {"format", "format_version", "start", *RESTORED} - {"data_hash", "ema"}


class BestEpoch(NamedTuple):
    """The epoch whose weights are in ``best.pt``."""

    ap: float
    epoch: int  # counted from 1; 0 for the start


def own_best(run: Path) -> Path:
    """Return the best weights of a run, which must be its own.

    Raises:
        RunError: If there are none, they are damaged, or they are of another run.
    """
    folder = RunFolder(run)
    best = folder.find_best()
    if folder.config.exists() and has_checksum(best) and (problem := find_problem(folder)):
        raise RunError(f"{problem}; --resume {run} writes it again, and --weights FILE takes a file by itself")
    return best


def restore_best(folder: RunFolder, state: TrainState) -> BestEpoch | None:
    """Write damaged or missing best weights again; return the epoch they are of, or None if nothing was wrong.

    A checkpoint that was saved at the end of their epoch holds the same weights. Without one, those of the best epoch
    of which one is left take their place; without any, the next epoch that is evaluated will be the best (AP -1).

    For rank 0 only, while no checkpoint is being written.
    """
    problem = find_problem(folder) if state.best_ap >= 0 else ""
    if not problem:
        return None
    if os.path.lexists(folder.best):
        set_aside(folder.best, "damaged")
    found = max(_epochs_left(folder), key=lambda left: (left[0].epoch == state.best_epoch, left[0].ap), default=None)
    if found is None:
        log.warning("warning: %s; no checkpoint of an evaluated epoch is left: the next one will be the best", problem)
        return BestEpoch(-1.0, state.epoch)
    best, content = found
    kept = {key: value for key, value in content.items() if key not in _NOT_IN_BEST}
    save_checkpoint(folder.best, kept | {"ap": best.ap})
    same = best.epoch == state.best_epoch
    log.warning(
        "warning: %s; written again %s",
        problem,
        f"from a checkpoint of the same epoch, {best.epoch}"
        if same
        else f"with the weights of epoch {best.epoch} (AP {best.ap:.4f}): those of epoch {state.best_epoch} "
        f"(AP {state.best_ap:.4f}) are lost",
    )
    return best


def require_best(folder: RunFolder, state: TrainState) -> None:
    """Check the best weights before a run is marked as finished, as :func:`restore_best` does; update ``state``.

    Raises:
        RunError: If they are lost.
    """
    best = restore_best(folder, state)
    if best is None:
        return
    state.best_ap, state.best_epoch = best
    if best.ap < 0:
        raise RunError(
            f"{folder.best}: lost, and no checkpoint of an evaluated epoch is left; the weights after the last step "
            f"are in {folder.last}: evaluate them with --weights, or train longer with --resume {folder.path} --force"
        )


def find_problem(folder: RunFolder) -> str:
    """Return what is wrong with a run's best weights, such as that they are another run's; "" if nothing is."""
    try:
        difference = check_saved(folder, folder.best, may_be_unsealed=True)
    except WeightsError as error:
        return str(error)
    return f"{folder.best}: of another run: {difference}" if difference else ""


def _epochs_left(folder: RunFolder) -> list[tuple[BestEpoch, dict[str, Any]]]:
    """Return the evaluated epochs at whose end a checkpoint was saved, with its content; newest first."""
    found = []
    for path in [*folder.checkpoints(), folder.last]:
        try:
            content = load_checkpoint(path, needs=RESTORED)
        except WeightsError:  # the next one may be intact
            continue
        progress = content["progress"]
        row = progress["history"][-1] if progress["history"] else {}
        ap = row.get("val/AP")
        if ap is not None and not progress["epoch_step"] and row["epoch"] == progress["epoch"]:
            found.append((BestEpoch(ap, progress["epoch"]), content))
    return found
