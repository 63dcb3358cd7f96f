"""Decide which rule of a policy initialises which parameter, and explain rules without effect."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase

from torch import Tensor, nn

from yolofuse.config import InitRule
from yolofuse.errors import did_you_mean
from yolofuse.param_init import InitSpec
from yolofuse.upstream import shared_init_name
from yolofuse.weights.init.activations import is_norm
from yolofuse.weights.init.policy import scheme_of
from yolofuse.weights.init.schemes import misfit


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
        rules: The user's rules, then the preset's.
        num_own: How many of them are the user's.
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
    """Explain why a rule initialises nothing.

    Args:
        rule: The rule.
        model: The model.
        parameters: Names of its parameters and buffers.
        specs: Declared initial values by parameter.
    """
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
