"""The initialisation policy: what every tensor begins with that no file gave."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

import torch
from torch import Tensor, nn

from yolofuse.config import InitConfig, InitRule
from yolofuse.errors import ConfigError, listing
from yolofuse.model import Detector
from yolofuse.param_init import ZERO_GAMMA_OFF, InitOptions, InitSpec
from yolofuse.upstream import declared_init_specs, init_like
from yolofuse.weights.init.activations import activations_after, is_norm
from yolofuse.weights.init.gains import gain_of, named_gain
from yolofuse.weights.init.presets import PRESETS, Preset
from yolofuse.weights.init.rng import generator_for
from yolofuse.weights.init.schemes import OPTIONS, Scheme, expected_mean, expected_std, fill, fill_bias_default, misfit
from yolofuse.weights.tensor_log import TensorLog

_USER_SCHEME_OPTIONS = ("mode", "mean", "std", "low", "high", "value", "sparsity", "cut")


@dataclass(frozen=True)
class Policy:
    """A policy whose options agree with each other, not yet held against a model.

    Attributes:
        config: The run's ``init`` section.
        seed: Of the draws.
        options: What declared starts need to know.
    """

    config: InitConfig
    seed: int
    options: InitOptions

    @property
    def preset(self) -> Preset:
        """What stands behind the run's own rules."""
        return PRESETS[self.config.preset]


def resolve_policy(config: InitConfig, *, seed: int, imgsz: int) -> Policy:
    """Check the ``init`` section by itself, before anything slow is done.

    Args:
        config: The section.
        seed: The run's seed, used where the section has none.
        imgsz: The run's image size, used for the prior where the section asks for it.

    Raises:
        ConfigError: If a rule has an option that its scheme does not read, or a value it cannot use.
    """
    problems = [f"init.rules.{i}.{problem}" for i, rule in enumerate(config.rules) for problem in _problems(rule)]
    if problems:
        raise ConfigError(listing("init", problems, "wrong rule"))
    preset = PRESETS[config.preset]
    head_std = preset.head_std if config.head_std is None else config.head_std
    return Policy(
        config,
        config.seed if config.seed is not None else seed,
        InitOptions(
            fusion=config.fusion,
            head_std=None if head_std == "rules" else head_std,
            prior_objects=config.prior_objects,
            prior_imgsz=config.prior_imgsz or imgsz,
            zero_gamma=preset.zero_gamma if config.zero_gamma is None else config.zero_gamma,
        ),
    )


def _problems(rule: InitRule) -> list[str]:
    reads = OPTIONS[rule.scheme]
    given = [key for key in (*_USER_SCHEME_OPTIONS, "gain") if getattr(rule, key) is not None]
    problems = [
        f"{key}: {rule.scheme} has no {key}; it reads {', '.join(sorted(reads)) or 'no options'}"
        for key in given
        if key not in reads
    ]
    if "gain" not in reads and rule.nonlinearity is not None:
        problems.append(f"nonlinearity: {rule.scheme} has no gain; leave it out")
    if rule.slope is not None and rule.nonlinearity != "leaky_relu":
        problems.append("slope: only nonlinearity leaky_relu has one")
    if not problems:
        try:
            _scheme(rule, 1.0)
        except ConfigError as error:
            problems.append(f"scheme: {' '.join(str(error).split())}")
    return problems


def _scheme(rule: InitRule, gain: float) -> Scheme:
    options = {key: value for key in _USER_SCHEME_OPTIONS if (value := getattr(rule, key)) is not None}
    return Scheme(rule.scheme, gain=gain, **options)


def find_init_specs(model: nn.Module, options: InitOptions) -> dict[str, InitSpec]:
    """What the blocks of a model declare of their parameters, ours and ultralytics', by the parameter's full name."""
    found: dict[str, InitSpec] = {}
    for prefix, module in model.named_modules():
        own = getattr(module, "init_specs", None)
        declared: Mapping[str, InitSpec] = own(options) if callable(own) else declared_init_specs(module, options)
        found |= {f"{prefix}.{name}" if prefix else name: start for name, start in declared.items()}
    return found


def initialise(policy: Policy, detector: Detector, ledger: TensorLog, specs: Mapping[str, InitSpec]) -> list[str]:
    """Give every tensor that the ledger misses its first values; returns warnings.

    Each draw is a function of (policy version, seed, name): not of device, rank, memory format, order or the global
    random state.

    Raises:
        ConfigError: If a rule matches nothing it may decide on, or cannot fill what it matches.
    """
    return _Application(policy, detector, ledger, specs).run()


