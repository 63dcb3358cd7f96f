"""The status command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.run_folders import write_run, write_status
from yolofuse.cli import status
from yolofuse.run.events import append_event
from yolofuse.run.lock import run_lock
from yolofuse.tables import format_duration


def test_status__one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "mid")
    assert status.main([str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        str(folder),
        "  state        training on node1 (pid 77, 2 ranks), 0 s ago",
        "  progress     epoch 2 of 4, step 20 of 100 (30.0%)",
        "  speed        192 pairs/s, 23 s to go",
        "  checkpoint   step 100, 0 s ago, 20 steps behind",
        "  best AP      0.2500",
        "  interrupted  2 times; 15 steps repeated",
        "    2026-11-22 08:10  preempted (SIGUSR1) on node1 at step 40; resumed at step 40, 0 lost",
        "    2026-11-22 08:40  killed on node1 at step 95; resumed at step 80, 15 lost",
    ]


def test_status__several_runs_as_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = write_run(tmp_path / "a"), tmp_path / "b"
    write_status(second, state="finished", epoch=4, epoch_step=0, step=400, best_ap=None, pairs_per_s=None, eta_s=0.0)
    assert status.main([str(first), str(second)]) == 0
    head, one, two = (line.split() for line in capsys.readouterr().out.splitlines())
    assert head == ["run", "state", "epoch", "done", "pairs/s", "to", "go", "best", "AP", "stops", "lost"]
    assert one == [str(first), "training", "2/4", "30.0%", "192", "23", "s", "0.2500", "2", "15"]
    assert two == [str(second), "finished", "4/4", "100%", "-", "-", "-", "0", "0"]


def test_status__json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status.main(["--json", str(write_run(tmp_path / "a"))]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["state"], entry["alive"], entry["status"]["step"], entry["steps_lost"]) == ("training", True, 120, 15)
    assert (entry["checkpoint"]["step"], entry["checkpoint"]["steps_behind"]) == (100, 20)
    assert [stop["lost"] for stop in entry["interruptions"]] == [0, 15]


def test_status__a_run_that_has_just_started(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text("")
    assert status.main([str(tmp_path)]) == 0
    assert "state        unknown" in capsys.readouterr().out
    append_event(tmp_path, "begun", step=0)
    with run_lock(tmp_path):
        assert status.main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "state        starting" in out
    assert "interrupted  never" in out


def test_status__all_errors_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "status.json").write_text("{")
    assert status.main([str(tmp_path / "none"), str(broken), str(write_run(tmp_path / "good"))]) == 2
    message = capsys.readouterr().err
    assert "runs: 2 problems" in message
    assert "no run here; give the folder that train.run named" in message
    assert "not a run's status" in message


def test_status__replaces_control_characters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    write_run(folder, host="\x1b[2Jevil")
    assert status.main([str(folder)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "?[2Jevil" in out


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (3599, "1 h 00 min"), (7500, "2 h 05 min"), (270_000, "3 d 3 h")],
)
def test_format_duration__two_largest_units(seconds: float, expected: str) -> None:
    assert format_duration(seconds) == expected
