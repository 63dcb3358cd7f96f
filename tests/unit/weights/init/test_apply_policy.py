"""Initial values of a whole model: reproducible, beside what was loaded, and declared values kept."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.weights import (
    CLASSES,
    built,
    config_of,
    differing,
    initial_state,
    initialised,
    single_stream_file,
)
from yolofuse.errors import ConfigError
from yolofuse.model import Detector, build_detector
from yolofuse.nn import FUSIONS
from yolofuse.param_init import InitOptions, apply_init
from yolofuse.weights import load_and_initialise, load_source
from yolofuse.weights.init.fans import fans_of
from yolofuse.weights.init.policy import find_init_specs
from yolofuse.weights.init.presets import PRESETS

_FAST = ("kaiming", "ultralytics")
PRESET_NAMES = [
    pytest.param(name, marks=() if name in _FAST else pytest.mark.soak)
    for name, preset in PRESETS.items()
    if not preset.overwrites_all
]
_FAST_CASES = {("kaiming", "yolov8n"), ("kaiming", "yolo12n"), ("resnet", "yolo26n")}
BASES = ["yolov8n", "yolov10n", "yolo12n", "yolo26n"]


def fusion_of(detector: Detector) -> dict[str, Any]:
    """Return the fusion blocks by tap."""
    return dict(detector.parts["fusion"].named_children())


@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_draws__are_a_function_of_seed_and_name(preset: str) -> None:
    """Not of earlier draws, the constructor's values, the memory format, or how often it is done."""
    words = (f"init.preset={preset}", "model.fusion=gated")
    first = initial_state(*words)
    config = config_of(*words)
    torch.manual_seed(77)
    detector = build_detector(config.model, num_classes=3, seed=99).to(memory_format=torch.channels_last)
    random_state = torch.get_rng_state()
    for _ in range(2):
        load_and_initialise(detector, config, CLASSES)
        assert torch.equal(torch.get_rng_state(), random_state)
        assert differing(first, detector.state_dict()) == set()


def test_draws__another_seed_changes_every_weight_and_train_seed_is_the_default() -> None:
    first, second = initial_state("train.seed=4"), initial_state("train.seed=5")
    changed = differing(first, second)
    weights = {name for name in first if first[name].ndim == 4 and "dfl" not in name and "fusion" not in name}
    assert weights == changed
    assert differing(second, initial_state("train.seed=4", "init.seed=5")) == set()


def test_draws__order_of_modules_does_not_matter() -> None:
    """A tensor's draw does not change when layers before it are drawn, loaded, or not there at all."""
    whole, trunk = initial_state(), initial_state("model.streams=rgb")
    shared = [name for name in whole if name in trunk and name.startswith("trunk.layers.1") and whole[name].ndim == 4]
    assert len(shared) > 10
    assert all(torch.equal(whole[name], trunk[name]) for name in shared)
    assert not torch.equal(whole["rgb.layers.4.cv1.conv.weight"], whole["ir.layers.4.cv1.conv.weight"])


def test_draws__default_dtype_does_not_matter() -> None:
    expected = initial_state("model.fusion=attention")
    detector = built("model.fusion=attention")
    torch.set_default_dtype(torch.float64)
    try:
        load_and_initialise(detector, config_of("model.fusion=attention"), CLASSES)
    finally:
        torch.set_default_dtype(torch.float32)
    assert differing(expected, detector.state_dict()) == set()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_draws__cuda_gives_the_same_bits() -> None:
    expected = initial_state("model.fusion=attention")
    detector = built("model.fusion=attention").cuda()
    load_and_initialise(detector, config_of("model.fusion=attention"), CLASSES)
    assert differing(expected, {name: tensor.cpu() for name, tensor in detector.state_dict().items()}) == set()


@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_loaded__is_never_changed_by_one_bit(preset: str, tmp_path: Path) -> None:
    """Not by a user's rules that match it; and loading after initialising gives the same model."""
    file = single_stream_file(tmp_path / "w.pt", names=("Car", "dog", "person"))
    rules = "init.rules=[{type: Conv2d, scheme: constant, value: 0.3, bias: 2.0}, {type: BatchNorm2d, scheme: zeros}]"
    words = (f"weights.pretrained={file}", f"init.preset={preset}")
    detector, report = initialised(*words)
    state, with_rules = detector.state_dict(), initialised(*words, rules)[0].state_dict()
    source = load_source(file).parts["trunk"]
    loaded = [record for record in report.records if record.status == "loaded"]
    assert len(loaded) > 400
    for record in loaded:
        assert torch.equal(state[record.name], source[record.name.split(".layers.")[1]])
        assert torch.equal(state[record.name], with_rules[record.name])
    fresh = {name: tensor.clone() for name, tensor in initial_state(f"init.preset={preset}").items()}
    for record in report.records:  # initialise everything first, then load over it
        if record.status == "loaded":
            fresh[record.name] = source[record.name.split(".layers.")[1]]
        elif record.status == "inflated":
            fresh[record.name] = source["0.conv.weight"].sum(1, keepdim=True)
        elif record.status == "partial":
            rows = source[record.name.split(".layers.")[1]]
            fresh[record.name][0], fresh[record.name][2] = rows[2], rows[0]  # person and car
    assert differing(fresh, state) == set()


