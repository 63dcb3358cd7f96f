"""Runs as one table: what differs between them, what came of each, and the mean over seeds."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from yolofuse.cluster.run_results import RunFacts
from yolofuse.errors import ConfigError

_OWN = {"train.run", "train.seed", "init.seed"}
"""Options that differ between seeds of one config."""
_DIGITS = 4

Row = dict[str, str]


def make_table(runs: Sequence[RunFacts]) -> list[Row]:
    """A row for each run, in the order given, then one for each config that was finished with several seeds.

    Every row has the same columns; a cell is blank where there is nothing to say. Means and standard deviations (of a
    sample, n - 1) are over finished runs only, and over evaluations that all of them have.
    """
    differing = _differing(runs)
    judged = sorted({name for run in runs for name in run.judged})
    blank = dict.fromkeys(_columns(differing, judged), "")
    rows = [blank | _run_row(run, differing) for run in runs]
    return rows + [blank | row for row in _mean_rows(runs, differing, judged)]


def format_csv(rows: Sequence[Row]) -> str:
    """The table as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def format_markdown(rows: Sequence[Row]) -> str:
    """The table as Markdown that reads well as plain text too; columns that are blank throughout are left out."""
    columns = [name for name in rows[0] if any(row[name] for row in rows)]
    cells = [columns, *([row[name].replace("|", "\\|") for name in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(lines) + "\n"


FORMATS: Mapping[str, Callable[[Sequence[Row]], str]] = {".csv": format_csv, ".md": format_markdown}


def check_outputs(paths: Sequence[Path]) -> None:
    """Check that each file's name says a format.

    Raises:
        ConfigError: If one does not.
    """
    for path in paths:
        if path.suffix not in FORMATS:
            raise ConfigError(f"{path}: end the name in {' or '.join(FORMATS)}, so that the format is known")


def _columns(differing: Sequence[str], judged: Sequence[str]) -> list[str]:
    figures = ["AP", "AP50", *(f"{name} {figure}" for name in judged for figure in ("AP", "AP50"))]
    spread = [column for figure in figures for column in (figure, f"{figure} sd")]
    return ["run", *differing, "seed", "state", "epochs", *spread, "wall_h", "busy_h", "interruptions"]


def _differing(runs: Sequence[RunFacts]) -> list[str]:
    """Options that are not the same in all runs, in the config's order."""
    keys = list(dict.fromkeys(key for run in runs for key in run.options))
    return [key for key in keys if key not in _OWN and len({_plain(run.options.get(key)) for run in runs}) > 1]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _run_row(run: RunFacts, differing: Sequence[str]) -> Row:
    figures = {name: f"{value:.{_DIGITS}f}" for name, value in _figures(run).items()}
    return {
        "run": str(run.run),
        **{key: _plain(run.options.get(key)) for key in differing},
        "seed": str(run.seed),
        "state": run.state,
        "epochs": f"{run.epochs}/{run.options['train.epochs']}",
        **figures,
        "wall_h": _hours(run.wall_s),
        "busy_h": _hours(run.busy_s),
        "interruptions": str(run.interruptions),
    }


def _figures(run: RunFacts) -> dict[str, float]:
    figures = dict(run.best)
    return figures | {f"{name} {figure}": value for name, part in run.judged.items() for figure, value in part.items()}


def _hours(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds / 3600:.3f}"


def _mean_rows(runs: Sequence[RunFacts], differing: Sequence[str], judged: Sequence[str]) -> list[Row]:
    groups: dict[tuple[str, ...], list[RunFacts]] = {}
    for run in runs:
        groups.setdefault(tuple(_plain(run.options.get(key)) for key in differing), []).append(run)
    rows = []
    for values, members in groups.items():
        done = [run for run in members if run.state == "finished"]
        if len({run.seed for run in done}) < 2:
            continue
        row = dict(zip(differing, values, strict=True)) | {
            "run": f"mean of {len(done)}",
            "seed": " ".join(str(run.seed) for run in done),
            "state": "finished" if len(done) == len(members) else f"{len(done)} of {len(members)} finished",
            "interruptions": str(sum(run.interruptions for run in done)),
        }
        for name in ["AP", "AP50", *(f"{e} {figure}" for e in judged for figure in ("AP", "AP50"))]:
            values_of = [_figures(run).get(name) for run in done]
            known = [value for value in values_of if value is not None]
            if len(known) == len(done):
                row[name] = f"{statistics.mean(known):.{_DIGITS}f}"
                row[f"{name} sd"] = f"{statistics.stdev(known):.{_DIGITS}f}"
        rows.append(row)
    return rows
