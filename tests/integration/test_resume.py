"""Test that a run killed at any step and resumed ends bit-identical to an uninterrupted one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.runs import REPO, run_python, same_tensors, train_without_plots, write_config
from yolofuse.config import load_config
from yolofuse.engine.train import train
from yolofuse.weights import load_checkpoint

_KILL_SCRIPT = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from yolofuse.cli.train import main
import yolofuse.engine.train as loop
import yolofuse.weights.checkpoint as checkpoint

where, count = sys.argv[1], int(sys.argv[2])
calls = 0

def die_at(function):
    def wrapped(*args, **kwargs):
        global calls
        calls += 1
        if calls == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return wrapped

if where == "step":
    loop.train_step = die_at(loop.train_step)
else:  # after the new file is written, before it is renamed
    checkpoint.Path.replace = die_at(checkpoint.Path.replace)
sys.exit(main(sys.argv[3:]))
"""

_OPTIONS = ["train.epochs=3", "train.save_every=2", "train.multi_scale=0.3"]
_KILLS = [
    ("step", 1, 0),
    ("step", 5, 2),
    ("step", 8, 0),
    ("save", 3, 0),
    ("step", 1, 2),
    ("step", 5, 0),
    ("save", 3, 2),
]
_QUICK = {("step", 5, 2), ("save", 3, 0)}


@pytest.mark.parametrize(
    ("where", "count", "workers"),
    [pytest.param(*kill, marks=[] if kill in _QUICK else pytest.mark.soak) for kill in _KILLS],
)
def test_resume__after_sigkill_is_bit_identical(tmp_path: Path, where: str, count: int, workers: int) -> None:
    config = write_config(tmp_path, data={"workers": workers})
    whole = train_without_plots(load_config(config, [*_OPTIONS, f"train.run={tmp_path / 'whole'}"]))
    killed = tmp_path / "killed"
    script = tmp_path / "killed.py"
    script.write_text(_KILL_SCRIPT)
    ended = run_python(script, where, str(count), "--cfg", str(config), *_OPTIONS, f"train.run={killed}")
    assert ended.returncode == -9, ended.stderr
    if (killed / "weights" / "last.pt").exists():
        assert load_checkpoint(killed / "weights" / "last.pt")["progress"]["epoch"] < 3
    resumed = run_python(REPO / "train_dual.py", "--resume", str(killed))
    assert resumed.returncode == 0, resumed.stderr
    a, b = (load_checkpoint(folder / "weights" / "last.pt") for folder in (whole, killed))
    for key in ("model", "ema", "ema_updates", "optimizer", "scaler"):
        assert same_tensors(a[key], b[key]), key
    assert a["progress"]["best_ap"] == b["progress"]["best_ap"]
    timed = ("seconds", "data_wait")
    losses = [[{k: v for k, v in row.items() if k not in timed} for row in c["progress"]["history"]] for c in (a, b)]
    assert losses[0] == losses[1]


def test_resume__refuses_overrides_and_changed_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from yolofuse.cli import train as cli

    config = write_config(tmp_path, train={"epochs": 1})
    run = train(load_config(config))
    assert cli.main(["--resume", str(run), "train.lr0=1"]) == 2
    assert "leave out train.lr0=1" in capsys.readouterr().err
    label = next((tmp_path / "data" / "labels" / "train").glob("*.txt"))
    label.write_text("0 0.5 0.5 0.25 0.25\n")
    assert cli.main(["--resume", str(run)]) == 2
    assert "training data changed" in capsys.readouterr().err


def test_resume__without_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from yolofuse.cli import train as cli

    assert cli.main(["--resume", str(tmp_path / "none")]) == 2
    assert "no run here" in capsys.readouterr().err
