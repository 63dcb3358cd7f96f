"""The moving average equals ultralytics' to the last bit."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from yolofuse.nn.ema import ModelEma
from yolofuse.upstream import ModelEMA


def model() -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    made.register_buffer("count", torch.tensor([7]))
    return made


def train_a_little(trained: nn.Module) -> None:
    """Change every parameter and buffer in place, as a step does."""
    with torch.no_grad():
        trained(torch.rand(2, 3, 8, 8))
        for parameter in trained.parameters():
            parameter.add_(torch.randn_like(parameter))
        for buffer in trained.buffers():
            buffer.add_(1)


def test_average__is_that_of_ultralytics() -> None:
    trained = model()
    ours, theirs = ModelEma(trained, 0.99, 5.0), ModelEMA(trained, decay=0.99, tau=5.0)  # type: ignore[no-untyped-call]
    for _ in range(12):
        train_a_little(trained)
        ours.update(trained)
        theirs.update(trained)  # type: ignore[no-untyped-call]
    wanted: dict[str, Tensor] = theirs.ema.state_dict()
    found = ours.ema.state_dict()
    assert list(found) == list(wanted)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert ours.updates == theirs.updates == 12
    assert int(found["count"]) == 7  # ultralytics leaves integers where they were
    assert not torch.equal(found["0.weight"], trained.state_dict()["0.weight"])


def test_average__of_one_update_is_by_hand() -> None:
    trained = model()
    average = ModelEma(trained, decay=0.9, tau=2.0)
    before = copy.deepcopy(average.ema.state_dict())
    train_a_little(trained)
    average.update(trained)
    keep = 0.9 * (1 - 0.6065306597126334)  # exp(-1/2)
    for name in ("0.weight", "1.running_var"):
        wanted = before[name] * keep + trained.state_dict()[name] * (1 - keep)
        torch.testing.assert_close(average.ema.state_dict()[name], wanted)


def test_average__is_for_evaluation_and_shares_nothing() -> None:
    trained = model().train()
    average = ModelEma(trained, 0.99, 5.0)
    assert trained.training
    assert not any(module.training for module in average.ema.modules())
    assert not any(parameter.requires_grad for parameter in average.ema.parameters())
    places = {tensor.data_ptr() for tensor in trained.state_dict().values()}
    assert not places & {tensor.data_ptr() for tensor in average.ema.state_dict().values()}


def test_average__goes_on_after_its_state_was_put_back() -> None:
    trained = model()
    average = ModelEma(trained, 0.99, 5.0)
    train_a_little(trained)
    average.update(trained)
    state, updates, values = copy.deepcopy(average.ema.state_dict()), average.updates, copy.deepcopy(trained)
    train_a_little(trained)
    average.update(trained)
    wanted = copy.deepcopy(average.ema.state_dict())
    average.ema.load_state_dict(state)  # a rollback, in place
    average.updates = updates
    average.update(trained)
    assert all(torch.equal(average.ema.state_dict()[name], wanted[name]) for name in wanted)

    fresh = ModelEma(values, 0.99, 5.0)  # a resume, in another process
    fresh.ema.load_state_dict(state)
    fresh.updates = updates
    values.load_state_dict(trained.state_dict())
    fresh.update(values)
    assert all(torch.equal(fresh.ema.state_dict()[name], wanted[name]) for name in wanted)


def test_average__follows_another_model_when_it_is_given_one() -> None:
    trained = model()
    average = ModelEma(trained, 0.0, 5.0)
    average.update(trained)
    other = copy.deepcopy(trained)
    train_a_little(other)
    average.update(other)
    assert torch.equal(average.ema.state_dict()["0.weight"], other.state_dict()["0.weight"])
