"""Read the results of a run from its folder, finished or not, evaluated or not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from yolofuse.cluster.sweep import SUBMITTED_NAME
from yolofuse.config import Config
from yolofuse.config.load import flat_options, load_config
from yolofuse.errors import RunError
from yolofuse.eval.other_settings import other_settings
from yolofuse.files import read_regular
from yolofuse.run.folder import RunFolder
from yolofuse.run.records import LIFECYCLE_EVENTS, TERMINAL_EVENTS, RunStatus, read_events
from yolofuse.run.status_summary import summarise_run

_MAX_BYTES = 1 << 26
METRICS = ("AP", "AP50")


@dataclass(frozen=True)
class RunResults:
    """The results of one run."""

    folder: Path
    options: Mapping[str, Any]  # its config by dotted key
    state: str  # that of RunSummary, or ``submitted`` if it has not started yet
    epochs: int  # finished epochs
    best: Mapping[str, float]  # AP and AP50 of the epoch with the best AP; empty before the first evaluation
    evaluations: Mapping[str, Mapping[str, float]]  # AP and AP50 by ``eval-val (conf=0.5)``, with what differs
    data: Mapping[str, tuple[str, str]]  # by evaluation: hashes of the pairs that were scored, and trained on
    wall_s: float | None  # from the run's start to its end or last status, waiting in queues included; None: unknown
    busy_s: float | None  # the part of it in which the run was running
    interruptions: int

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.options["train.seed"])


def is_run(folder: Path) -> bool:
    """Return whether a run was started in a folder, or submitted for it."""
    return RunFolder(folder).config.is_file() or (folder / SUBMITTED_NAME).is_file()


def find_runs(folder: Path) -> list[Path]:
    """Find the runs below a folder, at any depth, sorted by path.

    Raises:
        RunError: If there is none.
        OSError: If the folder can't be read.
    """
    names = (RunFolder(folder).config.name, SUBMITTED_NAME)
    runs = sorted({file.parent for name in names for file in folder.rglob(name)})
    if not runs:
        folder.stat()  # from Python 3.13 on, rglob finds nothing where it can't look
        raise RunError(f"{folder}: no runs below it (looked for {' and '.join(names)}); check the path")
    return runs


def read_run(folder: Path) -> RunResults:
    """Read the results of a run from its folder.

    Raises:
        RunError: If it holds no run, or one of its files is damaged.
        ConfigError: If its config is damaged.
    """
    if not is_run(folder):
        raise RunError(f"{folder}: no run here; give the folder that train.run named")
    files = RunFolder(folder)
    is_started = files.config.is_file()
    config = load_config(files.config if is_started else folder / SUBMITTED_NAME)
    options = flat_options(config)
    if not is_started:
        return RunResults(folder, options, "submitted", 0, {}, {}, {}, None, None, 0)
    summary = summarise_run(folder)
    epochs, best = _read_results(files)
    wall, busy = _durations(folder, summary.status)
    reports = [_read_report(file, config) for file in sorted(folder.glob("eval-*/report.json"))]
    return RunResults(
        folder=folder,
        options=options,
        state=summary.state,
        epochs=epochs,
        best=best,
        evaluations={name: metrics for name, metrics, _ in reports},
        data={name: hashes for name, _, hashes in reports if all(hashes)},
        wall_s=wall,
        busy_s=busy,
        interruptions=len(summary.interruptions),
    )


def _read_results(files: RunFolder) -> tuple[int, dict[str, float]]:
    """Return the number of finished epochs, and the metrics of the best one."""
    rows = files.read_results()
    scored = []
    for row in rows:
        ap, ap50 = (row.get(f"val/{name}") for name in METRICS)
        if ap is not None and ap50 is not None and ap >= 0:  # yolofuse 0.1.0 wrote -1: nothing to find
            scored.append({"AP": ap, "AP50": ap50})
    if not all(value <= 1 for metrics in scored for value in metrics.values()):
        raise RunError(f"{files.results}: not a run's results (a metric is above 1)")
    trained = [row for row in rows if row["epoch"]]  # the model before training is epoch 0
    return len(trained), max(reversed(scored), key=lambda metrics: metrics["AP"], default={})


def _read_report(path: Path, config: Config) -> tuple[str, dict[str, float], tuple[str, str]]:
    """Return name and metrics of an evaluation, and hashes of its pairs and of those of the training."""
    try:
        content = json.loads(read_regular(path, _MAX_BYTES))
        metrics = {name: float(content[name]) for name in METRICS}
        settings = content.get("settings", {})
        hashes = str(settings.get("data_hash", "")), str(settings.get("train_data_hash", ""))
        other = other_settings(path.parent, settings, config)
    except (OSError, AttributeError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise RunError(
            f"{path}: not a report of val_dual.py ({error!r}); delete it and evaluate the run again"
        ) from error
    if not all(value <= 1 for value in metrics.values()):  # false for nan, too
        raise RunError(f"{path}: a metric is above 1 or not a number; delete it and evaluate again")
    name = f"{path.parent.name} ({other})" if other else path.parent.name
    return name, {key: value for key, value in metrics.items() if value >= 0}, hashes  # cocoapi's -1: nothing to find


def _durations(folder: Path, status: RunStatus | None) -> tuple[float | None, float | None]:
    """Return the seconds in all, and of running: from each start to the end after it or the last sign of life."""
    events, _ = read_events(folder)
    if not events:
        return None, None
    busy = timedelta()
    since: datetime | None = None
    last = events[0].time
    for event in events:
        if event.event in LIFECYCLE_EVENTS - TERMINAL_EVENTS:  # started or resumed
            if since is not None:  # it was killed before, and recorded no end
                busy += max(event.last_seen or last, since, last) - since
            since = event.time
        elif event.event in TERMINAL_EVENTS and since is not None:
            busy, since = busy + (event.time - since), None
        last = event.time
    if since is not None:
        last = max(last, status.updated if status is not None else last)
        busy += last - since
    return (last - events[0].time).total_seconds(), busy.total_seconds()
