"""Test the CUDA path: trains in every precision, agrees with the CPU, resumes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.pairs import make_pairs
from tests.support.runs import write_config
from yolofuse.cli import probe as probe_cli
from yolofuse.cli import train as train_cli
from yolofuse.config import ModelConfig, load_config
from yolofuse.distributed.ranks import join_ranks
from yolofuse.engine.build import build_context, first_batches
from yolofuse.engine.diagnostics.early_steps import read_steps
from yolofuse.engine.evaluate_checkpoint import evaluate_run
from yolofuse.engine.train import train
from yolofuse.model import build_detector
from yolofuse.weights import load_checkpoint

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_train__on_cuda(tmp_path: Path, precision: str) -> None:
    options = ["train.device=cuda", f"train.precision={precision}", f"val.precision={precision}", "data.workers=2"]
    run = train(load_config(write_config(tmp_path), options))
    content = load_checkpoint(run / "weights" / "last.pt")
    assert all(tensor.isfinite().all() for tensor in content["model"].values())
    assert evaluate_run(run) is not None
    steps = read_steps(run / "first_steps.csv")  # copied from the device every ten steps; none may be missing
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    assert len(steps) == 6  # two epochs of three batches


def test_probe__measures_fp16_under_autocast(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, train={"device": "cuda", "batch": 4})
    assert probe_cli.main(["--cfg", str(config)]) == 0
    assert "fp16 was measured under autocast" in capsys.readouterr().out


def test_train__non_finite_loss_is_reported_on_cuda(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, train={"device": "cuda", "lr0": 1e30, "warmup_epochs": 0})
    assert train_cli.main(["--cfg", str(config)]) == 2
    assert "not finite" in capsys.readouterr().err


@pytest.mark.parametrize("cut", ["input", "mid", "decision"])
def test_forward__equals_the_cpu(cut: str) -> None:
    detector = build_detector(ModelConfig(base="yolo11n", cut=cut), num_classes=2).eval()  # type: ignore[arg-type]
    rgb, ir = torch.rand(1, 3, 128, 128), torch.rand(1, 1, 128, 128)
    with torch.no_grad():
        expected = {name: output[0] for name, output in detector(rgb, ir).items()}
        found = {name: output[0].cpu() for name, output in detector.cuda()(rgb.cuda(), ir.cuda()).items()}
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-2)


def test_resume__on_cuda_continues_training(tmp_path: Path) -> None:
    config = write_config(tmp_path, train={"device": "cuda"})
    run = train(load_config(config))
    resumed = load_config(run / "config.yaml")
    resumed = resumed.model_copy(update={"train": resumed.train.model_copy(update={"epochs": 3})})
    train(resumed, resume="always", force=True)
    assert load_checkpoint(run / "weights" / "last.pt")["progress"]["epoch"] == 3


@pytest.mark.parametrize("options", [[], ["train.decode=nvjpeg"], ["train.cache=ram"]], ids=" ".join)
def test_device_augmentation__trains_like_the_loader(tmp_path: Path, options: list[str]) -> None:
    """The random draws are equal and the pixels nearly so: the first losses agree."""
    descriptor = make_pairs(tmp_path / "set", 6, 2, (152, 200), suffixes=(".jpg", ".jpg"))
    losses = []
    for augment_on in ("loader", "device"):
        folder = tmp_path / augment_on
        folder.mkdir()
        train_options = {"device": "cuda", "augment_on": augment_on, "epochs": 1}
        config = write_config(folder, descriptor, data={"workers": 2}, train=train_options)
        run = train(load_config(config, options if augment_on == "device" else []))
        losses.append([step.terms["box"] for step in read_steps(run / "first_steps.csv")])
    assert losses[1][0] == pytest.approx(losses[0][0], rel=0.05)


def test_prefetcher__returns_the_batches_of_the_loader(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path, train={"device": "cuda"}, data={"workers": 2}))
    with join_ranks("cuda") as ranks:
        context = build_context(config, ranks)
        prefetched = [batch.pixels.cpu() for batch in context.train_loader]
        expected = [batch.to(torch.device("cpu")).pixels for batch in first_batches(context, len(prefetched))]
    assert len(prefetched) == 3
    for one, two in zip(prefetched, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-6)
