"""The ``init`` section: options that fit together, declarations of a model, and which rule applies to what."""

from __future__ import annotations

import pytest
from torch import nn

from tests.support.weights import built, config_of
from yolofuse.config import InitRule
from yolofuse.errors import ConfigError
from yolofuse.param_init import InitOptions, constant, fixed
from yolofuse.weights import policy_of
from yolofuse.weights.init.policy import (
    explain_without_effect,
    find_declared_matches,
    find_init_specs,
    first_match,
    format_rule,
    matches,
    resolve_policy,
    scheme_of,
)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("{type: Conv2d, scheme: orthogonall}", "init.rules.0.scheme"),
        ("{type: Conv2d, scheme: kaiming_normal, nonlinearity: swoosh}", "init.rules.0.nonlinearity"),
        ("{type: Conv2d, scheme: constant, mode: fan_in}", "constant has no mode; it reads value"),
        ("{type: Conv2d, scheme: xavier_normal, mode: fan_out}", "xavier_normal has no mode"),
        ("{type: Conv2d, scheme: zeros, value: 1.0}", "zeros has no value; it reads no options"),
        ("{type: Conv2d, scheme: normal, nonlinearity: relu}", "normal has no gain"),
        ("{type: Conv2d, scheme: kaiming_normal, slope: 0.2}", "slope: only nonlinearity leaky_relu"),
        ("{type: Conv2d, scheme: kaiming_normal, gain: 2.0, nonlinearity: relu}", r"rules\[0\]: gain and nonlinearity"),
        ("{type: Conv2d, scheme: uniform, low: 2.0, high: 1.0}", "high must be above low"),
    ],
)
def test_resolve_policy__wrong_rules_are_refused_without_a_model(rule: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        policy_of(config_of(f"init.rules=[{rule}]"))


@pytest.mark.parametrize(
    "word", ["init.head_std=1.0e39", "init.prior_objects=5.0e-324", "init.rules=[{scheme: constant, value: 1.0e39}]"]
)
def test_config__numbers_out_of_range_are_refused(word: str) -> None:
    with pytest.raises(ConfigError, match=r"init\."):
        config_of(word)


def test_config__fusion_add_has_no_initial_values_to_choose() -> None:
    with pytest.raises(ConfigError, match="'add' is always the average"):
        config_of("model.fusion=add", "init.fusion=rgb")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), InitOptions()),
        (("init.preset=resnet",), InitOptions(zero_gamma=True)),
        (("init.preset=resnet", "init.zero_gamma=false"), InitOptions()),
        (("init.preset=ultralytics",), InitOptions(head_std=None)),
        (("init.preset=ultralytics", "init.head_std=0.1"), InitOptions(head_std=0.1)),
        (("init.head_std=rules", "init.fusion=ir"), InitOptions(fusion="ir", head_std=None)),
        (("init.prior_objects=7.0", "init.prior_imgsz=320"), InitOptions(prior_objects=7.0, prior_imgsz=320)),
        (("init.prior_imgsz=null",), InitOptions(prior_imgsz=416)),
    ],
    ids=str,
)
def test_resolve_policy__own_options_before_the_preset(words: tuple[str, ...], expected: InitOptions) -> None:
    assert resolve_policy(config_of(*words).init, seed=3, imgsz=416).options == expected


def test_resolve_policy__seed_of_the_run_is_the_default() -> None:
    assert resolve_policy(config_of().init, seed=3, imgsz=416).seed == 3
    assert resolve_policy(config_of("init.seed=8").init, seed=3, imgsz=416).seed == 8


def test_scheme_of__takes_the_options_that_are_given() -> None:
    scheme = scheme_of(config_of("init.rules=[{scheme: normal, std: 0.3}]").init.rules[0], gain=2.0)
    assert (scheme.name, scheme.std, scheme.mean, scheme.gain) == ("normal", 0.3, 0.0, 2.0)


def test_find_init_specs__of_own_and_ultralytics_blocks() -> None:
    specs = find_init_specs(built(), InitOptions(zero_gamma=True))
    assert specs["trunk.layers.22.dfl.conv.weight"].fill is None
    assert specs["trunk.layers.22.cv3.0.2.bias"].description == "prior: 5 objects per image"
    assert specs["fusion.4.conv.weight"].description == "average of both streams"
    assert specs["rgb.layers.4.m.0.cv2.bn.weight"].description == "zero gamma"


