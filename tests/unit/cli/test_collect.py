"""The collect command."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.support.cluster_runs import write_run
from yolofuse.cli import collect
from yolofuse.files import save_text


def test_collect__tabulates_differing_options_progress_and_means_over_seeds(
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


@pytest.mark.parametrize("changed", ["", "data_hash", "train_data_hash"])
def test_collect__no_mean_over_seeds_with_other_data(
    tmp_path: Path, changed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [write_run(tmp_path, seed, 0.3) for seed in (0, 1)]
    settings = {"split": "val", "data_hash": "a", "train_data_hash": "b"}
    for run, hashes in zip(runs, (settings, settings | {changed: "c"}), strict=True):
        save_text(run / "eval-val" / "report.json", json.dumps({"AP": 0.25, "AP50": 0.75, "settings": hashes}))
    assert collect.main([*map(str, runs)]) == 0
    mean = [cell.strip() for cell in capsys.readouterr().out.splitlines()[-1].split("|")]
    assert mean[1] == ("no mean of 2: other pairs or labels in eval-val" if changed else "mean of 2")
    assert ("0.3000" in mean) != bool(changed)


def test_collect__a_folder_that_is_given_twice_counts_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (write_run(tmp_path, seed, ap) for seed, ap in ((0, 0.3), (1, 0.5)))
    assert collect.main([str(first), str(second), f"{first}/", str(first / ".." / first.name)]) == 0
    mean = capsys.readouterr().out.splitlines()[-1]
    assert [cell.strip() for cell in mean.split("|")][1:3] == ["mean of 2", "0 1"]


@pytest.mark.parametrize("name", ["notes.csv", "README.md"])
def test_collect__replaces_its_own_table_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    run, out = write_run(tmp_path, 0, 0.3), tmp_path / name
    for _ in range(2):
        assert collect.main([str(run), "--out", str(out)]) == 0
    out.write_text("mine")
    assert collect.main([str(run), "--out", str(out)]) == 2
    assert "not overwritten" in capsys.readouterr().err
    assert out.read_text() == "mine"


def test_collect__all_errors_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path, 0, 0.3)
    save_text(run / "results.csv", "a\n1\n")
    assert collect.main([str(run), str(tmp_path / "none")]) == 2
    error = capsys.readouterr().err
    assert "runs: 2 problems" in error
    assert "not a run's results" in error
    assert "none: no run here" in error