def _soak_unless(fast: bool, *values: Any) -> Any:
    """Return a case that is soaked, or also fast."""
    return pytest.param(*values, marks=() if fast else pytest.mark.soak)


@pytest.mark.parametrize(
    ("preset", "base"),
    [
        _soak_unless((preset, base) in _FAST_CASES, preset, base)
        for preset in ("kaiming", "xavier", "ultralytics", "resnet", "vgg")
        for base in BASES
    ],
)
def test_declared__values_are_kept_by_every_preset(preset: str, base: str) -> None:
    """DFL, priors, fusion blocks, residual scales, area attention; and end-to-end twins stay copies."""
    detector, report = initialised(f"model.base={base}", f"init.preset={preset}")
    for head in detector.heads.values():
        if head.reg_max > 1:
            assert torch.equal(head.dfl.conv.weight.flatten(), torch.arange(16.0))
        for i, (box, cls) in enumerate(zip(head.cv2, head.cv3, strict=True)):
            assert (box[-1].bias == 2.0).all()
            prior = math.log(5 / 3 / (640 / float(head.stride[i])) ** 2)
            torch.testing.assert_close(cls[-1].bias, torch.full_like(cls[-1].bias, prior))
        if getattr(head, "one2one_cv2", None) is not None:
            assert differing(head.cv2.state_dict(), head.one2one_cv2.state_dict()) == set()
            assert differing(head.cv3.state_dict(), head.one2one_cv3.state_dict()) == set()
    for block in fusion_of(detector).values():
        rgb, ir = torch.rand(2, block.conv.out_channels, 4, 4), torch.rand(2, block.conv.out_channels, 4, 4)
        torch.testing.assert_close(block(rgb, ir), (rgb + ir) / 2)
    attention = [t for name, t in detector.named_parameters() if base == "yolo12n" and ".qk" in name and t.ndim == 4]
    assert bool(attention) == (base == "yolo12n")
    assert all(float(tensor.detach().std()) == pytest.approx(0.02, rel=0.1) for tensor in attention)
    assert "constructor" not in report.statuses.values()


@pytest.mark.parametrize("fusion", [name for name in FUSIONS if name != "add"])
def test_fusion__starts_as_the_option_says(fusion: str) -> None:
    rgb, ir = torch.randn(2, 64, 8, 8), torch.randn(2, 64, 8, 8)
    average, scheme = (
        next(iter(fusion_of(initialised(f"model.fusion={fusion}", f"init.fusion={option}")[0]).values()))
        for option in ("average", "scheme")
    )
    with torch.no_grad():
        assert not torch.allclose(scheme(rgb, ir), (rgb + ir) / 2, rtol=0.0, atol=0.1)
        torch.testing.assert_close(average(rgb, ir), (rgb + ir) / 2, rtol=0.0, atol=0.1)
        for option, expected in (("rgb", rgb), ("ir", ir)):
            block = copy.deepcopy(average)
            apply_init(block, find_init_specs(block, InitOptions(fusion=option)))  # type: ignore[arg-type]
            torch.testing.assert_close(block(rgb, ir), expected, rtol=0.0, atol=0.2)


def test_options__head_and_priors() -> None:
    words = ("init.head_std=0.5", "init.prior_objects=50.0", "init.prior_imgsz=null", "train.imgsz=320")
    head = initialised(*words, "init.fusion=rgb")[0].heads["trunk"]
    assert float(head.cv2[0][-1].weight.detach().std()) == pytest.approx(0.5, rel=0.1)
    assert float(head.cv3[1][-1].bias[0].detach()) == pytest.approx(math.log(50 / 3 / (320 / 16) ** 2))
    rules = "init.rules=[{name: '*.cv2.*.2', scheme: uniform, low: -3.0, high: 3.0}]"
    assert initialised("init.head_std=rules", rules)[0].heads["trunk"].cv2[0][-1].weight.abs().max() > 2.9


@pytest.mark.parametrize(
    ("base", "zeros", "ones"),
    [
        # The neck's bottleneck adds nothing, so zero would cut it off.
        ("yolov8n", "rgb.layers.4.m.0.cv2.bn", ("rgb.layers.4.m.0.cv1.bn", "trunk.layers.15.m.0.cv2.bn")),
        _soak_unless(False, "yolo26n", "ir.layers.9.cv2.bn", ()),
        _soak_unless(False, "yolov8n-ghost", "ir.layers.2.m.0.conv.2.cv1.bn", ()),
    ],
)
def test_options__zero_gamma(base: str, zeros: str, ones: tuple[str, ...]) -> None:
    detector, _ = initialised("init.zero_gamma=true", f"model.base={base}")
    assert (detector.get_parameter(f"{zeros}.weight") == 0).all()
    assert all((detector.get_parameter(f"{name}.weight") == 1).all() for name in ones)


