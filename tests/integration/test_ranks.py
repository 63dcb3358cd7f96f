"""Test several ranks: they end identical to each other, and evaluate exactly as one process does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.runs import REPO, run_python, same_tensors, write_config
from yolofuse.config import load_config
from yolofuse.engine.train import train
from yolofuse.weights import load_checkpoint

_RANK = """
import sys
from pathlib import Path
import torch
import yolofuse.engine.lifecycle as lifecycle
from yolofuse.config import load_config
from yolofuse.engine.train import train

contexts = []
build_context = lifecycle.build_context
lifecycle.build_context = lambda *args, **options: contexts.append(build_context(*args, **options)) or contexts[0]
train(load_config(Path(sys.argv[1]), sys.argv[3:]))
context = contexts[0]
state = {"model": context.detector.state_dict(), "ema": context.ema.ema.state_dict()}
torch.save(state, Path(sys.argv[2]) / f"rank{context.ranks.rank}.pt")
"""


@pytest.mark.parametrize("base", [pytest.param("yolov8n", marks=pytest.mark.soak), "yolo26n"])
def test_training__two_gloo_ranks_end_identical(tmp_path: Path, base: str) -> None:
    import torch

    config = write_config(tmp_path, model={"base": base})
    script = tmp_path / "rank.py"
    script.write_text(_RANK)
    ended = run_python(script, str(config), str(tmp_path), "train.batch=4", ranks=2)
    assert ended.returncode == 0, ended.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert same_tensors(first, second)
    saved = load_checkpoint(tmp_path / "run" / "weights" / "last.pt")
    assert same_tensors(saved["model"], first["model"])


def test_evaluation__sharded_equals_single_process(tmp_path: Path) -> None:
    run = train(load_config(write_config(tmp_path), ["train.epochs=1"]))
    files = {}
    for ranks in (1, 2):
        out = tmp_path / f"eval{ranks}"
        ended = run_python(REPO / "val_dual.py", "--run", str(run), "--out", str(out), "val.conf=0.0", ranks=ranks)
        assert ended.returncode == 0, ended.stderr[-3000:]
        files[ranks] = {name: (out / name).read_bytes() for name in ("predictions.json", "ground_truth.json")}
    assert len(files[1]["predictions.json"]) > 1000
    assert files[1] == files[2]


def test_batch__not_divisible_by_ranks_is_refused(tmp_path: Path) -> None:
    config = write_config(tmp_path, train={"batch": 3})
    ended = run_python(REPO / "train_dual.py", "--cfg", str(config), ranks=2)
    assert ended.returncode != 0
    assert "3 pairs cannot be divided evenly among 2 ranks" in ended.stderr
    assert not (tmp_path / "run").exists()
