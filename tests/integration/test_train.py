"""Train tiny runs from one YAML: check their files, and their metrics with the COCO API."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
import yaml
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.support.pairs import make_pairs
from tests.support.runs import train_without_plots as train
from tests.support.runs import write_config
from yolofuse.cli import compare
from yolofuse.cli import train as train_cli
from yolofuse.cli import val as val_cli
from yolofuse.config import ModelConfig, load_config
from yolofuse.distributed.ranks import Ranks
from yolofuse.engine.build import new_detector
from yolofuse.engine.dataloaders import load_split
from yolofuse.model import build_detector
from yolofuse.weights import load_and_initialise, load_checkpoint

MODELS: list[dict[str, Any]] = [
    {"base": "yolov8n", "streams": "rgb"},
    {"base": "yolov8n", "streams": "ir"},
    {"base": "yolov8n", "cut": "input"},
    {"base": "yolo11n", "cut": "mid", "fusion": "attention", "share": True},
    {"base": "yolo26n", "cut": "early", "fusion": "gated"},
    {"base": "yolov10n", "cut": "late", "fusion": "add"},
    {"base": "yolov8n", "cut": "decision", "merge": "proben"},
    {"base": "yolo26n", "cut": "decision", "merge": "nms"},
]
QUICK = MODELS[2:5:2] + MODELS[6:7]


@pytest.mark.parametrize(
    "model",
    [pytest.param(m, marks=[] if m in QUICK else pytest.mark.soak) for m in MODELS],
    ids=["-".join(map(str, m.values())) for m in MODELS],
)
def test_run__trains_and_is_evaluated(tmp_path: Path, model: dict[str, Any]) -> None:
    config = write_config(tmp_path, model=model)
    assert train_cli.main(["--cfg", str(config), "train.epochs=1"]) == 0
    run = tmp_path / "run"
    for name in ("config.yaml", "results.csv", "weights/last.pt", "weights/best.pt"):
        assert (run / name).is_file(), name
    for name in ("curves.png", "train_batch0.jpg"):
        assert cv2.imread(str(run / name)) is not None, name
    assert val_cli.main(["--run", str(run)]) == 0
    _assert_rescored(run / "eval-val")


def _assert_rescored(folder: Path) -> None:
    """Check that pycocotools, on the saved files alone, gives every digit of the report."""
    report = json.loads((folder / "report.json").read_text())
    truth = COCO(str(folder / "ground_truth.json"))
    predictions = json.loads((folder / "predictions.json").read_text())
    evaluation = COCOeval(truth, truth.loadRes(predictions) if predictions else COCO(), "bbox")
    if not predictions:
        return
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    names = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
    flat = report.get("figures", report)
    assert [flat[name] for name in names] == evaluation.stats.tolist()


def test_saved_config__reproduces_the_run(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    train(load_config(config))
    again = tmp_path / "again"
    assert train_cli.main(["--cfg", str(tmp_path / "run" / "config.yaml"), f"train.run={again}"]) == 0
    first, second = (load_checkpoint(folder / "weights" / "last.pt") for folder in (tmp_path / "run", again))
    assert all(torch.equal(first["ema"][name], second["ema"][name]) for name in first["ema"])


def test_results__have_a_row_per_epoch_with_losses_and_ap(tmp_path: Path) -> None:
    train(load_config(write_config(tmp_path), ["train.epochs=3", "train.val_every=2"]))
    with (tmp_path / "run" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [bool(row["val/AP"]) for row in rows] == [False, True, True]
    assert all(float(row["train/box"]) > 0 for row in rows)


def test_loss__falls_on_a_learnable_set(tmp_path: Path) -> None:
    """Train and evaluate on the same bright boxes on noise, which any working detector finds."""
    descriptor = make_pairs(tmp_path / "data", num_train=16, num_val=1, size_hw=(96, 128))
    train_options = {"epochs": 16, "batch": 4, "nominal_batch": 4, "imgsz": 128, "optimizer": "adamw", "lr0": 0.002}
    config = write_config(
        tmp_path,
        descriptor,
        data={"val_split": "train"},
        train=train_options
        | {"warmup_bias_lr": 0.002, "bn_momentum": 0.2, "val_every": 0, "augment": {"mosaic": 0.0, "scale": 0.1}},
    )
    train(load_config(config))
    with (tmp_path / "run" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["train/cls"]) < 0.7 * float(rows[2]["train/cls"])
    assert float(rows[-1]["val/AP50"]) > 0.5


@pytest.mark.parametrize(
    "overrides",
    [
        ["train.optimizer=musgd", "train.multi_scale=0.5", "val.letterbox=square"],
        ["train.optimizer=adamw", "train.schedule=linear", "train.clip_norm=0", "train.freeze=[rgb.*, ir.*]"],
        ["train.precision=bf16", "val.precision=bf16", "train.channels_last=false"],
    ],
    ids=lambda overrides: overrides[0],
)
def test_options__train(tmp_path: Path, overrides: list[str]) -> None:
    folder = train(load_config(write_config(tmp_path), [*overrides, "train.epochs=1"]))
    content = load_checkpoint(folder / "weights" / "last.pt")
    assert all(tensor.isfinite().all() for tensor in content["model"].values())


def test_freeze__keeps_weights_and_statistics(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path), ["train.freeze=[rgb.*]", "train.epochs=1"])
    before = build_detector(config.model, num_classes=1)
    load_and_initialise(before, config, ("person",))
    after = load_checkpoint(train(config) / "weights" / "last.pt")["model"]
    changed = {name.split(".")[0] for name in after if not torch.equal(before.state_dict()[name], after[name])}
    assert changed == {"ir", "fusion", "trunk"}


def test_patience__stops_early(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path), ["train.epochs=30", "train.patience=2", "train.lr0=1.0e-9"])
    folder = train(config)
    rows = (folder / "results.csv").read_text().splitlines()
    assert len(rows) - 1 < 30


def test_pretrained__both_streams_start_from_the_same_weights(tmp_path: Path) -> None:
    """A state_dict of the single-stream model is loaded into both streams and the trunk, and trains."""
    single = build_detector(ModelConfig(base="yolov8n", streams="rgb"), num_classes=1, seed=9)
    state = {name.replace("trunk.layers.", "model."): tensor for name, tensor in single.state_dict().items()}
    torch.save(state, tmp_path / "single.pt")
    config = load_config(write_config(tmp_path, weights={"pretrained": str(tmp_path / "single.pt")}))
    pairs = load_split(config, "train", Ranks(0, 1, torch.device("cpu")))
    detector = new_detector(config, len(pairs.names))
    report = load_and_initialise(detector, config, pairs.names)
    assert {report.count(part)["initialised"] for part in ("rgb", "ir", "trunk")} == {0}
    assert report.count("ir")["inflated"] == 1
    name = "layers.4.cv1.conv.weight"
    assert torch.equal(detector.get_parameter(f"rgb.{name}"), single.get_parameter(f"trunk.{name}"))
    assert torch.equal(detector.get_parameter(f"ir.{name}"), single.get_parameter(f"trunk.{name}"))
    stem = single.get_parameter("trunk.layers.0.conv.weight").sum(1, keepdim=True)
    assert torch.equal(detector.get_parameter("ir.layers.0.conv.weight"), stem)
    train(config)


def test_run_folder__in_use_is_refused_and_unchanged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, train={"epochs": 1})
    assert train_cli.main(["--cfg", str(config)]) == 0
    before = (tmp_path / "run" / "weights" / "last.pt").read_bytes()
    assert train_cli.main(["--cfg", str(config)]) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert (tmp_path / "run" / "weights" / "last.pt").read_bytes() == before


def test_checkpoint__is_plain_data(tmp_path: Path) -> None:
    folder = train(load_config(write_config(tmp_path), ["train.epochs=1"]))
    for name in ("last.pt", "best.pt"):
        torch.load(folder / "weights" / name, weights_only=True)
    assert yaml.safe_load((folder / "config.yaml").read_text())["train"]["imgsz"] == 64


def test_val__other_data_has_its_own_root_and_folder(tmp_path: Path) -> None:
    """A run trained with data.root must not be evaluated on that root under another descriptor's name."""
    descriptor = make_pairs(tmp_path / "data", num_train=4, num_val=3)
    run = train(load_config(write_config(tmp_path, descriptor), ["train.epochs=1", f"data.root={tmp_path / 'data'}"]))
    other = make_pairs(tmp_path / "other", num_train=1, num_val=2)
    assert val_cli.main(["--weights", str(run / "weights" / "best.pt"), "--data", str(other)]) == 0
    report = json.loads((run / "eval-other-data-val" / "report.json").read_text())
    assert report["num_images"] == 2
    assert report["settings"]["data"] == str(other)
    assert not (run / "eval-val").exists()


