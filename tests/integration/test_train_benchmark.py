"""Test scripts.benchmarks.train: it runs all three loops, and its values are consistent."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path

import pytest
import torch

from scripts.benchmarks.turns import Turns, Worker
from tests.support.pairs import make_pairs
from tests.support.runs import run_module


@pytest.mark.soak
def test_train_benchmark__runs_on_the_cpu(tmp_path: Path) -> None:
    data = make_pairs(tmp_path / "set", num_train=3, num_val=1, suffixes=(".jpg", ".jpg"))
    options = ["--imgsz", "64", "--batch", "2", "--steps", "3", "--rounds", "1", "--threads", "1", "--device", "cpu"]
    file = tmp_path / "speed.csv"
    done = run_module(
        "scripts.benchmarks.train", "--data", str(data), *options, "--bases", "yolov8n", "--csv", str(file)
    )
    assert done.returncode == 0, done.stderr
    with file.open(newline="") as stream:
        rgb, mid, theirs = csv.DictReader(stream)
    assert [row["loop"] for row in (rgb, mid, theirs)] == ["rgb", "mid", "stock rgb"]
    for row in (rgb, mid):
        parts = sum(float(row[f"{name}_ms"]) for name in ("forward", "loss", "backward", "optimizer", "ema"))
        step, data_ms = float(row["step_ms"]), float(row["data_ms"])
        assert 0 < parts < step - data_ms
        assert float(row["bare_ms"]) > 0
        assert float(row["pairs_per_s"]) == pytest.approx(2000 / step, rel=0.01)
    assert 1.2 < float(mid["gflops"]) / float(rgb["gflops"]) < 2
    assert (float(rgb["of_flops_ratio"]), float(theirs["of_stock"])) == (1, 1)
    assert float(theirs["data_ms"]) > 0


def test_turns__time_only_their_own_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("scripts.benchmarks.turns.time.perf_counter", lambda: clock[0])
    monkeypatch.setattr(sys, "stdin", io.StringIO("go\nquit\n"))
    answers = io.StringIO()

    def bare() -> None:
        clock[0] += 4.0

    turns = Turns(torch.device("cpu"), settle=1, steps=2, answers=answers, bare_step=bare, facts=lambda: {"fact": 7})

    def loop() -> None:
        for number in range(9):
            clock[0] += 100.0 if number % 3 == 0 else 5.0  # the first step of a turn is not timed
            clock[0] += 1.0
            turns.data_s += 1.0
            turns.parts["forward"] = turns.parts.get("forward", 0.0) + 3.0
            turns.step_done()

    with pytest.raises(SystemExit):
        loop()
    facts, answer = (json.loads(line) for line in answers.getvalue().splitlines())
    assert facts == {"fact": 7}
    assert answer.pop("peak_mib") > 0
    assert answer == {
        "step_ms": 6000, "data_ms": 1000, "computing_ms": 5000, "bare_ms": 4000, "parts_ms": {"forward": 3000},
    }  # fmt: skip


def test_worker__that_fails_is_reported_with_its_log(tmp_path: Path) -> None:
    script = tmp_path / "dies.py"
    script.write_text("import sys; print('{}', flush=True); input(); sys.exit('out of luck')")
    with Worker("a loop", [str(script)], tmp_path / "log", os.cpu_count() or 1) as worker:
        assert worker.facts == {}
        with pytest.raises(SystemExit, match=r"a loop ended with code 1:\nout of luck"):
            worker.turn()
