"""Groups, updates, schedule, freezing, and the loss that several heads share."""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from yolofuse.config import LossConfig, ModelConfig, TrainConfig
from yolofuse.engine.loss import DetectionLoss
from yolofuse.engine.optim import Schedule, build_optimizer, skip_if
from yolofuse.model import build_detector
from yolofuse.upstream import E2ELoss


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


def small_model() -> nn.Sequential:
    """Weights, norms and biases; channels last, as the training keeps them."""
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 6, 1))
    return made.to(memory_format=torch.channels_last)


def give_gradients(model: nn.Module, seed: int) -> None:
    """The same gradients for every copy of a model, in the parameters' layout as autograd leaves them."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.empty_like(parameter).copy_(torch.randn(parameter.shape, generator=generator))


def held(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Copies of everything that an update may change."""
    states = [value for state in optimizer.state_dict()["state"].values() for value in state.values()]
    return [tensor.detach().clone() for tensor in (*model.parameters(), *states)]


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_update__of_one_kernel_is_that_of_a_loop(name: Any) -> None:
    model = small_model()
    plain = copy.deepcopy(model)
    train = config(optimizer=name, lr0=0.01, weight_decay=0.05)
    optimizer = build_optimizer(model, train)
    assert all(group["fused"] for group in optimizer.param_groups)
    groups = [
        {key: value for key, value in group.items() if key not in {"params", "fused", "foreach", "kind"}}
        | {"params": params}
        for group, params in zip(optimizer.param_groups, _as_grouped(model, plain, optimizer), strict=True)
    ]
    way = torch.optim.SGD if name == "sgd" else torch.optim.AdamW
    looped = way(groups, foreach=False)
    for step in range(5):
        for each, taken in ((model, optimizer), (plain, looped)):
            give_gradients(each, step)
            for group in taken.param_groups:
                group["lr"] = 0.01 * (step + 1)
                group["momentum" if name == "sgd" else "betas"] = 0.8 + step / 50 if name == "sgd" else (0.9, 0.999)
            taken.step()
    for found, wanted in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def _as_grouped(model: nn.Module, other: nn.Module, optimizer: torch.optim.Optimizer) -> list[list[nn.Parameter]]:
    """The parameters of a copy in the groups that the original's have."""
    twins = {id(p): q for p, q in zip(model.parameters(), other.parameters(), strict=True)}
    return [[twins[id(p)] for p in group["params"]] for group in optimizer.param_groups]


@pytest.mark.parametrize("name", ["sgd", "adamw", "musgd"])
def test_update__goes_on_from_a_saved_state_to_the_last_bit(name: Any) -> None:
    model = small_model()
    optimizer = build_optimizer(model, config(optimizer=name))
    for step in range(2):
        give_gradients(model, step)
        optimizer.step()
    other = copy.deepcopy(model)
    resumed = build_optimizer(other, config(optimizer=name))
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for each, taken in ((model, optimizer), (other, resumed)):
        give_gradients(each, 2)
        taken.step()
    for a, b in zip(held(model, optimizer), held(other, resumed), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
@pytest.mark.parametrize("skipped", [0, 2], ids=["first", "third"])
def test_update__that_is_skipped_changes_nothing(name: Any, skipped: int) -> None:
    """Not even momenta and counts: the updates after it are those of a run that never had it."""
    model = small_model()
    other = copy.deepcopy(model)
    optimizer, whole = (build_optimizer(each, config(optimizer=name, lr0=0.01)) for each in (model, other))
    for step in range(4):
        is_bad = step == skipped
        give_gradients(model, step)
        if is_bad:
            for parameter in model.parameters():
                assert parameter.grad is not None
                parameter.grad[...] = float("nan")
        before = held(model, optimizer)
        assert skip_if(optimizer, torch.tensor(is_bad))
        optimizer.step()
        assert all(torch.equal(a, b) for a, b in zip(before, held(model, optimizer), strict=False)) == is_bad
        if not is_bad:
            give_gradients(other, step)
            whole.step()
    for found, wanted in zip(held(model, optimizer), held(other, whole), strict=True):
        assert torch.equal(found, wanted)


def test_update__of_musgd_cannot_be_skipped_on_the_device() -> None:
    assert not skip_if(build_optimizer(small_model(), config(optimizer="musgd")), torch.tensor(True))


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
    a, b = (cast(E2ELoss, loss._losses["trunk"]) for loss in (walked, jumped))
    assert (a.o2m, a.o2o, a.updates) == (b.o2m, b.o2o, b.updates)
    assert a.o2m < 0.8


def test_loss__decision_sums_both_heads() -> None:
    from tests.support.detectors import random_batch

    batch = random_batch()
    detector = build_detector(ModelConfig(base="yolov8n", cut="decision"), num_classes=3).train()
    outputs = detector(batch.rgb, batch.ir)
    total, terms, _ = DetectionLoss(detector, LossConfig(), 3)(outputs, batch)
    parts = []
    for name in ("rgb", "ir"):
        alone = DetectionLoss(detector, LossConfig(), 3)
        alone._losses = {name: alone._losses[name]}
        parts.append(alone(outputs, batch)[0])
    torch.testing.assert_close(total, parts[0] + parts[1])
    torch.testing.assert_close(total.detach(), sum(terms.values()) * len(batch))


def test_rates__scale_the_parts_of_the_model() -> None:
    detector = build_detector(ModelConfig(base="yolov8n"), num_classes=2)
    train = config(rates={"streams": 0.1, "trunk": 0.5}, warmup_epochs=0.0, epochs=2)
    optimizer = build_optimizer(detector, train)
    Schedule(train, 10).apply(optimizer, 5)
    names = {id(parameter): name for name, parameter in detector.named_parameters()}
    found = {names[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert set(found) == {name for name, parameter in detector.named_parameters() if parameter.requires_grad}
    base = Schedule(train, 10).rate(5)
    for name, rate in found.items():
        share = 1.0 if name.startswith(("fusion.", "trunk.layers.22.")) else 0.5 if name.startswith("trunk.") else 0.1
        assert rate == pytest.approx(base * share), name


def test_rates__of_a_single_stream_and_a_decision_model() -> None:
    train = config(rates={"streams": 0.1, "trunk": 0.5, "head": 0.2})
    single, decision = ModelConfig(base="yolov8n", streams="ir"), ModelConfig(base="yolov8n", cut="decision")
    for model, shares in ((single, {0.5, 0.2}), (decision, {0.1, 0.2})):
        detector = build_detector(model, num_classes=2)
        assert {group["rate"] for group in build_optimizer(detector, train).param_groups} == shares
