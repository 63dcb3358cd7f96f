"""Run ``yolofuse status``: report progress, speed, remaining time and interruptions of runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from yolofuse.cli.common import Parser, run_as_module, run_command
from yolofuse.errors import RunError, listing, plural, printable
from yolofuse.run.folder import RunFolder
from yolofuse.run.records import EVENTS_NAME, STATUS_NAME
from yolofuse.run.status_summary import Interruption, RunSummary, summarise_run
from yolofuse.tables import format_duration, text_table

_MAX_INTERRUPTIONS = 8  # lines of one run
_MAX_WHY = 200  # letters of a reason
_NONE = "-"


def main(argv: list[str] | None = None, prog: str = "yolofuse status") -> int:
    """Run the command; return its exit code."""
    parser = Parser(
        prog=prog,
        description="Report the progress, speed, remaining time and interruptions of runs.",
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a run; several runs make a table")
    parser.add_argument("--json", action="store_true", help="print JSON instead, a list with an entry per run")
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)

    def command() -> None:
        now = datetime.now(timezone.utc)
        runs = _summarise_all(args.runs, now)
        if args.json:
            print(json.dumps([summary_dict(run, now) for run in runs], indent=1))
        else:
            print(format_run(runs[0], now) if len(runs) == 1 else format_table(runs))

    return run_command(command)


def _summarise_all(folders: Sequence[Path], now: datetime) -> list[RunSummary]:
    """Summarise each run; one error lists all folders that hold no run or damaged files."""
    runs, problems = [], []
    for folder in folders:
        if not any(path.exists() for path in (RunFolder(folder).config, folder / STATUS_NAME, folder / EVENTS_NAME)):
            problems.append(f"{folder}: no run here; give the folder that train.run named")
            continue
        try:
            runs.append(summarise_run(folder, now))
        except RunError as error:
            problems.append(str(error))
    if problems:
        raise RunError(problems[0] if len(problems) == 1 else listing("runs", problems))
    return runs


def format_run(run: RunSummary, now: datetime) -> str:
    """Format one run as a block of about ten lines."""
    lines = [("state", _state_line(run, now)), *_progress_lines(run), ("checkpoint", _checkpoint_line(run, now))]
    if run.status is not None and run.status.best_ap is not None:
        lines.append(("best AP", f"{run.status.best_ap:.4f}"))
    others = [plural(number, name.replace("_", " ")) for name, number in run.counts.items() if number]
    if others:
        lines.append(("also", ", ".join(others)))
    if run.damaged:
        lines.append(("note", f"{plural(run.damaged, 'line')} of {EVENTS_NAME} could not be read"))
    lines.append(("interrupted", _interruptions_line(run)))
    text = [printable(str(run.folder)), *(f"  {name:<12} {value}" for name, value in lines)]
    hidden = len(run.interruptions) - _MAX_INTERRUPTIONS
    if hidden > 0:
        text.append(f"    ... {hidden} before")
    text += [f"    {_format_interruption(one)}" for one in run.interruptions[-_MAX_INTERRUPTIONS:]]
    return "\n".join(text)


def _checkpoint_line(run: RunSummary, now: datetime) -> str:
    if run.checkpoint is None:
        return "none yet"
    step = f"step {run.checkpoint.step}, " if run.checkpoint.step is not None else ""
    behind = f", {plural(run.behind, 'step')} behind" if run.behind else ""
    return f"{step}{format_duration((now - run.checkpoint.written).total_seconds())} ago{behind}"


def _format_interruption(one: Interruption) -> str:
    where = f" on {printable(one.host)}" if one.host else ""
    reached = "" if one.reached is None else f" at step {one.reached}"
    after = "not resumed yet" if one.resumed_at is None else f"resumed at step {one.resumed_at}"
    lost = "" if one.lost is None else f", {one.lost} lost"
    return f"{one.time:%Y-%m-%d %H:%M}  {printable(one.why[:_MAX_WHY])}{where}{reached}; {after}{lost}"


def _state_line(run: RunSummary, now: datetime) -> str:
    status = run.status
    if status is None:
        return run.state
    where = f" on {printable(status.host)} (pid {status.pid}, {plural(status.world, 'rank')})"
    age = format_duration((now - status.updated).total_seconds())
    return f"{run.state}{'; last seen' if run.state == 'stopped' else ''}{where}, {age} ago"


def _progress_lines(run: RunSummary) -> list[tuple[str, str]]:
    status = run.status
    if status is None:
        return []
    current = min(status.epoch + 1, status.epochs)
    of_epoch = f", step {status.epoch_step} of {status.steps_per_epoch}" if status.epoch < status.epochs else ""
    lines = [("progress", f"epoch {current} of {status.epochs}{of_epoch} ({_share_done(run)})")]
    speed = "" if status.pairs_per_s is None else f"{status.pairs_per_s:.4g} pairs/s"
    label = "to go" if run.is_alive else "of work left"
    left = f"{format_duration(status.eta_s)} {label}" if status.eta_s is not None and run.state != "finished" else ""
    if speed or left:
        lines.append(("speed", ", ".join(filter(None, (speed, left)))))
    return lines


def _interruptions_line(run: RunSummary) -> str:
    if not run.interruptions:
        return "never"
    is_known = any(one.lost is not None for one in run.interruptions)
    repeated = f"; {plural(run.lost, 'step')} repeated" if is_known else ""
    return f"{plural(len(run.interruptions), 'time')}{repeated}"


def format_table(runs: Sequence[RunSummary]) -> str:
    """Format several runs as a table, a line each."""
    rows = [["run", "state", "epoch", "done", "pairs/s", "to go", "best AP", "stops", "lost"]]
    for run in runs:
        status = run.status
        cells = [_NONE] * 5
        if status is not None:
            cells = [
                f"{min(status.epoch + 1, status.epochs)}/{status.epochs}",
                _share_done(run),
                _NONE if status.pairs_per_s is None else f"{status.pairs_per_s:.4g}",
                _NONE if status.eta_s is None or run.state == "finished" else format_duration(status.eta_s),
                _NONE if status.best_ap is None else f"{status.best_ap:.4f}",
            ]
        rows.append([printable(str(run.folder)), run.state, *cells, str(len(run.interruptions)), str(run.lost)])
    return text_table(rows)


def summary_dict(run: RunSummary, now: datetime) -> dict[str, Any]:
    """Return one run as plain data for JSON."""
    checkpoint = run.checkpoint
    return {
        "run": str(run.folder),
        "state": run.state,
        "alive": run.is_alive,
        "status": None if run.status is None else run.status.model_dump(mode="json"),
        "checkpoint": checkpoint
        and {
            "step": checkpoint.step,
            "written": checkpoint.written.isoformat(),
            "age_s": round((now - checkpoint.written).total_seconds(), 1),
            "steps_behind": run.behind,
        },
        "interruptions": [asdict(one) | {"time": one.time.isoformat(), "lost": one.lost} for one in run.interruptions],
        "steps_lost": run.lost,
        "counts": run.counts,
        "unreadable_events": run.damaged,
    }


def _share_done(run: RunSummary) -> str:
    status = run.status
    total = status.epochs * status.steps_per_epoch if status is not None else 0
    if run.state == "finished":
        return "100%"
    return f"{min(status.step / total, 1):.1%}" if status is not None and total else _NONE


if __name__ == "__main__":
    sys.exit(run_as_module(main))