def test_val__another_root_or_changed_labels_leave_the_runs_own_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    descriptor = make_pairs(tmp_path / "data", num_train=4, num_val=3)
    run = train(load_config(write_config(tmp_path, descriptor), ["train.epochs=1"]))
    make_pairs(tmp_path / "moved", num_train=4, num_val=2)
    assert val_cli.main(["--run", str(run)]) == 0
    own = (run / "eval-val" / "report.json").read_bytes()
    assert val_cli.main(["--run", str(run), f"data.root={tmp_path / 'moved'}"]) == 0
    settings = json.loads((run / "eval-moved-data-val" / "report.json").read_text())["settings"]
    assert settings["root"] == str(tmp_path / "moved")
    labels = next(descriptor.parent.glob("labels/val/*.txt"))
    labels.write_text("0 0.5 0.5 0.25 0.25\n")
    assert "changed since" not in caplog.text
    assert val_cli.main(["--run", str(run)]) == 0
    assert "[val]: changed since the run was trained: pairs or labels; its metrics differ" in caplog.text
    assert (run / "eval-data-data-val" / "report.json").is_file()
    assert (run / "eval-val" / "report.json").read_bytes() == own
    assert val_cli.main(["--run", str(run), "--out", str(run / "eval-val"), "val.conf=0.5"]) == 0
    capsys.readouterr()
    assert compare.main([str(run), str(run), "--resamples", "2"]) in (0, 2)
    assert "eval-val: evaluated with conf=0.5, which is not what" in capsys.readouterr().err


