"""The ``init`` section of a config: options that fit together, and the declarations of a model."""

from __future__ import annotations

import pytest

from tests.support.weights import built, config_of
from yolofuse.errors import ConfigError
from yolofuse.param_init import InitOptions
from yolofuse.weights import policy_of
from yolofuse.weights.init.policy import find_init_specs, resolve_policy, scheme_of


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