def test_options__zero_gamma_without_residual_branches_is_refused() -> None:
    with pytest.raises(ConfigError, match="no residual branch that ends in a norm"):
        initialised("init.zero_gamma=true", "model.norm=none")


def test_rules__first_match_wins_by_type_and_name() -> None:
    rules = (
        "init.rules=[{name: 'rgb.layers.0*', scheme: ones, bias: 0.5},"
        "{type: Conv2d, name: 'rgb.*', scheme: constant, value: 0.25},"
        "{type: _NormBase, name: 'rgb.*', scheme: constant, value: 0.75, bias: 1.5},"
        "{name: 'trunk.layers.22.cv2.0.0.bn.bias', scheme: constant, value: 9.0}]"
    )
    detector, report = initialised(rules)
    state = detector.state_dict()
    assert (state["rgb.layers.0.conv.weight"] == 1).all()
    assert (state["rgb.layers.0.bn.bias"] == 1.5).all()  # not 0.5: a norm is only meant by a rule that says so
    assert (state["rgb.layers.1.conv.weight"] == 0.25).all()
    assert (state["rgb.layers.1.bn.weight"] == 0.75).all()
    assert (state["rgb.layers.1.bn.bias"] == 1.5).all()
    assert (state["trunk.layers.22.cv2.0.0.bn.bias"] == 9).all()
    assert (state["trunk.layers.22.cv2.0.0.bn.weight"] == 1).all()
    rule_of = {record.name: record.rule for record in report.records}
    assert rule_of["rgb.layers.1.conv.weight"] == "init.rules.1: constant"
    assert rule_of["ir.layers.1.conv.weight"] == "preset kaiming: kaiming_normal fan_in gain 1.6765 (SiLU)"


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("{type: Conv3d, scheme: zeros}", "no module with weights of its own is a Conv3d; did you mean Conv2d"),
        ("{name: 'rbg.*', scheme: zeros}", "no module or parameter has such a name; names look like 'rgb.layers.0"),
        ("{name: 'fusion.*', scheme: zeros}", "declared initial values .average of both streams.; init.fusion: scheme"),
        ("{type: Conv2d, scheme: zeros}, {type: Conv2d, name: 'rgb.*', scheme: ones}", r"rules\.1 .*an earlier rule"),
        ("{type: Conv2d, scheme: eye}", "use dirac"),
    ],
)
def test_rules__without_effect_or_fit_are_refused(rules: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        initialised(f"init.rules=[{rules}]")


def test_rules__warn_of_declared_values_that_they_match() -> None:
    _, report = initialised("model.fusion=gated", "init.rules=[{name: 'fusion.*', scheme: xavier_normal}]")
    assert any("fusion.4.gate.excite.weight too, which keeps its declared" in warning for warning in report.warnings)


@pytest.mark.parametrize(("activation", "square"), [(nn.PReLU(init=0.5), 0.25), (nn.LeakyReLU(0.3), 0.09)], ids=str)
def test_gain_auto__is_that_of_the_activation_that_follows(activation: nn.Module, square: float) -> None:
    detector = built()
    block = detector.get_submodule("rgb.layers.0")
    block.act = activation
    report = load_and_initialise(detector, config_of(), CLASSES)
    rule = next(record.rule for record in report.records if record.name == "rgb.layers.0.conv.weight")
    gain = math.sqrt(2 / (1 + square))
    assert rule is not None
    assert f"gain {gain:.4f} ({type(activation).__name__})" in rule
    weight = detector.get_parameter("rgb.layers.0.conv.weight")
    fans = fans_of(block.conv, weight)  # type: ignore[arg-type]
    assert fans is not None
    assert float(weight.detach().std()) == pytest.approx(gain / math.sqrt(fans.fan_in), rel=0.15)


def test_model_without_norms__is_initialised_and_runs() -> None:
    detector, report = initialised("model.norm=none")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in detector.modules())
    rule = next(record.rule for record in report.records if record.name == "rgb.layers.1.conv.weight")
    assert rule is not None
    assert "SiLU" in rule
    detector.train()(torch.rand(2, 3, 64, 64), torch.rand(2, 1, 64, 64))


class _Undeclared(nn.Module):
    """A block without declared initial values."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((3,), 7.0))

    def forward(self, rgb: Tensor, ir: Tensor) -> Tensor:
        return rgb * self.scale.mean() + ir


def test_raw_parameter__stays_as_constructed_with_a_warning_unless_a_rule_names_it() -> None:
    detector = built()
    for tap in fusion_of(detector):
        setattr(detector.parts["fusion"], tap, _Undeclared())
    report = load_and_initialise(detector, config_of(), CLASSES)
    assert (fusion_of(detector)["4"].scale == 7).all()
    assert report.statuses["fusion.4.scale"] == "constructor"
    assert any("fusion.4.scale: no rule" in warning for warning in report.warnings)
    report = load_and_initialise(detector, config_of("init.rules=[{name: '*.scale', scheme: ones}]"), CLASSES)
    assert (fusion_of(detector)["4"].scale == 1).all()
    assert report.warnings == ()
