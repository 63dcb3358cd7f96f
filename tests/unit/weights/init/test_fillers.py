"""Values of schemes: their form, and that they depend on generator and shape alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import fields

import pytest
import torch
from torch import nn

from tests.support.init_schemes import FIXED, RANDOM, scheme_id
from yolofuse.config.weights_schema import SchemeName
from yolofuse.errors import ConfigError
from yolofuse.weights.init.fillers import fill, fill_bias_default
from yolofuse.weights.init.rng import generator_for
from yolofuse.weights.init.schemes import OPTIONS, SCHEMES, Scheme


def test_trunc_normal__ends_at_the_cut() -> None:
    values = fill(Scheme("trunc_normal", mean=1, std=0.02), nn.Identity(), torch.empty(100_000), generator_for(0, "w"))
    end = 2 * 0.02 / 0.87962566
    assert 0.99 * end < (values - 1).abs().max().item() <= end * (1 + 1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Conv2d(60, 80, 3, groups=2),
        lambda: nn.ConvTranspose2d(60, 80, 4, stride=2, groups=2),
        lambda: nn.Conv1d(60, 80, 3),
        lambda: nn.Linear(60, 800),
    ],
    ids=["conv", "transposed", "conv1d", "linear"],
)
def test_torch_default__has_the_range_of_the_constructor(make: Callable[[], nn.Linear]) -> None:
    """Weights and biases are uniform up to the same bound as torch's own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        made = make()
    weight = fill(Scheme("torch_default"), made, made.weight, generator_for(0, "w"))
    bias = fill_bias_default(made, made.bias, made.weight, generator_for(0, "b"))
    for values, torch_values in ((weight, made.weight.detach()), (bias, made.bias.detach())):
        assert float(values.abs().max()) == pytest.approx(float(torch_values.abs().max()), rel=0.05)
        assert float(values.std()) == pytest.approx(float(torch_values.std()), rel=0.2)


def test_fill_bias_default__of_a_norm_is_refused() -> None:
    norm = nn.BatchNorm2d(4)
    with pytest.raises(ConfigError, match="not for BatchNorm2d"):
        fill_bias_default(norm, norm.bias, norm.weight, generator_for(0, "b"))


@pytest.mark.parametrize("module", [nn.Conv2d(32, 16, 3, groups=4), nn.ConvTranspose2d(64, 32, 3, groups=8)], ids=str)
def test_orthogonal__each_group_by_itself(module: nn.Conv2d) -> None:
    values = fill(Scheme("orthogonal", gain=2), module, module.weight, generator_for(0, "w"))
    for block in values.flatten(1).chunk(module.groups):
        rows = block.shape[0]
        torch.testing.assert_close(block @ block.T, 4 * torch.eye(rows), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("scheme", "module"),
    [
        (Scheme("dirac"), nn.Conv2d(8, 8, 3, padding=1, bias=False)),
        (Scheme("dirac"), nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False)),
        (Scheme("dirac"), nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False)),
        (Scheme("dirac"), nn.ConvTranspose2d(8, 8, 3, padding=1, groups=4, bias=False)),
        (Scheme("eye"), nn.Conv2d(8, 8, 1, bias=False)),
        (Scheme("eye"), nn.Conv2d(8, 8, 1, groups=4, bias=False)),
        (Scheme("eye"), nn.ConvTranspose2d(8, 8, 1, groups=4, bias=False)),
        (Scheme("eye"), nn.Linear(8, 8, bias=False)),
    ],
    ids=str,
)
def test_dirac_and_eye__return_every_channel_unchanged(scheme: Scheme, module: nn.Linear) -> None:
    module.weight.data = fill(scheme, module, module.weight, generator_for(0, "w"))
    features = torch.randn(2, 8, 8, 8, generator=generator_for(0, "x"))
    torch.testing.assert_close(module(features), features)


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.9])
def test_sparse__the_same_number_of_zeros_in_each_column(sparsity: float) -> None:
    module = nn.Conv2d(5, 24, 3)
    values = fill(Scheme("sparse", sparsity=sparsity), module, module.weight, generator_for(0, "w")).flatten(1)
    assert values.eq(0).sum(0).tolist() == [math.ceil(sparsity * 24)] * 45
    assert sparsity == 0 or len(set(values.eq(0).sum(1).tolist())) > 1, "the zeros are in no pattern"


