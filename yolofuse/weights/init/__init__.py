"""The mathematics of drawing weights: fans, gains, schemes, and a generator per tensor. It knows no model."""

from yolofuse.weights.init.fans import Fans, fans_of
from yolofuse.weights.init.gains import NONLINEARITIES, gain_of, named_gain
from yolofuse.weights.init.rng import POLICY_VERSION, generator_for
from yolofuse.weights.init.schemes import (
    OPTIONS,
    SCHEMES,
    Scheme,
    expected_mean,
    expected_std,
    fill,
    fill_bias_default,
    measured_std,
    misfit,
    standard_error,
)

__all__ = [
    "NONLINEARITIES",
    "OPTIONS",
    "POLICY_VERSION",
    "SCHEMES",
    "Fans",
    "Scheme",
    "expected_mean",
    "expected_std",
    "fans_of",
    "fill",
    "fill_bias_default",
    "gain_of",
    "generator_for",
    "measured_std",
    "misfit",
    "named_gain",
    "standard_error",
]
