from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from ultralytics.utils.torch_utils import ModelEMA

from yolofuse.nn.ema import ModelEma


def model() -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    made.register_buffer("count", torch.tensor([7]))
    return made


def change_in_place(trained: nn.Module) -> None:
    """Change every parameter and buffer in place, as a step does."""
    with torch.no_grad():
        trained(torch.rand(2, 3, 8, 8))
        for parameter in trained.parameters():
            parameter.add_(torch.randn_like(parameter))
        for buffer in trained.buffers():
            buffer.add_(1)


def test_update__equals_ultralytics_to_the_bit() -> None:
    trained = model()
    ours, theirs = ModelEma(trained, 0.99, 5.0), ModelEMA(trained, decay=0.99, tau=5.0)  # type: ignore[no-untyped-call]
    for _ in range(12):
        change_in_place(trained)
        ours.update(trained)
        theirs.update(trained)  # type: ignore[no-untyped-call]
    expected: dict[str, Tensor] = theirs.ema.state_dict()
    found = ours.ema.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert ours.updates == theirs.updates == 12
    assert int(found["count"]) == 7  # ultralytics leaves integers where they were
    assert not torch.equal(found["0.weight"], trained.state_dict()["0.weight"])


def test_update__equals_the_formula() -> None:
    trained = model()
    ema = ModelEma(trained, decay=0.9, tau=2.0)
    before = copy.deepcopy(ema.ema.state_dict())
    change_in_place(trained)
    ema.update(trained)
    keep = 0.9 * (1 - 0.6065306597126334)  # exp(-1/2)
    for name in ("0.weight", "1.running_var"):
        expected = before[name] * keep + trained.state_dict()[name] * (1 - keep)
        torch.testing.assert_close(ema.ema.state_dict()[name], expected)


def test_update__keeps_a_share_of_the_start() -> None:
    """The average of mixtures with the start is the mixture of the start with the average."""
    trained = model()
    start = copy.deepcopy(trained.state_dict())
    plain, kept = ModelEma(trained, 0.9, 2.0), ModelEma(trained, 0.9, 2.0, keep_start=0.3)
    for _ in range(5):
        change_in_place(trained)
        plain.update(trained)
        kept.update(trained)
    for name, average in plain.ema.state_dict().items():
        expected = 0.3 * start[name] + 0.7 * average if average.is_floating_point() else average
        torch.testing.assert_close(kept.ema.state_dict()[name], expected)
    assert kept.start is not None
    assert all(torch.equal(kept.start.state_dict()[name], start[name]) for name in start)
    assert plain.start is None


def test_ema__is_in_evaluation_mode_and_shares_no_memory() -> None:
    trained = model().train()
    ema = ModelEma(trained, 0.99, 5.0)
    assert trained.training
    assert not any(module.training for module in ema.ema.modules())
    assert not any(parameter.requires_grad for parameter in ema.ema.parameters())
    places = {tensor.data_ptr() for tensor in trained.state_dict().values()}
    assert not places & {tensor.data_ptr() for tensor in ema.ema.state_dict().values()}


def test_update__continues_after_a_restore() -> None:
    trained = model()
    ema = ModelEma(trained, 0.99, 5.0)
    change_in_place(trained)
    ema.update(trained)
    state, updates, values = copy.deepcopy(ema.ema.state_dict()), ema.updates, copy.deepcopy(trained)
    change_in_place(trained)
    ema.update(trained)
    expected = copy.deepcopy(ema.ema.state_dict())
    ema.ema.load_state_dict(state)  # a rollback, in place
    ema.updates = updates
    ema.update(trained)
    assert all(torch.equal(ema.ema.state_dict()[name], expected[name]) for name in expected)

    fresh = ModelEma(values, 0.99, 5.0)  # a resume, in another process
    fresh.ema.load_state_dict(state)
    fresh.updates = updates
    values.load_state_dict(trained.state_dict())
    fresh.update(values)
    assert all(torch.equal(fresh.ema.state_dict()[name], expected[name]) for name in expected)


def test_update__tracks_another_model_when_given_one() -> None:
    trained = model()
    ema = ModelEma(trained, 0.0, 5.0)
    ema.update(trained)
    other = copy.deepcopy(trained)
    change_in_place(other)
    ema.update(other)
    assert torch.equal(ema.ema.state_dict()["0.weight"], other.state_dict()["0.weight"])
