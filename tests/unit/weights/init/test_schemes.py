"""Bounds of a scheme's options, and the weights that a scheme does not fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import get_args

import pytest
from torch import nn

from yolofuse.config.weights_schema import NonlinearityName, SchemeName
from yolofuse.errors import ConfigError
from yolofuse.weights.init import NONLINEARITIES, OPTIONS, SCHEMES, Scheme, expected_std, fill, generator_for, misfit


def test_schemes__are_those_of_the_config_schema() -> None:
    assert set(get_args(SchemeName)) == set(SCHEMES) == set(OPTIONS)
    assert set(get_args(NonlinearityName)) == {*NONLINEARITIES, "auto"}


_NORM, _CONV, _LINEAR = nn.BatchNorm2d(4), nn.Conv2d(4, 8, 3), nn.Linear(4, 4)


@pytest.mark.parametrize(
    ("name", "module", "instead"),
    [
        ("kaiming_normal", _NORM, "ones"),
        ("kaiming_uniform", _NORM, "ones"),
        ("xavier_normal", _NORM, "ones"),
        ("xavier_uniform", _NORM, "ones"),
        ("orthogonal", _NORM, "ones"),
        ("sparse", _NORM, "ones"),
        ("torch_default", _NORM, "ones"),
        ("torch_default", nn.Embedding(3, 4), "another scheme"),
        ("eye", _NORM, "constant"),
        ("eye", _CONV, "dirac"),
        ("dirac", _NORM, "constant"),
        ("dirac", _LINEAR, "eye"),
        ("sparse", nn.Conv2d(4, 1, 1), "normal"),
    ],
)
def test_misfit__names_another_scheme(name: SchemeName, module: nn.Linear, instead: str) -> None:
    assert misfit(Scheme(name), module, module.weight) is not None
    assert expected_std(Scheme(name), module, module.weight) is None
    with pytest.raises(ConfigError, match=rf"{name} .*{module.weight.shape[0]},.*use.* {instead}"):
        fill(Scheme(name), module, module.weight, generator_for(0, "w"))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Scheme("kaimin_normal"), r"did you mean kaiming_normal\? Known: "),  # type: ignore[arg-type]
        (lambda: Scheme("qqqq"), r"unknown init scheme 'qqqq'\. Known: "),  # type: ignore[arg-type]
        (lambda: Scheme("kaiming_normal", mode="fan_sum"), "fan_in, fan_out, fan_avg"),  # type: ignore[arg-type]
        (lambda: Scheme("kaiming_normal", gain=0), "gain must be above 0"),
        (lambda: Scheme("normal", std=math.nan), "std must be"),
        (lambda: Scheme("normal", mean=math.inf), "mean must be a finite number"),
        (lambda: Scheme("uniform", low=1, high=1), "high must be above low"),
        (lambda: Scheme("sparse", sparsity=1), "sparsity must be"),
        (lambda: Scheme("trunc_normal", cut=0), "cut must be"),
    ],
)
def test_scheme__out_of_bounds(make: Callable[[], Scheme], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        make()


def test_scheme__every_wrong_value_at_once() -> None:
    with pytest.raises(ConfigError, match=r"(?s)2 wrong values.*gain.*std"):
        Scheme("normal", gain=-1, std=-1)
