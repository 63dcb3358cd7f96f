"""Test the probe and the monitor of the first steps on tiny runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from tests.support.runs import train_without_plots as train
from tests.support.runs import write_config
from yolofuse.cli import probe as probe_cli
from yolofuse.cli import train as train_cli
from yolofuse.config import load_config
from yolofuse.distributed.ranks import Ranks
from yolofuse.engine import train as loop
from yolofuse.engine.build import build_context
from yolofuse.engine.diagnostics.init_probe import probe
from yolofuse.engine.step import train_step


def _probe(config: Path, out: Path, *arguments: str) -> dict[str, Any]:
    assert probe_cli.main(["--cfg", str(config), "--out", str(out), *arguments]) == 0
    content: dict[str, Any] = json.loads((out / "probe.json").read_text())
    return content


def test_probe__leaves_somebodys_folder_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path)
    assert probe_cli.main(["--cfg", str(config), "--out", str(tmp_path)]) == 2
    assert "holds files of something else (config.yaml" in capsys.readouterr().err


def test_probe__default_is_healthy_and_zeros_are_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, train={"batch": 4})
    assert probe_cli.main(["--cfg", str(config)]) == 0
    out = tmp_path / "run-probe"
    healthy = json.loads((out / "probe.json").read_text())
    assert "verdict: healthy" in capsys.readouterr().out
    assert healthy["verdict"] == "healthy"
    assert {layer["part"] for layer in healthy["layers"]} == {"rgb", "ir", "fusion", "trunk"}
    names = [layer["name"] for layer in healthy["layers"]]
    assert len(set(names)) == len(names)
    assert {"rgb.layers.0.conv", "rgb.layers.0.act", "ir.layers.0.act"} <= set(names)
    first, predicted = healthy["losses"]["first"], healthy["losses"]["predicted"]
    assert first.keys() == predicted.keys() == {"box", "cls", "dfl"}
    assert sum(first.values()) == pytest.approx(sum(predicted.values()), rel=0.1)
    assert cv2.imread(str(out / "probe.png")) is not None
    zeros = ["init.rules=[{type: Conv2d, scheme: zeros}]"]
    broken = _probe(config, out, *zeros, "--modules")
    assert {"dead channels", "vanishing activations", "vanishing gradients"} <= set(broken["verdict"].split(", "))
    assert broken["findings"][0]["layers"][0] == "rgb.layers.0.act"
    assert probe_cli.main(["--cfg", str(config), *zeros, "--strict"]) == 1
    assert not (tmp_path / "run").exists()


def test_probe__overwritten_prior_raises_the_first_loss(tmp_path: Path) -> None:
    found = _probe(write_config(tmp_path), tmp_path / "out", "init.preset=article")
    assert "first loss too high" in found["verdict"]
    assert "prior biases are lost" in found["findings"][0]["text"]


def test_probe__leaves_the_context_unchanged(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path), ["model.base=yolo26n"])
    context = build_context(config, Ranks(0, 1, torch.device("cpu")))
    before = {name: tensor.clone() for name, tensor in context.detector.state_dict().items()}
    modes = [module.training for module in context.detector.modules()]
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]  # noqa: NPY002
    result = probe(context, num_batches=2)
    assert result.losses.first.keys() == {"box", "cls", "l1"}
    assert all(torch.equal(tensor, before[name]) for name, tensor in context.detector.state_dict().items())
    assert [module.training for module in context.detector.modules()] == modes
    assert all(parameter.grad is None for parameter in context.detector.parameters())
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # type: ignore[index]  # noqa: NPY002
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in context.detector.modules())


def test_probe__zero_gamma_is_healthy(tmp_path: Path) -> None:
    found = _probe(write_config(tmp_path), tmp_path / "out", "init.zero_gamma=true")
    assert "dead" not in found["verdict"]
    assert "vanishing activations" not in found["verdict"]


def test_train__non_finite_loss_names_the_layer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, train={"nominal_batch": 2, "warmup_epochs": 0})
    assert train_cli.main(["--cfg", str(config), "train.lr0=1.0e30", "train.nan_rollbacks=0"]) == 2
    message = capsys.readouterr().err
    assert "not finite in step 2" in message
    assert "it began in rgb.layers." in message
    rows = (tmp_path / "run" / "first_steps.csv").read_text().splitlines()
    assert len(rows) == 3
    assert "nan" in rows[-1]


def test_first_steps__of_a_resumed_run_equal_the_uninterrupted_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_config(tmp_path)
    options = ["train.monitor_steps=5", "train.save_every=1", "train.val_every=0"]
    whole = train(load_config(config, [*options, f"train.run={tmp_path / 'whole'}"]))
    calls: list[int] = []

    def stops(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return train_step(*args, **kwargs)

    monkeypatch.setattr(loop, "train_step", stops)
    stopped = load_config(config, [*options, f"train.run={tmp_path / 'stopped'}"])
    with pytest.raises(KeyboardInterrupt):
        train(stopped)
    monkeypatch.undo()
    train(stopped, resume="always")
    text = (whole / "first_steps.csv").read_text()
    assert len(text.splitlines()) == 6
    assert (tmp_path / "stopped" / "first_steps.csv").read_text() == text


def test_monitor__does_not_change_the_weights(tmp_path: Path) -> None:
    config = write_config(tmp_path, train={"epochs": 1, "clip_norm": 0.0, "val_every": 0})
    states = []
    for steps in (0, 100):
        run = tmp_path / f"run{steps}"
        train(load_config(config, [f"train.monitor_steps={steps}", f"train.run={run}"]))
        states.append(torch.load(run / "weights" / "last.pt", weights_only=True)["model"])
        assert (run / "first_steps.csv").exists() == bool(steps)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