class _Block(nn.Module):
    """A convolution, a norm and a raw parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 1)
        self.bn = nn.BatchNorm2d(3)
        self.scale = nn.Parameter(self.bn.weight.detach().clone())


MODEL = nn.ModuleDict({"stem": _Block(), "neck": _Block()})
PARAMETERS = dict(MODEL.named_parameters())


def _matched(rules: list[InitRule], num_own: int | None = None) -> dict[str, int]:
    """Return the number of the rule of every parameter that has one."""
    found = {}
    for prefix, module in MODEL.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            count = len(rules) if num_own is None else num_own
            number = first_match(rules, count, name, prefix, module, parameter)
            if number is not None:
                found[name] = number
    return found


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([InitRule(type="Conv2d", scheme="zeros")],
         {"stem.conv.weight": 0, "stem.conv.bias": 0, "neck.conv.weight": 0, "neck.conv.bias": 0}),
        ([InitRule(name="stem.*", type="Conv2d", scheme="zeros"), InitRule(type="Conv2d", scheme="ones")],
         {"stem.conv.weight": 0, "stem.conv.bias": 0, "neck.conv.weight": 1, "neck.conv.bias": 1}),
        # Neither the norm nor the raw parameter is meant by a rule for everything around it.
        ([InitRule(name="stem*", scheme="zeros")], {"stem.conv.weight": 0, "stem.conv.bias": 0}),
        ([InitRule(type="_NormBase", name="stem.*", scheme="zeros")], {"stem.bn.weight": 0, "stem.bn.bias": 0}),
        ([InitRule(name="stem.bn.bias", scheme="zeros")], {"stem.bn.bias": 0}),
        ([InitRule(name="*.scale", scheme="zeros")], {"stem.scale": 0, "neck.scale": 0}),
        ([InitRule(type="Linear", scheme="zeros")], {}),
    ],
    ids=["type", "first-wins", "not-the-norm", "norm-by-type", "parameter", "raw-parameter", "nothing"],
)  # fmt: skip
def test_first_match(rules: list[InitRule], expected: dict[str, int]) -> None:
    assert _matched(rules) == expected


def test_first_match__only_a_preset_skips_a_weight_that_it_cannot_fill() -> None:
    rules = [InitRule(type="Conv2d", scheme="sparse", sparsity=0.9), InitRule(type="Conv2d", scheme="zeros")]
    assert _matched(rules, num_own=2)["stem.conv.weight"] == 0  # an error, raised where it is filled
    assert _matched(rules, num_own=0)["stem.conv.weight"] == 1
    norm = [InitRule(type="BatchNorm2d", scheme="kaiming_normal")]
    assert _matched(norm, num_own=1) == {}  # a norm's scale is a vector, which no kaiming scheme is meant for


def test_matches__twins_go_by_the_name_they_share() -> None:
    rule = InitRule(name="*.cv2.*", scheme="zeros")
    assert matches(rule, "trunk.layers.22.one2one_cv2.0.2")
    assert not matches(InitRule(name="*.one2one_cv2.*", scheme="zeros"), "trunk.layers.22.one2one_cv2.0.2")


SPECS = {"stem.scale": fixed("frozen scale"), "neck.conv.weight": constant(0.0, "zero", "init.fusion: scheme")}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (InitRule(type="Conv3d", scheme="zeros"),
         "no module with weights of its own is a Conv3d; did you mean Conv2d?"),
        (InitRule(type="Qqq", scheme="zeros"), "no module with weights of its own is a Qqq"),
        (InitRule(name="stam.*", scheme="zeros"),
         "no module or parameter has such a name; names look like 'stem.conv.weight'"),
        (InitRule(name="*.scale", scheme="zeros"),
         "stem.scale has declared initial values (frozen scale); nothing may change it"),
        (InitRule(name="neck.conv", scheme="zeros"),
         "neck.conv.weight has declared initial values (zero); init.fusion: scheme leaves it to the rules"),
        (InitRule(name="stem.bn", scheme="zeros"),
         "an earlier rule applies to everything it matches, or it matches nothing with weights"),
    ],
    ids=["type", "type-without-hint", "name", "fixed", "declared", "shadowed"],
)  # fmt: skip
def test_explain_without_effect(rule: InitRule, expected: str) -> None:
    assert explain_without_effect(rule, MODEL, PARAMETERS, SPECS) == expected


def test_find_declared_matches__by_own_or_owners_name_where_the_rule_gives_one() -> None:
    assert find_declared_matches(InitRule(name="neck.*", scheme="zeros"), SPECS) == ["neck.conv.weight"]
    assert find_declared_matches(InitRule(name="neck.conv", scheme="zeros"), SPECS) == ["neck.conv.weight"]
    assert find_declared_matches(InitRule(scheme="zeros"), SPECS) == []
    assert find_declared_matches(InitRule(name="neck.*", type="Conv2d", scheme="zeros"), SPECS) == []


def test_format_rule() -> None:
    assert format_rule(InitRule(name="a.*", type="Conv2d", scheme="ones")) == "name: a.*, type: Conv2d, scheme: ones"