_OTHER_VALUES = {
    "mode": "fan_out",
    "gain": 3.0,
    "mean": 0.7,
    "std": 0.3,
    "low": -0.7,
    "high": 0.7,
    "value": 2.0,
    "sparsity": 0.5,
    "cut": 1.0,
}
_MODULE = nn.Conv2d(8, 16, 1)


@pytest.mark.parametrize("name", SCHEMES)
def test_options__are_those_that_a_scheme_reads(name: SchemeName) -> None:
    options = {field.name for field in fields(Scheme)} - {"name"}
    assert options == set(_OTHER_VALUES)
    default = fill(Scheme(name), _MODULE, _MODULE.weight, generator_for(0, "w"))
    for option, value in _OTHER_VALUES.items():
        changed = fill(Scheme(name, **{option: value}), _MODULE, _MODULE.weight, generator_for(0, "w"))  # type: ignore[arg-type]
        assert torch.equal(changed, default) == (option not in OPTIONS[name]), option


@pytest.fixture
def _global_state() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.mark.parametrize("scheme", RANDOM + FIXED, ids=scheme_id)
@pytest.mark.usefixtures("_global_state")
def test_fill__ignores_and_leaves_the_global_generator(scheme: Scheme) -> None:
    drawn = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        before = torch.get_rng_state()
        drawn.append(fill(scheme, _MODULE, _MODULE.weight, generator_for(0, "w")))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*drawn)


@pytest.mark.parametrize("scheme", RANDOM + FIXED, ids=scheme_id)
def test_fill__ignores_dtype_device_and_layout_of_the_target(scheme: Scheme) -> None:
    expected = fill(scheme, _MODULE, _MODULE.weight, generator_for(0, "w"))
    for target in (
        _MODULE.weight.to(memory_format=torch.channels_last),
        _MODULE.weight.half(),
        _MODULE.weight.to("meta"),
    ):
        with torch.device("meta"):  # nor does a default device matter
            values = fill(scheme, _MODULE, target, generator_for(0, "w"))
        assert torch.equal(values, expected)
        assert (values.dtype, values.device.type) == (torch.float32, "cpu")
        assert values.is_contiguous()
        assert not values.requires_grad


@pytest.mark.parametrize("scheme", RANDOM, ids=scheme_id)
def test_fill__another_seed_or_name_gives_other_values(scheme: Scheme) -> None:
    drawn = [
        fill(scheme, _MODULE, _MODULE.weight, generator_for(seed, name))
        for seed, name in [(0, "a"), (1, "a"), (0, "b")]
    ]
    assert not any(torch.equal(one, other) for one, other in [drawn[:2], drawn[1:], drawn[::2]])


@pytest.mark.parametrize(
    ("scheme", "first"),
    [
        (Scheme("normal", std=1), [0.516393, 1.503062, -0.553165]),
        (Scheme("uniform", low=-1, high=1), [0.207713, 0.680736, -0.708748]),
        (Scheme("trunc_normal", std=1), [0.285461, 1.06196, -1.122397]),
        (Scheme("orthogonal"), [0.145735, 0.404378, 0.002182]),
        (Scheme("sparse", std=1, sparsity=0.3), [0.0, 1.503062, -0.553165]),
    ],
    ids=lambda value: scheme_id(value) if isinstance(value, Scheme) else "values",
)
def test_fill__golden_values(scheme: Scheme, first: list[float]) -> None:
    """torch 2.15. If these change, the same seed gives other weights: raise POLICY_VERSION and say so."""
    values = fill(scheme, _MODULE, _MODULE.weight, generator_for(0, "golden"))
    assert values.flatten()[:3].tolist() == pytest.approx(first, abs=1e-5)
