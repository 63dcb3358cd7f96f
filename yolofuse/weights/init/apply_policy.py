"""Apply an initialisation policy to a model: write the initial values of every tensor that no file gave."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor, nn

from yolofuse.config import InitRule
from yolofuse.errors import ConfigError, listing
from yolofuse.model import Detector
from yolofuse.param_init import ZERO_GAMMA_OFF, InitSpec
from yolofuse.upstream import shared_init_name
from yolofuse.weights.init.activations import activations_after, is_norm
from yolofuse.weights.init.fillers import fill, fill_bias_default
from yolofuse.weights.init.gains import gain_of, named_gain
from yolofuse.weights.init.policy import (
    Policy,
    explain_without_effect,
    find_declared_matches,
    first_match,
    format_rule,
    matches,
    scheme_of,
)
from yolofuse.weights.init.rng import generator_for
from yolofuse.weights.init.schemes import OPTIONS, expected_mean, expected_std, misfit
from yolofuse.weights.tensor_log import TensorLog


def apply_policy(policy: Policy, detector: Detector, tensor_log: TensorLog, specs: Mapping[str, InitSpec]) -> list[str]:
    """Initialise every tensor that is missing in the log; returns warnings.

    Each draw is a function of (policy version, seed, name): not of device, rank, memory format, order or the global
    random state. ``specs``, declared initial values by parameter, take precedence over rules.

    Raises:
        ConfigError: If a rule has no effect on this model, or cannot fill a weight that it matches.
    """
    return _Application(policy, detector, tensor_log, specs).run()


class _Application:
    """One policy on its way through one model."""

    def __init__(
        self, policy: Policy, detector: Detector, tensor_log: TensorLog, specs: Mapping[str, InitSpec]
    ) -> None:
        self._policy = policy
        self._detector = detector
        self._tensor_log = tensor_log
        self._overwrites_all = policy.preset.overwrites_all
        self._specs = {} if self._overwrites_all else specs
        self._own_rules = policy.config.rules
        self._rules = [*self._own_rules, *policy.preset.rules]
        self._used_rules: set[int] = set()

    @cached_property
    def _activations(self) -> dict[str, nn.Module]:
        return activations_after(self._detector)

    def run(self) -> list[str]:
        """Initialise the model in one pass over its modules."""
        warnings = [self._policy.preset.warning] if self._overwrites_all else []
        if self._policy.config.zero_gamma and not any(s.disabled_by == ZERO_GAMMA_OFF for s in self._specs.values()):
            raise ConfigError("init.zero_gamma: this model has no residual branch that ends in a norm; set it to null")
        for prefix, module in self._detector.named_modules():
            for name, parameter in module.named_parameters(prefix, recurse=False):
                if name in self._tensor_log.records:  # a tied parameter has a record under its first name alone
                    self._initialise(name, prefix, module, parameter)
        self._refuse_rules_without_effect()
        warnings += self._warn_of_declared_values()
        self._reset_norm_statistics()
        for record in self._tensor_log:
            if record.status == "missing":
                if record.trainable:
                    warnings.append(f"{record.name}: no rule and no declaration covers it; it stays as constructed")
                self._tensor_log.keep(record.name)
        return warnings

    def _initialise(self, name: str, prefix: str, module: nn.Module, parameter: nn.Parameter) -> None:
        spec = self._specs.get(name)
        if spec is not None:
            if spec.fill is not None and self._is_writable(name):
                values = spec.fill(parameter, self._generator(name))
                self._tensor_log.initialise(name, values, spec.description, std=spec.std)
            return
        number = first_match(self._rules, len(self._own_rules), name, prefix, module, parameter)
        if number is not None:
            self._used_rules.add(number)
            if not self._is_writable(name):
                return
            if name == f"{prefix}.bias" and matches(self._rules[number], prefix):
                self._fill_bias(number, name, module, parameter)
            else:
                self._fill_weight(number, name, prefix, module, parameter)
        elif is_norm(module) and not self._overwrites_all and self._is_writable(name):
            is_scale = name.endswith("weight")
            self._write(name, torch.full(parameter.shape, float(is_scale)), "norm: ones" if is_scale else "norm: zeros")

    def _fill_bias(self, number: int, name: str, module: nn.Module, parameter: nn.Parameter) -> None:
        rule, label = self._rules[number], self._label(number)
        weight = getattr(module, "weight", None)
        if rule.bias == "torch_default" and isinstance(weight, Tensor):
            values = fill_bias_default(module, parameter, weight, self._generator(name))
            self._write(name, values, f"{label}: bias by torch's default")
        else:
            value = 0.0 if isinstance(rule.bias, str) else rule.bias
            self._write(name, torch.full(parameter.shape, value), f"{label}: bias {value:g}")

    def _fill_weight(self, number: int, name: str, prefix: str, module: nn.Module, parameter: nn.Parameter) -> None:
        rule, label = self._rules[number], self._label(number)
        gain, origin = self._gain(rule, prefix)
        scheme = scheme_of(rule, gain)
        problem = misfit(scheme, module, parameter)
        if problem:
            raise ConfigError(f"{label}: {name}: {problem}")
        reads = OPTIONS[rule.scheme]
        mode = scheme.mode if "mode" in reads else ""
        description = [rule.scheme, mode, f"gain {gain:.4f} ({origin})" if "gain" in reads else ""]
        self._write(
            name,
            fill(scheme, module, parameter, self._generator(name)),
            f"{label}: {' '.join(part for part in description if part)}",
            mean=expected_mean(scheme),
            std=expected_std(scheme, module, parameter),
        )

    def _gain(self, rule: InitRule, prefix: str) -> tuple[float, str]:
        """Return the gain of a rule for a layer, and where it comes from."""
        if rule.gain is not None:
            return rule.gain, "as given"
        nonlinearity = rule.nonlinearity or ("auto" if rule.scheme.startswith("kaiming") else "linear")
        if nonlinearity != "auto":
            return named_gain(nonlinearity, 0.01 if rule.slope is None else rule.slope), nonlinearity
        activation = self._activations.get(prefix)
        return (1.0, "no activation") if activation is None else (gain_of(activation), type(activation).__name__)

    def _reset_norm_statistics(self) -> None:
        """Set running statistics that were not loaded to mean 0 and variance 1."""
        for prefix, module in self._detector.named_modules():
            for name, buffer in module.named_buffers(prefix, recurse=False):
                if is_norm(module) and name in self._tensor_log.records and self._is_writable(name):
                    values = torch.full(buffer.shape, float(name.endswith("var")))
                    self._write(name, values, "norm: statistics reset")

    def _is_writable(self, name: str) -> bool:
        return self._overwrites_all or self._tensor_log.records[name].status == "missing"

    def _generator(self, name: str) -> torch.Generator:
        return generator_for(self._policy.seed, shared_init_name(name))

    def _write(self, name: str, values: Tensor, rule: str, *, mean: float = 0.0, std: float | None = None) -> None:
        if not bool(values.isfinite().all()):
            raise ConfigError(f"{rule}: gives {name} values that are not finite; choose smaller numbers")
        write = self._tensor_log.overwrite if self._overwrites_all else self._tensor_log.initialise
        write(name, values, rule, mean=mean, std=std)

    def _label(self, number: int) -> str:
        return f"init.rules.{number}" if number < len(self._own_rules) else f"preset {self._policy.config.preset}"

    def _refuse_rules_without_effect(self) -> None:
        """A user's rule that initialises nothing is a mistake: a wrong name, or another rule or declaration wins."""
        problems = [
            f"init.rules.{number} ({format_rule(rule)}): "
            + explain_without_effect(rule, self._detector, self._tensor_log.records, self._specs)
            for number, rule in enumerate(self._own_rules)
            if number not in self._used_rules
        ]
        if problems:
            raise ConfigError(listing("init", problems, "rule without effect"))

    def _warn_of_declared_values(self) -> list[str]:
        """Warn of each user's rule that also names parameters whose declared initial values take precedence."""
        warnings = []
        for number, rule in enumerate(self._own_rules):
            declared = find_declared_matches(rule, self._specs)
            if declared:
                spec = self._specs[declared[0]]
                remedy = f"; {spec.disabled_by} would leave it to the rules" if spec.disabled_by else ""
                warnings.append(
                    f"init.rules.{number} matches {declared[0]} too, which keeps its declared initial values "
                    f"({spec.description}){remedy}"
                )
        return warnings
