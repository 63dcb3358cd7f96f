"""Test several ranks: they end identical to each other, and evaluate exactly as one process does."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

import yolofuse.engine.lifecycle as lifecycle
from tests.support.processes import run_ranks
from tests.support.runs import REPO, run_python, same_tensors, train_without_plots, write_config
from yolofuse.cli import val
from yolofuse.config import load_config
from yolofuse.engine.build import TrainContext, build_context
from yolofuse.weights import load_checkpoint


def _train_and_keep_state(config: Path, folder: Path, *overrides: str) -> None:
    """Train as one rank, and save what this rank ends with."""
    contexts: list[TrainContext] = []

    def build(*args: Any, **options: Any) -> TrainContext:
        contexts.append(build_context(*args, **options))
        return contexts[-1]

    with mock.patch.object(lifecycle, "build_context", build):
        train_without_plots(load_config(config, list(overrides)))
    (context,) = contexts
    state = {"model": context.detector.state_dict(), "ema": context.ema.ema.state_dict()}
    torch.save(state, folder / f"rank{context.ranks.rank}.pt")


@pytest.mark.parametrize(
    ("base", "head"),
    [pytest.param("yolov8n", "dfl", marks=pytest.mark.soak), ("yolo26n", "dfl"), ("yolov5n", "anchors")],
)
def test_training__two_gloo_ranks_end_identical(tmp_path: Path, base: str, head: str) -> None:
    config = write_config(tmp_path, model={"base": base, "head": head})
    codes, output = run_ranks(lambda rank: _train_and_keep_state(config, tmp_path, "train.batch=4"), tmp_path)
    assert codes == [0, 0], output
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert same_tensors(first, second)
    saved = load_checkpoint(tmp_path / "run" / "weights" / "last.pt")
    assert same_tensors(saved["model"], first["model"])


def test_evaluation__sharded_equals_single_process(tmp_path: Path) -> None:
    run = train_without_plots(load_config(write_config(tmp_path), ["train.epochs=1"]))

    def evaluate(out: Path) -> int:
        return val.main(["--run", str(run), "--out", str(out), "val.conf=0.0"])

    assert evaluate(tmp_path / "eval1") == 0
    codes, output = run_ranks(lambda rank: evaluate(tmp_path / "eval2"), tmp_path)
    assert codes == [0, 0], output
    files = {}
    for ranks in (1, 2):
        out = tmp_path / f"eval{ranks}"
        files[ranks] = {name: (out / name).read_bytes() for name in ("predictions.json", "ground_truth.json")}
    assert len(files[1]["predictions.json"]) > 1000
    assert files[1] == files[2]


def test_batch__not_divisible_by_ranks_is_refused(tmp_path: Path) -> None:
    config = write_config(tmp_path, train={"batch": 3})
    ended = run_python(REPO / "train_dual.py", "--cfg", str(config), ranks=2)
    assert ended.returncode != 0
    assert "3 pairs cannot be divided evenly among 2 ranks" in ended.stderr
    assert not (tmp_path / "run").exists()
