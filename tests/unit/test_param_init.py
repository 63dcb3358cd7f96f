"""Declarations of initial values: what each fills, and how a block applies them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from yolofuse.param_init import InitSpec, apply_init, constant, fixed, from_tensor, normal


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (constant(0.5, "half"), [[0.5, 0.5], [0.5, 0.5]]),
        (from_tensor(torch.tensor([1.0, 2.0]), "given"), [[1.0, 2.0], [1.0, 2.0]]),
        (from_tensor(torch.eye(2, dtype=torch.float64), "given"), [[1.0, 0.0], [0.0, 1.0]]),
    ],
)
def test_fill__values_in_float32_on_the_cpu(spec: InitSpec, expected: list[list[float]]) -> None:
    assert spec.fill is not None
    with torch.device("meta"):
        values = spec.fill(torch.empty(2, 2, dtype=torch.float16), None)
    assert values.tolist() == expected
    assert (values.dtype, values.device.type, values.is_contiguous()) == (torch.float32, "cpu", True)


def test_normal__draws_from_the_generator_alone() -> None:
    spec = normal(0.1, "small", "some.option: off")
    assert (spec.std, spec.disabled_by) == (0.1, "some.option: off")
    assert spec.fill is not None
    first, second = (spec.fill(torch.empty(1000), torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(first, second)
    assert float(first.std()) == pytest.approx(0.1, rel=0.1)


def test_apply_init__leaves_fixed_and_undeclared_parameters() -> None:
    block = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    before = {name: tensor.clone() for name, tensor in block.state_dict().items()}
    apply_init(block, {"0.weight": constant(7.0, "seven"), "1.weight": fixed("as built")})
    assert block.get_parameter("0.weight").tolist() == [[7.0]]
    assert all(torch.equal(block.state_dict()[name], before[name]) for name in ("0.bias", "1.weight", "1.bias"))
