"""Tabulate runs: the options that differ, the results of each, and the mean over seeds."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from yolofuse.cluster.run_results import METRICS, RunResults
from yolofuse.errors import ConfigError
from yolofuse.files import check_output_file
from yolofuse.tables import csv_text, markdown_table, spreadsheet_cell

_SEED_OPTIONS = {"train.run", "train.seed", "init.seed"}
"""Options that always differ between the seeds of one config."""
_DIGITS = 4

Row = dict[str, str]


def make_table(runs: Sequence[RunResults]) -> list[Row]:
    """Make a row for each run, in the order given, then one for each config that finished with several seeds.

    Every row has the same columns; a cell without a value is blank. Means and standard deviations (of a sample, n - 1)
    are over finished runs only, and over evaluations that all of them have.
    """
    differing = _differing_options(runs)
    evaluations = sorted({name for run in runs for name in run.evaluations})
    metrics = [*METRICS, *(f"{name} {metric}" for name in evaluations for metric in METRICS)]
    means_and_stds = [column for metric in metrics for column in (metric, f"{metric} sd")]
    columns = ["run", *differing, "seed", "state", "epochs", *means_and_stds, "wall_h", "busy_h", "interruptions"]
    blank = dict.fromkeys(columns, "")
    rows = [blank | _run_row(run, differing) for run in runs]
    return rows + [blank | row for row in _mean_rows(runs, differing, metrics)]


def format_markdown(rows: Sequence[Row]) -> str:
    """Format the table as Markdown without the columns that are blank in every row."""
    columns = [name for name in rows[0] if any(row[name] for row in rows)]
    return markdown_table([columns, *([row[name] for name in columns] for row in rows)]) + "\n"


def format_csv(rows: Sequence[Row]) -> str:
    """Format the table as CSV; a folder called ``=1+1`` stays a text in a spreadsheet."""
    return csv_text([{name: spreadsheet_cell(cell) for name, cell in row.items()} for row in rows])


FORMATS: Mapping[str, Callable[[Sequence[Row]], str]] = {".csv": format_csv, ".md": format_markdown}


def check_outputs(paths: Sequence[Path]) -> None:
    """Check that each file's suffix names a format, and that it is no file of something else.

    Raises:
        ConfigError: If not.
    """
    for path in paths:
        if path.suffix not in FORMATS:
            raise ConfigError(f"{path}: end the name in {' or '.join(FORMATS)}, which names the format")
        check_output_file(path, "interruptions")  # a column of every table


def _differing_options(runs: Sequence[RunResults]) -> list[str]:
    """Return the options that are not the same in all runs, in the config's order."""
    keys = list(dict.fromkeys(key for run in runs for key in run.options))
    return [key for key in keys if key not in _SEED_OPTIONS and len({_cell(run.options.get(key)) for run in runs}) > 1]


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _run_row(run: RunResults, differing: Sequence[str]) -> Row:
    return {
        "run": str(run.folder),
        **{key: _cell(run.options.get(key)) for key in differing},
        "seed": str(run.seed),
        "state": run.state,
        "epochs": f"{run.epochs}/{run.options['train.epochs']}",
        **{name: f"{value:.{_DIGITS}f}" for name, value in _metrics(run).items()},
        "wall_h": _hours(run.wall_s),
        "busy_h": _hours(run.busy_s),
        "interruptions": str(run.interruptions),
    }


def _metrics(run: RunResults) -> dict[str, float]:
    evaluations = {
        f"{name} {metric}": value for name, metrics in run.evaluations.items() for metric, value in metrics.items()
    }
    return {**run.best, **evaluations}


def _hours(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds / 3600:.3f}"


def _mean_rows(runs: Sequence[RunResults], differing: Sequence[str], metrics: Sequence[str]) -> list[Row]:
    groups: dict[tuple[str, ...], list[RunResults]] = {}
    for run in runs:
        groups.setdefault(tuple(_cell(run.options.get(key)) for key in differing), []).append(run)
    rows = []
    for values, members in groups.items():
        finished = [run for run in members if run.state == "finished"]
        if len({run.seed for run in finished}) < 2:
            continue
        row = dict(zip(differing, values, strict=True)) | {
            "run": f"mean of {len(finished)}",
            "seed": " ".join(str(run.seed) for run in finished),
            "state": "finished" if len(finished) == len(members) else f"{len(finished)} of {len(members)} finished",
            "interruptions": str(sum(run.interruptions for run in finished)),
        }
        evaluated = dict.fromkeys(name for run in finished for name in run.data)
        unlike = [name for name in evaluated if len({run.data[name] for run in finished if name in run.data}) > 1]
        if unlike:
            row["run"] = f"no mean of {len(finished)}: other pairs or labels in {', '.join(unlike)}"
        for name in metrics if not unlike else ():
            samples = [value for run in finished if (value := _metrics(run).get(name)) is not None]
            if len(samples) == len(finished):
                row[name] = f"{statistics.mean(samples):.{_DIGITS}f}"
                row[f"{name} sd"] = f"{statistics.stdev(samples):.{_DIGITS}f}"
        rows.append(row)
    return rows
