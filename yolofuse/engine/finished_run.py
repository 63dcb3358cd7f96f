"""Decide whether a run that is marked as finished is finished, and is the one that a config asks for."""

from __future__ import annotations

import logging

from yolofuse.config import Config
from yolofuse.config.recipe import adopt_resolved
from yolofuse.distributed.ranks import Ranks
from yolofuse.engine.dataloaders import load_run_splits, windows_in
from yolofuse.errors import RunError, listing
from yolofuse.run.best_weights import find_problem
from yolofuse.run.checkpointer import newest_checkpoint
from yolofuse.run.folder import RunFolder
from yolofuse.run.resume_check import config_changes, data_changes, data_record
from yolofuse.run.train_state import RESTORED, progress_of
from yolofuse.weights import load_checkpoint

log = logging.getLogger("yolofuse")


def is_finished(folder: RunFolder, config: Config, ranks: Ranks) -> bool:
    """Return whether a run needs no more training. Data in another place than before is read and compared.

    A marker that a copy left in an unfinished run does not count, nor does one of a run whose best weights are lost:
    its resume writes them again.

    Raises:
        RunError: If config or data are others than the finished run's.
    """
    if not ranks.from_main(folder.finished.exists()):
        return False
    saved = ranks.run_on_main(folder.load_config)
    has_checkpoint = ranks.from_main(bool(folder.checkpoints()) or folder.last.exists())
    path = ranks.run_on_main(lambda: newest_checkpoint(folder))[0] if has_checkpoint else None
    content = None if path is None else load_checkpoint(path, needs=RESTORED)
    if problem := ranks.run_on_main(lambda: find_problem(folder)):
        log.warning("warning: %s", problem)
        return False
    config = adopt_resolved(config, saved)
    changes = config_changes(saved, config)
    if content is not None and path is not None:
        state = progress_of(content)
        if state.epoch < saved.train.epochs and not state.is_stale(saved.train.patience):
            log.warning("warning: %s: not of this run, which is at epoch %d", folder.finished, state.epoch)
            return False
        if (config.data.descriptor, config.data.root) != (saved.data.descriptor, saved.data.root):
            train, val = load_run_splits(config, ranks, windows_in(content))
            changes += data_changes(path, content, data_record(train, val))
    if changes:
        head = listing(f"{folder.path}: holds a finished run of another config", changes, "change")
        advice = "choose another train.run, undo the change, or train it further with --auto-resume --force"
        raise RunError(f"{head}\n  {advice}")
    return True