def test_val__other_weights_or_reading_leave_the_runs_own_report(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    descriptor = make_pairs(tmp_path / "data", num_train=4, num_val=3)
    config = load_config(write_config(tmp_path, descriptor), ["train.epochs=1", "val.conf=0.0001"])
    run = train(config)
    assert val_cli.main(["--run", str(run)]) == 0
    own = (run / "eval-val" / "report.json").read_bytes()
    first = run / "weights" / "step_00000000.pt"
    assert val_cli.main(["--weights", str(first), "--data", str(descriptor)]) == 0
    settings = json.loads((run / "eval-val-step_00000000" / "report.json").read_text())["settings"]
    assert settings["weights"] == str(first)
    descriptor.write_text(descriptor.read_text() + "resize: {affine: [[1, 0, 9], [0, 1, 0]]}\n")
    assert val_cli.main(["--run", str(run)]) == 0
    settings = json.loads((run / "eval-data-data-val" / "report.json").read_text())["settings"]
    assert settings["affine"] == "[1.0, 0.0, 9.0, 0.0, 1.0, 0.0]"
    assert (run / "eval-val" / "report.json").read_bytes() == own
    next(descriptor.parent.glob("ir/val/*.png")).touch()  # its hash is no longer known
    assert val_cli.main(["--run", str(run), "data.verify=false"]) == 0
    assert "its images can't be compared with those of the run, since data.verify is off" in caplog.text


def test_resume__of_a_finished_run_needs_no_pretrained_file(tmp_path: Path) -> None:
    from yolofuse.config import ModelConfig
    from yolofuse.model import build_detector

    single = build_detector(ModelConfig(base="yolov8n", streams="rgb"), num_classes=1)
    weights = tmp_path / "single.pt"
    torch.save({n.replace("trunk.layers.", "model."): t for n, t in single.state_dict().items()}, weights)
    run = train(load_config(write_config(tmp_path, weights={"pretrained": str(weights)}), ["train.epochs=1"]))
    weights.unlink()
    (run / "results.csv").unlink()
    assert train_cli.main(["--resume", str(run)]) == 0
    assert len((run / "results.csv").read_text().splitlines()) == 3  # with the start, epoch 0


def test_device_auto__says_that_it_is_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with caplog.at_level("INFO", "yolofuse"):
        train(load_config(write_config(tmp_path), ["train.epochs=1", "train.device=auto"]))
    assert f"train.device: auto is the CPU, since torch {torch.__version__} finds no GPU" in caplog.messages
