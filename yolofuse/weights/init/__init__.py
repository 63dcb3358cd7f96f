"""Initialise weights: fans, gains, schemes, a generator per tensor, and the policy that applies them to a model."""

from yolofuse.weights.init.fans import Fans, fans_of
from yolofuse.weights.init.fillers import fill, fill_bias_default
from yolofuse.weights.init.gains import NONLINEARITIES, gain_of, named_gain
from yolofuse.weights.init.rng import POLICY_VERSION, generator_for
from yolofuse.weights.init.scheme_stats import expected_mean, expected_std, measured_std, standard_error
from yolofuse.weights.init.schemes import OPTIONS, SCHEMES, Scheme, misfit

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
