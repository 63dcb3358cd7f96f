"""``python -m yolofuse.cli.status``: where runs are, how fast, how long to go, and how often they were interrupted."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from yolofuse.cli.common import run_command
from yolofuse.errors import RunError, listing
from yolofuse.run.records import EVENTS_NAME, STATUS_NAME
from yolofuse.run.summary import RunSummary, summarise_run

_SHOWN_STOPS = 8
_DASH = "-"


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m yolofuse.cli.status",
        description="Say where runs are, how fast, how long to go, and how often they were interrupted.",
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a run; of several, a table")
    parser.add_argument("--json", action="store_true", help="the same as JSON, a list with an entry per run")
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)

    def command() -> None:
        now = datetime.now(timezone.utc)
        found = _all_standing(args.runs, now)
        if args.json:
            print(json.dumps([as_plain(one, now) for one in found], indent=1))
        else:
            print(format_run(found[0], now) if len(found) == 1 else format_table(found))

    return run_command(command)


def _all_standing(folders: Sequence[Path], now: datetime) -> list[RunSummary]:
    """Where each run stands.

    Raises:
        RunError: If one is no run, or its files are damaged; all such runs are told.
    """
    found, problems = [], []
    for folder in folders:
        if not any((folder / name).exists() for name in ("config.yaml", STATUS_NAME, EVENTS_NAME)):
            problems.append(f"{folder}: no run here; give the folder that train.run named")
            continue
        try:
            found.append(summarise_run(folder, now))
        except RunError as error:
            problems.append(str(error))
    if len(problems) == 1:
        raise RunError(problems[0])
    if problems:
        raise RunError(listing("runs", problems))
    return found


def format_run(run: RunSummary, now: datetime) -> str:
    """One run on about ten lines."""
    lines = [("state", _state_line(run, now)), *_progress_lines(run)]
    if run.checkpoint is not None:
        step = f"step {run.checkpoint.step}, " if run.checkpoint.step is not None else ""
        behind = f", {_count(run.behind, 'step')} behind" if run.behind else ""
        lines.append(("checkpoint", f"{step}{duration((now - run.checkpoint.written).total_seconds())} ago{behind}"))
    else:
        lines.append(("checkpoint", "none yet"))
    if run.status is not None and run.status.best_ap is not None:
        lines.append(("best AP", f"{run.status.best_ap:.4f}"))
    others = [_count(number, name.replace("_", " ")) for name, number in run.counts.items() if number]
    if others:
        lines.append(("also", ", ".join(others)))
    if run.damaged:
        lines.append(("note", f"{_count(run.damaged, 'line')} of {EVENTS_NAME} could not be read"))
    lines.append(("interrupted", _stops_summary(run)))
    text = [_clean(str(run.folder)), *(f"  {name:<12} {value}" for name, value in lines)]
    hidden = len(run.interruptions) - _SHOWN_STOPS
    if hidden > 0:
        text.append(f"    ... {hidden} before")
    for stop in run.interruptions[-_SHOWN_STOPS:]:
        where = f" on {_clean(stop.host)}" if stop.host else ""
        after = "has not gone on yet" if stop.resumed_at is None else f"went on at step {stop.resumed_at}"
        lost = "" if stop.lost is None else f", {stop.lost} lost"
        reached = "" if stop.reached is None else f" at step {stop.reached}"
        text.append(f"    {stop.time:%Y-%m-%d %H:%M}  {_clean(stop.why)}{where}{reached}; {after}{lost}")
    return "\n".join(text)


def _state_line(run: RunSummary, now: datetime) -> str:
    status = run.status
    if status is None:
        return run.state
    where = f" on {_clean(status.host)} (pid {status.pid}, {_count(status.world, 'rank')})"
    age = duration((now - status.updated).total_seconds())
    return f"{run.state}{'; last seen' if run.state == 'stopped' else ''}{where}, {age} ago"


def _progress_lines(run: RunSummary) -> list[tuple[str, str]]:
    status = run.status
    if status is None:
        return []
    running = min(status.epoch + 1, status.epochs)
    of_epoch = f", step {status.epoch_step} of {status.steps_per_epoch}" if status.epoch < status.epochs else ""
    lines = [("progress", f"epoch {running} of {status.epochs}{of_epoch} ({_share(run)})")]
    speed = "" if status.pairs_per_s is None else f"{status.pairs_per_s:.4g} pairs/s"
    words = "to go" if run.is_alive else "of work left"
    left = f"{duration(status.eta_s)} {words}" if status.eta_s is not None and run.state != "finished" else ""
    if speed or left:
        lines.append(("speed", ", ".join(filter(None, (speed, left)))))
    return lines


def _stops_summary(run: RunSummary) -> str:
    if not run.interruptions:
        return "never"
    known = [stop.lost for stop in run.interruptions if stop.lost is not None]
    made_twice = f"; {_count(run.lost, 'step')} made twice" if known else ""
    return f"{_count(len(run.interruptions), 'time')}{made_twice}"


def format_table(runs: Sequence[RunSummary]) -> str:
    """Several runs, a line each."""
    head = ["run", "state", "epoch", "done", "pairs/s", "to go", "best AP", "stops", "lost"]
    rows = [head]
    for run in runs:
        status = run.status
        figures = [_DASH] * 5
        if status is not None:
            figures = [
                f"{min(status.epoch + 1, status.epochs)}/{status.epochs}",
                _share(run),
                _DASH if status.pairs_per_s is None else f"{status.pairs_per_s:.4g}",
                _DASH if status.eta_s is None or run.state == "finished" else duration(status.eta_s),
                _DASH if status.best_ap is None else f"{status.best_ap:.4f}",
            ]
        stops = str(len(run.interruptions))
        rows.append([_clean(str(run.folder)), run.state, *figures, stops, str(run.lost) if run.interruptions else "0"])
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = []
    for row in rows:
        words = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
        words += [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        lines.append("  ".join(words).rstrip())
    return "\n".join(lines)


def as_plain(run: RunSummary, now: datetime) -> dict[str, Any]:
    """One run as plain data."""
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
        "interruptions": [
            {
                "time": stop.time.isoformat(),
                "why": stop.why,
                "host": stop.host,
                "reached": stop.reached,
                "resumed_at": stop.resumed_at,
                "lost": stop.lost,
            }
            for stop in run.interruptions
        ],
        "steps_lost": run.lost,
        "counts": run.counts,
        "unreadable_events": run.damaged,
    }


def duration(seconds: float) -> str:
    """A time in its two largest units: ``45 s``, ``3 min``, ``2 h 05 min``, ``4 d 3 h``."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"


def _share(run: RunSummary) -> str:
    status = run.status
    total = status.epochs * status.steps_per_epoch if status is not None else 0
    if run.state == "finished":
        return "100%"
    return f"{min(status.step / total, 1):.1%}" if status is not None and total else _DASH


def _count(number: int | None, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _clean(text: str) -> str:
    """Text of a file, without what would move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:200])


if __name__ == "__main__":
    sys.exit(main())
