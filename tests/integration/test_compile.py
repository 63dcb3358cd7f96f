"""Test that a compiled model trains to the same losses, and its tensors keep their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.runs import train_without_plots as train
from tests.support.runs import write_config
from yolofuse.cli import train as cli
from yolofuse.config import load_config
from yolofuse.engine.diagnostics.early_steps import read_steps
from yolofuse.weights import load_checkpoint


@pytest.mark.parametrize("mode", [pytest.param("model", marks=pytest.mark.soak), "streams"])
def test_compile__keeps_losses_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    compiled: list[str] = []
    original = nn.Module.compile

    def compile_traced(module: nn.Module, *args: Any, **kwargs: Any) -> None:
        """Trace with Dynamo and autograd but skip minutes of C++ compilation, in which none of our code runs."""
        compiled.append(type(module).__name__)
        original(module, *args, backend="aot_eager", **kwargs)

    monkeypatch.setattr(nn.Module, "compile", compile_traced)
    torch.compiler.reset()
    losses, names = [], []
    for compile_mode in ("none", mode):
        options = [f"train.compile={compile_mode}", f"train.run={tmp_path / compile_mode}", "train.epochs=1"]
        run = train(load_config(write_config(tmp_path), options))
        losses.append([step.total for step in read_steps(run / "first_steps.csv")])
        names.append(list(load_checkpoint(run / "weights" / "best.pt")["ema"]))
    torch.compiler.reset()
    parts = ["LayerRun", "LayerRun", *["ConcatFusion"] * 3, "LayerRun"]
    assert compiled == (["DualStreamDetector"] if mode == "model" else parts)
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert names[0] == names[1]


def test_overlap__needs_a_gpu_and_two_streams(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--cfg", str(write_config(tmp_path)), "train.overlap=true"]) == 2
    assert "train.overlap: needs a GPU" in capsys.readouterr().err


def test_batch__automatic_needs_a_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--cfg", str(write_config(tmp_path)), "train.batch=-1"]) == 2
    assert "-1 needs a GPU" in capsys.readouterr().err
    assert cli.main(["--cfg", str(write_config(tmp_path)), "train.batch=0"]) == 2
    assert "-1 for as many as fit" in capsys.readouterr().err
