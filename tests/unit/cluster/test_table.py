"""Runs of a cluster as one table."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from tests.support.cluster_runs import config_file
from yolofuse.cli import collect
from yolofuse.cluster.run_results import find_runs, read_run
from yolofuse.cluster.table import FORMATS, make_table
from yolofuse.config import dump_config, load_config
from yolofuse.files import save_text
from yolofuse.run.folder import RunFolder


def _event(time_text: str, event: str, **facts: object) -> str:
    return (
        json.dumps({"time": f"2026-11-22T{time_text}+00:00", "event": event, "host": "n1", "world": 1, **facts}) + "\n"
    )


def write_run(folder: Path, seed: int, ap: float, *, finished: bool = True, **model: str) -> Path:
    """A run's folder, as a run of ten epochs leaves it: interrupted once, ten minutes away, twenty at work."""
    file = config_file(folder / "configs", f"m{seed}", seed=seed, epochs=10)
    run = folder / f"run{seed}-{'-'.join(model.values())}"
    config = load_config(file, [f"model.{key}={value}" for key, value in model.items()])
    save_text(RunFolder(run).config, dump_config(config))
    rows = ["epoch,seconds,val/AP,val/AP50", f"1,3,{ap - 0.1},0.4", f"2,3,{ap},0.5", "3,3,,"]
    save_text(RunFolder(run).results, "\n".join(rows) + "\n")
    events = _event("10:00:00", "begun", epoch=0, step=0) + _event("10:10:00", "preempted", epoch=1, step=5)
    events += _event("10:20:00", "resumed", epoch=1, step=5)
    events += _event("10:30:00", "finished" if finished else "failed", epoch=10, step=50)
    save_text(run / "events.jsonl", events)
    return run


def test_collect__tells_what_differs_how_far_it_came_and_the_mean_over_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [write_run(tmp_path, seed, ap, cut="mid") for seed, ap in ((0, 0.3), (1, 0.4))]
    runs += [write_run(tmp_path, 2, 0.9, finished=False, cut="mid"), write_run(tmp_path, 0, 0.5, cut="late")]
    for run in runs[:2]:
        save_text(run / "eval-val" / "report.json", json.dumps({"AP": 0.25, "AP50": 0.75}))
    out = [tmp_path / "t.csv", tmp_path / "t.md"]
    assert collect.main([*map(str, runs), "--out", *map(str, out)]) == 0
    rows = list(csv.DictReader(out[0].read_text().splitlines()))
    assert list(rows[0])[:6] == ["run", "model.cut", "seed", "state", "epochs", "AP"]
    assert [row["model.cut"] for row in rows] == ["mid", "mid", "mid", "late", "mid"]
    assert [row["state"] for row in rows] == ["finished", "finished", "failed", "finished", "2 of 3 finished"]
    assert rows[0] | {"epochs": "3/10", "AP": "0.3000", "AP50": "0.5000", "interruptions": "1"} == rows[0]
    assert (rows[0]["wall_h"], rows[0]["busy_h"]) == ("0.500", "0.333")
    mean = rows[-1]
    assert (mean["run"], mean["seed"], mean["AP"], mean["AP sd"]) == ("mean of 2", "0 1", "0.3500", "0.0707")
    assert (mean["eval-val AP50"], mean["eval-val AP50 sd"]) == ("0.7500", "0.0000")
    assert capsys.readouterr().out == out[1].read_text()


def test_collect__finds_runs_and_those_that_never_began(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs" / "deep", 0, 0.3)
    waiting = tmp_path / "runs" / "waiting"
    save_text(waiting / "submitted.yaml", dump_config(load_config(config_file(tmp_path))))
    assert find_runs(tmp_path / "runs") == sorted([run, waiting])
    facts = read_run(waiting)
    assert (facts.state, facts.epochs, facts.wall_s) == ("submitted", 0, None)
    assert [row["state"] for row in make_table([facts, read_run(run)])] == ["submitted", "finished"]


def test_collect__a_killed_run_counts_until_it_was_last_seen(tmp_path: Path) -> None:
    run = write_run(tmp_path, 0, 0.3)
    seen = "2026-11-22T10:05:00+00:00"
    events = _event("10:00:00", "begun", epoch=0, step=0)
    events += _event("11:00:00", "resumed", epoch=0, step=5, last_seen=seen)
    save_text(run / "events.jsonl", events + _event("11:10:00", "finished", epoch=10, step=50))
    facts = read_run(run)
    assert (facts.wall_s, facts.busy_s, facts.interruptions) == (70 * 60, 15 * 60, 1)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("results.csv", "epoch,val/AP,val/AP50\n1,x,0\n", "not a run's results"),
        ("results.csv", "a\n1\n", "not a run's results"),
        ("eval-val/report.json", "[" * 100_000, "not a report"),
        ("eval-val/report.json", '{"AP": NaN, "AP50": 0}', "not finite"),
        ("eval-val/report.json", '{"AP": 0.5}', "not a report"),
    ],
    ids=["results", "columns", "depth", "nan", "missing"],
)
def test_collect__damaged_files_are_told_all_at_once(
    tmp_path: Path, name: str, content: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path, 0, 0.3)
    save_text(run / name, content)
    assert collect.main([str(run), str(tmp_path / "none")]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "none: no run here" in error


def test_table__markdown_leaves_blank_columns_out_and_escapes_bars(tmp_path: Path) -> None:
    facts = read_run(write_run(tmp_path, 0, 0.3))
    lines = FORMATS[".md"](make_table([facts])).splitlines()
    assert "AP sd" not in lines[0]
    assert len(lines) == 3
    shutil.move(facts.run, tmp_path / "a|b")
    assert "a\\|b" in FORMATS[".md"](make_table([read_run(tmp_path / "a|b")]))
