"""Resolve the ``init`` section of a config into a policy, and collect the initial values that blocks declare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from yolofuse.config import InitConfig, InitRule
from yolofuse.errors import ConfigError, listing
from yolofuse.param_init import InitOptions, InitSpec
from yolofuse.upstream import upstream_init_specs
from yolofuse.weights.init.presets import PRESETS, Preset
from yolofuse.weights.init.schemes import OPTIONS, Scheme

_USER_SCHEME_OPTIONS = ("mode", "mean", "std", "low", "high", "value", "sparsity", "cut")


@dataclass(frozen=True)
class Policy:
    """A policy whose options agree with each other; whether it fits a model is not known yet.

    Attributes:
        config: The run's ``init`` section.
        seed: Of the draws.
        options: Options that blocks read when they declare initial values.
    """

    config: InitConfig
    seed: int
    options: InitOptions

    @property
    def preset(self) -> Preset:
        """The preset whose rules follow the run's own."""
        return PRESETS[self.config.preset]


def resolve_policy(config: InitConfig, *, seed: int, imgsz: int) -> Policy:
    """Check the ``init`` section without a model, before anything slow is done.

    Args:
        config: The section.
        seed: The run's seed, used where the section has none.
        imgsz: The run's image size, used for the prior where the section has none.

    Raises:
        ConfigError: If a rule has an option that its scheme does not read, or a value it cannot use.
    """
    problems = [f"init.rules.{i}.{problem}" for i, rule in enumerate(config.rules) for problem in _problems_of(rule)]
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


def _problems_of(rule: InitRule) -> list[str]:
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
            scheme_of(rule)
        except ConfigError as error:
            problems.append(f"scheme: {' '.join(str(error).split())}")
    return problems


def scheme_of(rule: InitRule, gain: float = 1.0) -> Scheme:
    """Build the scheme of a rule.

    Raises:
        ConfigError: If a number is out of its bounds.
    """
    options = {key: value for key in _USER_SCHEME_OPTIONS if (value := getattr(rule, key)) is not None}
    return Scheme(rule.scheme, gain=gain, **options)


def find_init_specs(model: nn.Module, options: InitOptions) -> dict[str, InitSpec]:
    """Collect the declarations of all blocks of a model, also of ultralytics', by the parameter's full name."""
    specs: dict[str, InitSpec] = {}
    for prefix, module in model.named_modules():
        own = getattr(module, "init_specs", None)
        declared: Mapping[str, InitSpec] = own(options) if callable(own) else upstream_init_specs(module, options)
        specs |= {f"{prefix}.{name}" if prefix else name: spec for name, spec in declared.items()}
    return specs