class _Application:
    """One policy held against one model."""

    def __init__(self, policy: Policy, detector: Detector, ledger: TensorLog, specs: Mapping[str, InitSpec]) -> None:
        self._policy = policy
        self._detector = detector
        self._ledger = ledger
        self._specs = {} if policy.preset.naive else specs
        self._rules = [*policy.config.rules, *policy.preset.rules]
        self._used: set[int] = set()

    @cached_property
    def _activations(self) -> dict[str, nn.Module]:
        return activations_after(self._detector)

    def run(self) -> list[str]:
        """Walk the model once."""
        warnings = [self._policy.preset.loses] if self._policy.preset.naive else []
        if self._policy.config.zero_gamma and not any(s.disabled_by == ZERO_GAMMA_OFF for s in self._specs.values()):
            raise ConfigError("init.zero_gamma: this model has no residual branch that ends in a norm; set it to null")
        for prefix, module in self._detector.named_modules():
            for leaf, parameter in module.named_parameters(prefix, recurse=False):
                if leaf in self._ledger.entries:  # a tied parameter is booked once, under its first name
                    self._decide(leaf, prefix, module, parameter)
        self._refuse_idle_rules()
        warnings += self._declared_instead()
        self._reset_statistics()
        for entry in self._ledger:
            if entry.fate == "missing":
                if entry.trainable:
                    warnings.append(f"{entry.name}: no rule and no declaration knows it; it stays as constructed")
                self._ledger.keep(entry.name)
        return warnings

    def _decide(self, name: str, prefix: str, module: nn.Module, parameter: nn.Parameter) -> None:
        start = self._specs.get(name)
        if start is not None:
            if start.fill is not None and self._is_open(name):
                values = start.fill(parameter, generator_for(self._policy.seed, init_like(name)))
                self._ledger.initialise(name, values, start.what, std=start.std)
            return
        number = self._rule_for(name, prefix, module, parameter)
        if number is not None:
            self._used.add(number)
            if self._is_open(name):
                self._apply_rule(number, name, prefix, module, parameter)
        elif is_norm(module) and not self._policy.preset.naive and self._is_open(name):
            is_scale = name.endswith("weight")
            self._write(name, torch.full(parameter.shape, float(is_scale)), "norm: ones" if is_scale else "norm: zeros")

    def _reset_statistics(self) -> None:
        """Norms whose statistics were not loaded have seen nothing yet: mean 0, variance 1."""
        for prefix, module in self._detector.named_modules():
            for name, buffer in module.named_buffers(prefix, recurse=False):
                if is_norm(module) and name in self._ledger.entries and self._is_open(name):
                    values = torch.full(buffer.shape, float(name.endswith("var")))
                    self._write(name, values, "norm: statistics of nothing yet")

    def _is_open(self, name: str) -> bool:
        return self._policy.preset.naive or self._ledger.entries[name].fate == "missing"

    def _rule_for(self, name: str, prefix: str, module: nn.Module, parameter: nn.Parameter) -> int | None:
        """The first rule that matches and has a say: a preset's rule has none on what its scheme cannot fill."""
        kinds = {kind.__name__ for kind in type(module).__mro__}
        leaf = name.rpartition(".")[2]
        for number, rule in enumerate(self._rules):
            if rule.type is not None and rule.type not in kinds:
                continue
            by_module = self._matches(rule, prefix)
            if not (by_module or self._matches(rule, name)):
                continue
            weight = getattr(module, "weight", None) if by_module and leaf == "bias" else parameter
            if by_module and leaf not in {"weight", "bias"}:
                continue  # a raw parameter: only a rule that names it and not its owner decides on it
            if is_norm(module) and rule.type is None and self._matches(rule, prefix.rpartition(".")[0]):
                continue  # a norm: only a rule that means it, and not everything around it
            if weight is None or not self._passes_over(number, module, weight):
                return number
        return None

    @staticmethod
    def _matches(rule: InitRule, name: str) -> bool:
        return fnmatchcase(init_like(name), rule.name)  # twins begin alike, so they go by one name

    def _passes_over(self, number: int, module: nn.Module, weight: Tensor) -> bool:
        """Whether a rule leaves a weight to the next one: a preset what it cannot fill, a user's only a norm's scale.

        Any other weight that a user's rule matches and cannot fill is an error, told where it is filled.
        """
        is_own = number < len(self._policy.config.rules)
        return misfit(_scheme(self._rules[number], 1.0), module, weight) is not None and (weight.ndim < 2 or not is_own)

    def _apply_rule(self, number: int, name: str, prefix: str, module: nn.Module, parameter: nn.Parameter) -> None:
        rule, label = self._rules[number], self._label(number)
        generator = generator_for(self._policy.seed, init_like(name))
        if name == f"{prefix}.bias" and self._matches(rule, prefix):
            if rule.bias == "torch_default" and isinstance(weight := getattr(module, "weight", None), Tensor):
                values = fill_bias_default(module, parameter, weight, generator)
                self._write(name, values, f"{label}: bias as torch has it")
            else:
                value = 0.0 if isinstance(rule.bias, str) else rule.bias
                self._write(name, torch.full(parameter.shape, value), f"{label}: bias {value:g}")
            return
        gain, follows = self._gain(rule, prefix)
        scheme = _scheme(rule, gain)
        problem = misfit(scheme, module, parameter)
        if problem:
            raise ConfigError(f"{label}: {name}: {problem}")
        reads = OPTIONS[rule.scheme]
        mode = scheme.mode if "mode" in reads else ""
        shown = [rule.scheme, mode, f"gain {gain:.4f} ({follows})" if "gain" in reads else ""]
        self._write(
            name,
            fill(scheme, module, parameter, generator),
            f"{label}: {' '.join(part for part in shown if part)}",
            mean=expected_mean(scheme),
            std=expected_std(scheme, module, parameter),
        )

    def _gain(self, rule: InitRule, prefix: str) -> tuple[float, str]:
        if rule.gain is not None:
            return rule.gain, "as given"
        wanted = rule.nonlinearity or ("auto" if rule.scheme.startswith("kaiming") else "linear")
        if wanted != "auto":
            return named_gain(wanted, 0.01 if rule.slope is None else rule.slope), wanted
        activation = self._activations.get(prefix)
        return (1.0, "nothing follows") if activation is None else (gain_of(activation), type(activation).__name__)

    def _write(self, name: str, values: Tensor, rule: str, *, mean: float = 0.0, std: float | None = None) -> None:
        if not bool(values.isfinite().all()):
            raise ConfigError(f"{rule}: gives {name} values that are not finite; choose smaller numbers")
        write = self._ledger.overwrite if self._policy.preset.naive else self._ledger.initialise
        write(name, values, rule, mean=mean, std=std)

    def _label(self, number: int) -> str:
        own = len(self._policy.config.rules)
        return f"init.rules.{number}" if number < own else f"preset {self._policy.config.preset}"

    def _refuse_idle_rules(self) -> None:
        """A rule of the user that decides nothing is a mistake: a wrong name, or another rule or declaration wins."""
        problems = []
        for number, rule in enumerate(self._policy.config.rules):
            if number not in self._used:
                problems.append(f"init.rules.{number} ({_describe(rule)}): {self._why_idle(rule)}")
        if problems:
            raise ConfigError(listing("init", problems, "rule without effect"))

    def _declared_instead(self) -> list[str]:
        """For each rule of the user's that names parameters with a start of their own: that those keep it."""
        warnings = []
        for number, rule in enumerate(self._policy.config.rules):
            kept = [name for name in self._specs if rule.type is None and rule.name != "*" and self._covers(rule, name)]
            if kept:
                freed = self._specs[kept[0]].disabled_by
                warnings.append(
                    f"init.rules.{number} matches {kept[0]} too, which keeps its own start "
                    f"({self._specs[kept[0]].what})" + (f"; {freed} would leave it to the rules" if freed else "")
                )
        return warnings

    def _covers(self, rule: InitRule, name: str) -> bool:
        return self._matches(rule, name) or self._matches(rule, name.rpartition(".")[0])

    def _why_idle(self, rule: InitRule) -> str:
        modules = dict(self._detector.named_modules())
        owners = [m for m in modules.values() if next(m.parameters(recurse=False), None) is not None]
        types = sorted({kind.__name__ for module in owners for kind in type(module).__mro__})
        if rule.type is not None and rule.type not in types:
            close = difflib.get_close_matches(rule.type, types, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            return f"no module with weights of its own is a {rule.type}{hint}"
        names = [*modules, *self._ledger.entries]
        matched = [name for name in names if self._matches(rule, name)]
        if not matched:
            example = next(name for name in self._ledger.entries if name.endswith("conv.weight"))
            return f"no module or parameter has such a name; names look like {example!r}"
        declared = [name for name in self._specs if any(name == m or name.startswith(f"{m}.") for m in matched)]
        if declared:
            start = self._specs[declared[0]]
            remedy = f"{start.disabled_by} leaves it to the rules" if start.disabled_by else "nothing may change it"
            return f"{declared[0]} has a start of its own ({start.what}); {remedy}"
        return "an earlier rule decides on everything it matches, or it matches nothing with weights"


def _describe(rule: InitRule) -> str:
    return ", ".join(f"{key}: {value}" for key in ("name", "type", "scheme") if (value := getattr(rule, key)))
