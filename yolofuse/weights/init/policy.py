"""Resolve the ``init`` section into a policy, and decide which rule or declaration initialises which parameter."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor, nn

from yolofuse.config import InitConfig, InitRule
from yolofuse.errors import ConfigError, did_you_mean, listing
from yolofuse.param_init import InitOptions, InitSpec
from yolofuse.upstream import shared_init_name, upstream_init_specs
from yolofuse.weights.init.activations import is_norm
from yolofuse.weights.init.presets import PRESETS, Preset
from yolofuse.weights.init.schemes import OPTIONS, Scheme, misfit

_USER_SCHEME_OPTIONS = ("mode", "mean", "std", "low", "high", "value", "sparsity", "cut")


@dataclass(frozen=True)
class Policy:
    """A policy whose options agree with each other; whether it fits a model is not known yet."""

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
        seed: Used where the section has none.
        imgsz: Of the run; used for the prior where the section has none.

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


def matches(rule: InitRule, name: str) -> bool:
    """Return whether a rule's pattern matches the name of a module or a parameter.

    Parameters that share initial values are matched by the one name they share.
    """
    return fnmatchcase(shared_init_name(name), rule.name)


def first_match(
    rules: Sequence[InitRule], num_own: int, name: str, prefix: str, module: nn.Module, parameter: Tensor
) -> int | None:
    """Return the number of the first rule that initialises a parameter; None where no rule does.

    A preset's rule is skipped for a weight that its scheme cannot fill, a user's only for a vector; any other weight
    that a user's rule matches and cannot fill is an error, raised where it is filled.

    Args:
        rules: The user's rules (the first ``num_own``), then the preset's.
        num_own: Number of the user's rules.
        name: Full name of the parameter.
        prefix: Full name of its owner.
        module: Its owner.
        parameter: Only its shape is read.
    """
    type_names = {kind.__name__ for kind in type(module).__mro__}
    leaf = name.rpartition(".")[2]
    for number, rule in enumerate(rules):
        if rule.type is not None and rule.type not in type_names:
            continue
        by_module = matches(rule, prefix)
        if not (by_module or matches(rule, name)):
            continue
        if by_module and leaf not in {"weight", "bias"}:
            continue  # a raw parameter: only a rule that names it and not its owner applies
        if is_norm(module) and rule.type is None and matches(rule, prefix.rpartition(".")[0]):
            continue  # a norm: only a rule for norms, not one for everything around it
        weight = getattr(module, "weight", None) if by_module and leaf == "bias" else parameter
        if weight is None:
            return number
        fits = misfit(scheme_of(rule), module, weight) is None
        if fits or (number < num_own and weight.ndim >= 2):
            return number
    return None


def find_declared_matches(rule: InitRule, specs: Mapping[str, InitSpec]) -> list[str]:
    """List the parameters with declared initial values that a rule names, by their own name or their owner's."""
    if rule.type is not None or rule.name == "*":
        return []
    return [name for name in specs if matches(rule, name) or matches(rule, name.rpartition(".")[0])]


def explain_without_effect(
    rule: InitRule, model: nn.Module, parameters: Collection[str], specs: Mapping[str, InitSpec]
) -> str:
    """Explain why a rule initialises none of a model's ``parameters`` (and buffers)."""
    modules = dict(model.named_modules())
    owners = [m for m in modules.values() if next(m.parameters(recurse=False), None) is not None]
    types = sorted({kind.__name__ for module in owners for kind in type(module).__mro__})
    if rule.type is not None and rule.type not in types:
        return f"no module with weights of its own is a {rule.type}{did_you_mean(rule.type, types)}"
    matched = [name for name in (*modules, *parameters) if matches(rule, name)]
    if not matched:
        example = next(name for name in parameters if name.endswith("conv.weight"))
        return f"no module or parameter has such a name; names look like {example!r}"
    declared = [name for name in specs if any(name == m or name.startswith(f"{m}.") for m in matched)]
    if declared:
        spec = specs[declared[0]]
        remedy = f"{spec.disabled_by} leaves it to the rules" if spec.disabled_by else "nothing may change it"
        return f"{declared[0]} has declared initial values ({spec.description}); {remedy}"
    return "an earlier rule applies to everything it matches, or it matches nothing with weights"


def format_rule(rule: InitRule) -> str:
    """Format a rule's name, type and scheme for a message."""
    return ", ".join(f"{key}: {value}" for key in ("name", "type", "scheme") if (value := getattr(rule, key)))
