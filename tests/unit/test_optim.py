"""Groups, schedule, freezing, and the loss that several heads share."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from yolofuse.config import LossConfig, ModelConfig, TrainConfig
from yolofuse.engine.loss import DetectionLoss
from yolofuse.engine.optim import Schedule, build_optimizer
from yolofuse.model import build_detector


def config(**values: Any) -> TrainConfig:
    return TrainConfig(run="r", **values)


@pytest.mark.parametrize("name", ["sgd", "adamw", "musgd"])
def test_groups__hold_each_parameter_once_and_decay_weights_only(name: Any) -> None:
    detector = build_detector(ModelConfig(base="yolov8n"), num_classes=2)
    optimizer = build_optimizer(detector, config(optimizer=name))
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in detector.parameters() if p.requires_grad)
    for group in optimizer.param_groups:
        assert (group["weight_decay"] > 0) == (group["kind"] == "weight")
        assert all((p.ndim >= 2) == (group["kind"] == "weight") for p in group["params"])


@pytest.mark.parametrize(("kind", "middle"), [("cosine", 0.5050), ("linear", 0.5050)])
def test_schedule__falls_from_lr0_to_its_end(kind: Any, middle: float) -> None:
    schedule = Schedule(config(epochs=10, warmup_epochs=0, schedule=kind, lr0=1.0, lrf=0.01), 100)
    assert schedule.rate(0) == 1.0
    assert schedule.rate(500) == pytest.approx(middle)
    assert schedule.rate(1000) == pytest.approx(0.01)
    quarter = schedule.rate(250)
    assert quarter == pytest.approx(0.8550 if kind == "cosine" else 0.7525, abs=1e-3)


def test_schedule__warms_up_rates_momentum_and_accumulation() -> None:
    train = config(epochs=10, warmup_epochs=1, batch=8, nominal_batch=64, lr0=0.01, warmup_bias_lr=0.1)
    schedule = Schedule(train, 100)
    optimizer = build_optimizer(build_detector(ModelConfig(base="yolov8n"), num_classes=2), train)
    schedule.apply(optimizer, 0)
    assert {group["kind"]: group["lr"] for group in optimizer.param_groups} == {"weight": 0, "norm": 0, "bias": 0.1}
    assert optimizer.param_groups[0]["momentum"] == 0.8
    assert [schedule.accumulation(step) for step in (0, 50, 100, 900)] == [1, 4, 8, 8]
    schedule.apply(optimizer, 100)
    assert len({group["lr"] for group in optimizer.param_groups}) == 1
    assert optimizer.param_groups[0]["momentum"] == 0.937


def test_loss__end_to_end_balance_is_a_function_of_the_epoch() -> None:
    detector = build_detector(ModelConfig(base="yolo26n", streams="rgb"), num_classes=2)
    walked = DetectionLoss(detector, LossConfig(), epochs=5)
    for _ in range(3):
        walked.end_epoch()
    jumped = DetectionLoss(detector, LossConfig(), epochs=5)
    jumped.set_epoch(3)
    a, b = (loss._losses["trunk"] for loss in (walked, jumped))
    assert (a.o2m, a.o2o, a.updates) == (b.o2m, b.o2o, b.updates)
    assert a.o2m < 0.8


def test_loss__decision_sums_both_heads() -> None:
    from tests.unit.test_model import random_batch

    batch = random_batch()
    detector = build_detector(ModelConfig(base="yolov8n", cut="decision"), num_classes=3).train()
    outputs = detector(batch.rgb, batch.ir)
    total, terms = DetectionLoss(detector, LossConfig(), 3)(outputs, batch)
    parts = []
    for name in ("rgb", "ir"):
        alone = DetectionLoss(detector, LossConfig(), 3)
        alone._losses = {name: alone._losses[name]}
        parts.append(alone(outputs, batch)[0])
    torch.testing.assert_close(total, parts[0] + parts[1])
    torch.testing.assert_close(total.detach(), sum(terms.values()) * len(batch))
