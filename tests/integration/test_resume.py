"""Test that a run killed at any step and resumed ends bit-identical to an uninterrupted one."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import yolofuse.engine.train as loop
from tests.support.pairs import make_pairs
from tests.support.processes import run_forked
from tests.support.runs import REPO, same_tensors, train_without_plots, write_config
from yolofuse.cli import train as cli
from yolofuse.cli import val
from yolofuse.config import load_config
from yolofuse.weights import load_checkpoint


def _die_at(call: int, function: Callable[..., Any], wait_s: float) -> Callable[..., Any]:
    """Wrap a function: its call of that number, from 1, kills the process after a while."""
    calls = itertools.count(1)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == call:
            time.sleep(wait_s)
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    return wrapped


def _train_and_die(where: str, call: int, *argv: str) -> int:
    """Train as the command does, and be killed in a step, in an evaluation, or before a checkpoint is renamed."""
    target, name = {"step": (loop, "train_step"), "evaluation": (loop, "compute_metrics"), "save": (Path, "replace")}[
        where
    ]
    wait_s = 2.0 if where == "evaluation" else 0.0  # until what was saved before it is on the disk
    setattr(target, name, _die_at(call, getattr(target, name), wait_s))
    return cli.main(list(argv))


_OPTIONS = ["train.epochs=3", "train.save_every=2", "train.multi_scale=0.3"]
_ANCHORS = ["model.base=yolov5n", "model.head=anchors", "train.keep_start=0.3"]
_KILLS = [
    ("step", 1, 0),
    ("step", 5, 2),
    ("step", 8, 0),
    ("save", 3, 0),
    ("step", 1, 2),
    ("step", 5, 0),
    ("save", 3, 2),
    ("evaluation", 3, 0),
]
_QUICK = {("step", 5, 2), ("save", 3, 0), ("evaluation", 3, 0)}


@pytest.mark.parametrize(
    ("where", "count", "workers"),
    [pytest.param(*kill, marks=[] if kill in _QUICK else pytest.mark.soak) for kill in _KILLS],
)
def test_resume__after_sigkill_is_bit_identical(tmp_path: Path, where: str, count: int, workers: int) -> None:
    config = write_config(tmp_path, data={"workers": workers})
    options = [*_OPTIONS, *(_ANCHORS if where == "save" else [])]
    whole = train_without_plots(load_config(config, [*options, f"train.run={tmp_path / 'whole'}"]))
    killed = tmp_path / "killed"
    argv = ("--cfg", str(config), *options, f"train.run={killed}")
    code, output = run_forked(partial(_train_and_die, where, count, *argv), tmp_path)
    assert code == -signal.SIGKILL, output
    if (killed / "weights" / "last.pt").exists():
        assert load_checkpoint(killed / "weights" / "last.pt")["progress"]["epoch"] < 3
    code, output = run_forked(partial(cli.main, ["--resume", str(killed)]), tmp_path)
    assert code == 0, output
    a, b = (load_checkpoint(folder / "weights" / "last.pt") for folder in (whole, killed))
    for key in ("model", "ema", "ema_updates", "optimizer", "scaler", *(["start"] if where == "save" else [])):
        assert same_tensors(a[key], b[key]), key
    assert a["progress"]["best_ap"] == b["progress"]["best_ap"]
    timed = ("seconds", "data_wait", "memory_gib")
    losses = [[{k: v for k, v in row.items() if k not in timed} for row in c["progress"]["history"]] for c in (a, b)]
    assert losses[0] == losses[1]


def test_resume__refuses_overrides_and_changed_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, train={"epochs": 1})
    run = train_without_plots(load_config(config))
    assert cli.main(["--resume", str(run), "train.lr0=1"]) == 2
    assert "leave out train.lr0=1" in capsys.readouterr().err
    label = next((tmp_path / "data" / "labels" / "train").glob("*.txt"))
    label.write_text("0 0.5 0.5 0.25 0.25\n")
    assert cli.main(["--resume", str(run)]) == 2
    assert "training data changed" in capsys.readouterr().err


def test_auto_resume__of_a_finished_run_asks_for_the_same_config_and_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, train={"epochs": 1, "optimizer": "auto"})
    run = train_without_plots(load_config(config))
    finished = (run / "FINISHED").read_bytes()
    moved, other = make_pairs(tmp_path / "moved", num_train=6, num_val=3), make_pairs(tmp_path / "other", num_train=5)
    other_val = make_pairs(tmp_path / "other_val", num_train=6, num_val=3)
    (other_val.parent / "labels" / "val" / "val_000.txt").write_text("0 0.5 0.5 0.25 0.25\n")
    for words in ([], ["train.keep=7"], [f"data.descriptor={moved}"], ["train.optimizer=auto"]):
        assert cli.main(["--cfg", str(config), "--auto-resume", *words]) == 0
        assert "finished already" in capsys.readouterr().out
    for word, change in (
        ("train.epochs=2", "train.epochs: 1 when it was saved, 2 now"),
        ("model.cut=late", "model.cut: mid when it was saved, late now"),
        ("data.val_split=train", "data.val_split: val when it was saved, train now"),
        (f"data.descriptor={other}", "the training data changed"),
        (f"data.descriptor={other_val}", "the validation split changed"),
    ):
        assert cli.main(["--cfg", str(config), "--auto-resume", word]) == 2
        printed = capsys.readouterr()
        assert "holds a finished run of another config: " in printed.err
        assert f"\n  {change}" in printed.err
        assert "choose another train.run" in printed.err
        assert "finished already" not in printed.out
    assert (run / "FINISHED").read_bytes() == finished


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("labels/val/val_000.txt", "the validation split changed"),
        ("ir/val/val_000.bmp", "the validation images changed"),
        ("rgb/train/train_000.bmp", "the training images changed"),
    ],
)
def test_resume__refuses_other_contents_of_the_same_size_and_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, change: str
) -> None:
    config = write_config(tmp_path, make_pairs(tmp_path / "data", 4, 2, suffixes=(".bmp", ".bmp")), train={"epochs": 1})
    run = train_without_plots(load_config(config))
    exchanged = tmp_path / "data" / file
    status, content = exchanged.stat(), exchanged.read_bytes()
    other = next(path for path in exchanged.parent.iterdir() if path != exchanged).read_bytes()
    assert other != content
    assert len(other) == len(content)
    exchanged.write_bytes(other)
    os.utime(exchanged, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert cli.main(["--resume", str(run)]) == 2
    assert change in capsys.readouterr().err
    assert cli.main(["--resume", str(run), "--force"]) == 0
    assert cli.main(["--resume", str(run)]) == 0


def test_resume_and_val__tell_that_the_descriptor_reads_other_pixels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_pairs(tmp_path / "data", 4, 2, names=("person", "car"), extra={"ir_window": [0, 200]})
    run = train_without_plots(load_config(write_config(tmp_path, data, train={"epochs": 1})))
    (run / "FINISHED").unlink()
    before = data.read_text()
    data.write_text(before.replace("- 200", "- 100").replace("0: person", "0: car").replace("1: car", "1: person"))
    assert cli.main(["--resume", str(run)]) == 2
    error = capsys.readouterr().err
    assert "3 changes\n  names: person, car when it was saved, car, person now\n" in error
    assert "ir_window: [0.0, 200.0] when it was saved, [0.0, 100.0] now" in error
    data.write_text(before.replace("- 200", "- 100"))
    assert val.main(["--run", str(run)]) == 0
    assert "ir_window: [0.0, 200.0] in training, [0.0, 100.0] now" in capsys.readouterr().out
    report = json.loads((run / "eval-data-data-val" / "report.json").read_text())
    assert report["settings"]["ir_window"] == "[0.0, 100.0]"


def _train_with_threads(threads: int, *argv: str) -> int:
    torch.set_num_threads(threads)
    code = cli.main(list(argv))
    assert torch.get_num_threads() == threads  # as the caller had set it
    return code


def test_resume__with_other_threads_restores_those_of_the_run(tmp_path: Path) -> None:
    """Sums over images of 64 px differ in the last digits between one and two threads.

    Each run is a program of its own: OpenMP's threads do not survive the fork of a process that has used them.
    """
    config = write_config(tmp_path, train={"epochs": 1, "val_every": 0, "save_every": 1, "precision": "fp32"})
    ends = {}
    for threads in (2, 1):
        run = tmp_path / f"resumed by {threads}"
        started = _run_here("_start_with_threads", 2, "--cfg", str(config), f"train.run={run}")
        assert started.returncode == -signal.SIGKILL, started.stderr
        resumed = _run_here("_train_with_threads", threads, "--resume", str(run))
        assert resumed.returncode == 0, resumed.stderr
        assert ("torch computes with 2 threads" in resumed.stdout) == (threads == 1)
        ends[threads] = load_checkpoint(run / "weights" / "last.pt")
    assert same_tensors(ends[2]["model"], ends[1]["model"])


def _run_here(function: str, *args: object) -> subprocess.CompletedProcess[str]:
    program = f"import sys; from {__name__} import {function}; sys.exit({function}(*{args!r}))"
    return subprocess.run([sys.executable, "-c", program], cwd=REPO, capture_output=True, text=True, timeout=250)


def _start_with_threads(threads: int, *argv: str) -> int:
    torch.set_num_threads(threads)
    return _train_and_die("step", 2, *argv)


def test_resume__without_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--resume", str(tmp_path / "none")]) == 2
    assert "no run here" in capsys.readouterr().err
