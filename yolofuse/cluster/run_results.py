"""What came of a run, read from its folder: finished or not, judged or not."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from yolofuse.cluster.sweep import SUBMITTED_NAME
from yolofuse.config import load_config
from yolofuse.config.load import plain_config
from yolofuse.errors import RunError
from yolofuse.run.folder import RunFolder
from yolofuse.run.records import LIFECYCLE_EVENTS, TERMINAL_EVENTS, RunStatus, read_events
from yolofuse.run.summary import summarise_run

_MAX_BYTES = 1 << 26
_FIGURES = ("AP", "AP50")


@dataclass(frozen=True)
class RunFacts:
    """One run.

    Attributes:
        run: Its folder.
        options: Its config, flat, by dotted key.
        state: As :class:`~yolofuse.run.summary.RunSummary` has it, or ``submitted`` where it never began.
        epochs: Finished ones.
        best: AP and AP50 of the epoch with the best AP; empty before the first evaluation.
        judged: AP and AP50 by evaluation, such as ``eval-val``.
        wall_s: From the run's beginning to its end or last sign of life, waiting in queues included; None: unknown.
        busy_s: The part of it in which it ran.
        interruptions: How often it was stopped before it was done.
    """

    run: Path
    options: Mapping[str, Any]
    state: str
    epochs: int
    best: Mapping[str, float]
    judged: Mapping[str, Mapping[str, float]]
    wall_s: float | None
    busy_s: float | None
    interruptions: int

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.options["train.seed"])


def is_run(folder: Path) -> bool:
    """Whether a run was begun in a folder, or submitted for it."""
    return RunFolder(folder).config.is_file() or (folder / SUBMITTED_NAME).is_file()


def find_runs(folder: Path) -> list[Path]:
    """The runs below a folder, at any depth, by name.

    Raises:
        RunError: If there is none.
    """
    names = (RunFolder(folder).config.name, SUBMITTED_NAME)
    runs = sorted({file.parent for name in names for file in folder.rglob(name)})
    if not runs:
        raise RunError(f"{folder}: no runs below it (looked for {' and '.join(names)}); check the path")
    return runs


def read_run(folder: Path, now: datetime | None = None) -> RunFacts:
    """What a folder says of its run.

    Args:
        folder: The run's.
        now: The time; by default the present.

    Raises:
        RunError: If it holds no run, or a file of it is not what a run writes.
        ConfigError: If its config is damaged.
    """
    if not is_run(folder):
        raise RunError(f"{folder}: no run here; give the folder that train.run named")
    files = RunFolder(folder)
    begun = files.config.is_file()
    options = flat_options(plain_config(load_config(files.config if begun else folder / SUBMITTED_NAME)))
    if not begun:
        return RunFacts(folder, options, "submitted", 0, {}, {}, None, None, 0)
    now = now or datetime.now(timezone.utc)
    found = summarise_run(folder, now)
    epochs, best = _read_results(files.results)
    wall, busy = _durations(folder, found.status)
    return RunFacts(
        run=folder,
        options=options,
        state=found.state,
        epochs=epochs,
        best=best,
        judged={file.parent.name: _read_report(file) for file in sorted(folder.glob("eval-*/report.json"))},
        wall_s=wall,
        busy_s=busy,
        interruptions=len(found.interruptions),
    )


def flat_options(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options by dotted key."""
    flat: dict[str, Any] = {}
    for key, value in section.items():
        flat |= flat_options(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _read_results(path: Path) -> tuple[int, dict[str, float]]:
    """Finished epochs, and the figures of the best of them."""
    if not path.exists():
        return 0, {}
    try:
        rows = list(csv.DictReader(_text(path).splitlines()))
        judged = [{name: float(row[f"val/{name}"]) for name in _FIGURES} for row in rows if row["val/AP"]]
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise RunError(f"{path}: not a run's results ({error!r})") from error
    return len(rows), max(judged, key=lambda figures: figures["AP"], default={})


def _read_report(path: Path) -> dict[str, float]:
    try:
        content = json.loads(_text(path))
        figures = {name: float(content[name]) for name in _FIGURES}
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise RunError(f"{path}: not a report of val_dual.py ({error!r}); delete it and judge the run again") from error
    if not all(map(math.isfinite, figures.values())):
        raise RunError(f"{path}: a figure is not finite; delete it and judge the run again")
    return figures


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise RunError(f"{path}: larger than {_MAX_BYTES >> 20} MiB, so not written by a run")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read ({error})") from error


def _durations(folder: Path, status: RunStatus | None) -> tuple[float | None, float | None]:
    """Seconds in all, and of running: from each beginning to the end after it, or the last thing that was said."""
    events, _ = read_events(folder)
    if not events:
        return None, None
    busy = timedelta()
    since: datetime | None = None
    last = events[0].time
    for event in events:
        if (
            event.event in LIFECYCLE_EVENTS - TERMINAL_EVENTS
        ):  # begun or resumed; one that was killed said nothing at its end
            if since is not None:
                busy += _seen(event.facts.get("last_seen"), since, last) - since
            since = event.time
        elif event.event in TERMINAL_EVENTS and since is not None:
            busy, since = busy + (event.time - since), None
        last = event.time
    if since is not None:
        last = max(last, status.updated if status is not None else last)
        busy += last - since
    return (last - events[0].time).total_seconds(), busy.total_seconds()


def _seen(told: object, since: datetime, last: datetime) -> datetime:
    """When a run that was killed was last seen alive."""
    try:
        seen = datetime.fromisoformat(told) if isinstance(told, str) else last
    except ValueError:
        seen = last
    return max(seen, since, last) if seen.tzinfo else max(last, since)
