"""The policy: what it writes, what it never touches, and what it refuses."""

from __future__ import annotations

import copy
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from tests.unit.weights.test_load import begin, config_of, single_stream_file
from yolofuse.config.weights_schema import NonlinearityName, PresetName, SchemeName
from yolofuse.errors import ConfigError
from yolofuse.model import Detector, build_detector
from yolofuse.nn import FUSIONS
from yolofuse.param_init import InitOptions
from yolofuse.upstream import upstream_init_specs
from yolofuse.weights import load_and_initialise, load_source, policy_of
from yolofuse.weights.init import NONLINEARITIES, SCHEMES, fans_of, gain_of
from yolofuse.weights.init.activations import activations_after
from yolofuse.weights.init.presets import PRESETS

REPO = Path(__file__).resolve().parents[4]
HONEST = [name for name in PRESETS if name != "article"]


def state_of(*words: str) -> dict[str, Tensor]:
    return begin(*words)[0].state_dict()


def fusion_of(detector: Detector) -> dict[str, Any]:
    """Fusion blocks by tap."""
    return dict(detector.parts["fusion"].named_children())


def differing(a: dict[str, Tensor], b: dict[str, Tensor]) -> set[str]:
    assert a.keys() == b.keys()
    return {name for name in a if not torch.equal(a[name], b[name])}


def test_schema__knows_what_the_mathematics_knows() -> None:
    assert set(get_args(SchemeName)) == set(SCHEMES)
    assert set(get_args(NonlinearityName)) == {*NONLINEARITIES, "auto"}
    assert set(get_args(PresetName)) == set(PRESETS)


@pytest.mark.parametrize("preset", HONEST)
def test_initialise__is_a_function_of_seed_and_name(preset: str) -> None:
    """Not of what was drawn before, of the constructor's values, the memory format, or how often it is done."""
    words = (f"init.preset={preset}", "model.fusion=gated")
    first = state_of(*words)
    config = config_of(*words)
    torch.manual_seed(77)
    torch.rand(5)
    detector = build_detector(config.model, num_classes=3, seed=99).to(memory_format=torch.channels_last)
    random_state = torch.get_rng_state()
    load_and_initialise(detector, config, ("person", "bicycle", "car"))
    assert torch.equal(torch.get_rng_state(), random_state)
    assert differing(first, detector.state_dict()) == set()
    load_and_initialise(detector, config, ("person", "bicycle", "car"))
    assert differing(first, detector.state_dict()) == set()


def test_initialise__other_seed_gives_others_and_train_seed_is_the_default() -> None:
    first, second = state_of("train.seed=4"), state_of("train.seed=5")
    changed = differing(first, second)
    weights = {name for name in first if first[name].ndim == 4 and "dfl" not in name and "fusion" not in name}
    assert weights == changed
    assert differing(second, state_of("train.seed=4", "init.seed=5")) == set()


def test_initialise__order_of_modules_does_not_matter() -> None:
    """A tensor's draw does not change when layers before it are drawn, loaded, or not there at all."""
    whole, trunk = state_of(), state_of("model.streams=rgb")
    shared = [name for name in whole if name in trunk and name.startswith("trunk.layers.1") and whole[name].ndim == 4]
    assert len(shared) > 10
    assert all(torch.equal(whole[name], trunk[name]) for name in shared)
    assert not torch.equal(whole["rgb.layers.4.cv1.conv.weight"], whole["ir.layers.4.cv1.conv.weight"])


_PRINT_DIGEST = """
import hashlib, torch
from tests.unit.weights.init.test_policy import state_of
torch.rand(int("{draws}"))
state = state_of("model.fusion=gated", "init.rules=[{{type: Conv2d, name: 'trunk*', scheme: orthogonal}}]")
print(hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in state.values())).hexdigest())
"""


def test_initialise__other_ranks_and_processes_give_the_same_bits() -> None:
    """Each rank initialises for itself: process, thread count, hash seed and earlier draws must not show."""
    digests = set()
    for rank, cpu in (("0", "default"), ("1", "avx2")):  # the latter is what torch picks code for
        environment = {**os.environ, "RANK": rank, "OMP_NUM_THREADS": str(int(rank) + 1), "PYTHONHASHSEED": rank}
        environment["ATEN_CPU_CAPABILITY"] = cpu
        command = [sys.executable, "-c", _PRINT_DIGEST.format(draws=rank)]
        done = subprocess.run(command, env=environment, cwd=REPO, capture_output=True, text=True, check=True)
        digests.add(done.stdout.split()[-1])
    assert len(digests) == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_initialise__cuda_gives_the_same_bits() -> None:
    config = config_of("model.fusion=attention")
    expected = state_of("model.fusion=attention")
    detector = build_detector(config.model, num_classes=3).cuda()
    load_and_initialise(detector, config, ("person", "bicycle", "car"))
    assert differing(expected, {name: tensor.cpu() for name, tensor in detector.state_dict().items()}) == set()


@pytest.mark.parametrize("preset", HONEST)
def test_loaded__is_never_changed_by_one_bit(preset: str, tmp_path: Path) -> None:
    """Nor by rules of the user's that match it; and loading after initialising gives the same model."""
    file = single_stream_file(tmp_path / "w.pt", names=("Car", "dog", "person"))
    rules = "init.rules=[{type: Conv2d, scheme: constant, value: 0.3, bias: 2.0}, {type: BatchNorm2d, scheme: zeros}]"
    words = (f"weights.pretrained={file}", f"init.preset={preset}")
    detector, report = begin(*words)
    ruled, _ = begin(*words, rules)
    state, other = detector.state_dict(), ruled.state_dict()
    source = load_source(file).parts["trunk"]
    loaded = [e for e in report.records if e.status == "loaded"]
    assert len(loaded) > 400
    for entry in loaded:
        assert torch.equal(state[entry.name], source[entry.name.split(".layers.")[1]])
        assert torch.equal(state[entry.name], other[entry.name])
    fresh = state_of(f"init.preset={preset}")  # initialise everything first, then load over it
    for entry in report.records:
        if entry.status == "loaded":
            fresh[entry.name] = source[entry.name.split(".layers.")[1]]
        elif entry.status == "inflated":
            fresh[entry.name] = source["0.conv.weight"].sum(1, keepdim=True)
        elif entry.status == "partial":
            rows = source[entry.name.split(".layers.")[1]]
            fresh[entry.name][0], fresh[entry.name][2] = rows[2], rows[0]  # person and car
    assert differing(fresh, state) == set()


@pytest.mark.parametrize("base", ["yolov8n", "yolov10n", "yolo12n", "yolo26n"])
@pytest.mark.parametrize("preset", HONEST)
def test_declared__survives_every_honest_preset(preset: str, base: str) -> None:
    """DFL, priors, fusion starts, residual scales, area attention; and end-to-end twins stay copies."""
    detector, report = begin(f"model.base={base}", f"init.preset={preset}")
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


def test_declared__residual_scale_of_area_attention() -> None:
    from ultralytics.nn.modules.block import A2C2f

    starts = upstream_init_specs(A2C2f(64, 64, residual=True), InitOptions())
    assert starts["gamma"].fill is not None
    assert (starts["gamma"].fill(torch.empty(64), None) == 0.01).all()


def test_article__destroys_what_it_says() -> None:
    detector, report = begin("init.preset=article")
    head = detector.heads["trunk"]
    assert not torch.equal(head.dfl.conv.weight.flatten(), torch.arange(16.0))
    assert (head.cv3[0][-1].bias == 0).all()
    assert any("DFL" in warning and "prior" in warning for warning in report.warnings)


def test_article__overwrites_what_was_loaded(tmp_path: Path) -> None:
    file = single_stream_file(tmp_path / "w.pt")
    _, report = begin("init.preset=article", f"weights.pretrained={file}")
    assert report.share_loaded() == 0.0


@pytest.mark.parametrize("fusion", [name for name in FUSIONS if name != "add"])
def test_fusion_start__is_what_it_says(fusion: str) -> None:
    rgb, ir = torch.randn(2, 64, 8, 8), torch.randn(2, 64, 8, 8)

    def block_of(start: str) -> Any:
        detector, _ = begin(f"model.fusion={fusion}", f"init.fusion={start}")
        return next(iter(fusion_of(detector).values()))

    with torch.no_grad():
        torch.testing.assert_close(block_of("average")(rgb, ir), (rgb + ir) / 2, rtol=0.0, atol=0.1)
        torch.testing.assert_close(block_of("rgb")(rgb, ir), rgb, rtol=0.0, atol=0.2)
        torch.testing.assert_close(block_of("ir")(rgb, ir), ir, rtol=0.0, atol=0.2)
        assert not torch.allclose(block_of("scheme")(rgb, ir), (rgb + ir) / 2, rtol=0.0, atol=0.1)


def test_options__do_what_they_say() -> None:
    detector, _ = begin("init.head_std=0.5", "init.prior_objects=50.0", "init.prior_imgsz=null", "train.imgsz=320")
    head = detector.heads["trunk"]
    assert float(head.cv2[0][-1].weight.detach().std()) == pytest.approx(0.5, rel=0.1)
    assert float(head.cv3[1][-1].bias[0].detach()) == pytest.approx(math.log(50 / 3 / (320 / 16) ** 2))
    ruled, _ = begin("init.head_std=rules", "init.rules=[{name: '*.cv2.*.2', scheme: uniform, low: -3.0, high: 3.0}]")
    assert ruled.heads["trunk"].cv2[0][-1].weight.abs().max() > 2.9
    zero, _ = begin("init.zero_gamma=true")
    bottleneck = zero.get_submodule("rgb.layers.4.m.0")
    assert (bottleneck.cv2.bn.weight == 0).all()  # type: ignore[union-attr]
    assert (bottleneck.cv1.bn.weight == 1).all()  # type: ignore[union-attr]
    neck = zero.get_submodule("trunk.layers.15.m.0")  # adds nothing, so zero would cut it off
    assert (neck.cv2.bn.weight == 1).all()  # type: ignore[union-attr]


def test_rules__first_match_wins_by_type_and_name() -> None:
    rules = (
        "init.rules=[{name: 'rgb.layers.0*', scheme: ones, bias: 0.5},"
        "{type: Conv2d, name: 'rgb.*', scheme: constant, value: 0.25},"
        "{type: _NormBase, name: 'rgb.*', scheme: constant, value: 0.75, bias: 1.5},"
        "{name: 'trunk.layers.22.cv2.0.0.bn.bias', scheme: constant, value: 9.0}]"
    )
    detector, report = begin(rules)
    state = detector.state_dict()
    assert (state["rgb.layers.0.conv.weight"] == 1).all()
    assert (state["rgb.layers.0.bn.bias"] == 1.5).all()  # not 0.5: a norm is only meant by a rule that says so
    assert (state["rgb.layers.1.conv.weight"] == 0.25).all()
    assert (state["rgb.layers.1.bn.weight"] == 0.75).all()
    assert (state["rgb.layers.1.bn.bias"] == 1.5).all()
    assert (state["trunk.layers.22.cv2.0.0.bn.bias"] == 9).all()
    assert (state["trunk.layers.22.cv2.0.0.bn.weight"] == 1).all()
    entries = {entry.name: entry for entry in report.records}
    assert entries["rgb.layers.1.conv.weight"].rule == "init.rules.1: constant"
    assert entries["ir.layers.1.conv.weight"].rule == "preset kaiming: kaiming_normal fan_in gain 1.6765 (SiLU)"


def test_auto__is_the_activation_that_really_follows() -> None:
    config = config_of("model.fusion=gated", "model.base=yolo11n")
    detector = build_detector(config.model, num_classes=3)
    found = activations_after(detector)
    for name, module in detector.named_modules():
        if type(module).__name__ == "Conv":
            followed = found.get(f"{name}.conv")
            assert type(followed) is (nn.SiLU if isinstance(module.act, nn.SiLU) else type(None)), name
    gates = [name for name in found if name.startswith("fusion")]
    assert gates
    assert all(name.endswith("squeeze") for name in gates)  # a sigmoid called as a function is not seen
    assert not any(".cv2.0.2" in name for name in found)  # the head's outputs
    swapped = copy.deepcopy(detector)
    conv = swapped.get_submodule("rgb.layers.0")
    conv.act = nn.LeakyReLU(0.3, inplace=True)
    after = activations_after(swapped)["rgb.layers.0.conv"]
    assert gain_of(after) == pytest.approx(math.sqrt(2 / (1 + 0.3**2)), abs=1e-3)
    load_and_initialise(swapped, config_of("model.base=yolo11n", "model.fusion=gated"), ("a", "b", "c"))
    weight = swapped.get_parameter("rgb.layers.0.conv.weight")
    fans = fans_of(conv.conv, weight)  # type: ignore[arg-type]
    assert fans is not None
    assert float(weight.detach().std()) == pytest.approx(1.3546 / math.sqrt(fans.fan_in), rel=0.15)


def test_norm_free__has_no_norm_and_begins_without_one() -> None:
    detector, report = begin("model.norm=none")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in detector.modules())
    entry = next(e for e in report.records if e.name == "rgb.layers.1.conv.weight")
    assert entry.rule is not None
    assert "SiLU" in entry.rule
    detector.train()(torch.rand(2, 3, 64, 64), torch.rand(2, 1, 64, 64))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("{type: Conv2d, scheme: orthogonall}", "init.rules.0.scheme"),
        ("{type: Conv2d, scheme: kaiming_normal, nonlinearity: swoosh}", "init.rules.0.nonlinearity"),
        ("{type: Conv2d, scheme: constant, mode: fan_in}", "constant has no mode; it reads value"),
        ("{type: Conv2d, scheme: xavier_normal, mode: fan_out}", "xavier_normal has no mode"),
        ("{type: Conv2d, scheme: normal, nonlinearity: relu}", "normal has no gain"),
        ("{type: Conv2d, scheme: kaiming_normal, slope: 0.2}", "slope: only nonlinearity leaky_relu"),
        ("{type: Conv2d, scheme: kaiming_normal, gain: 2.0, nonlinearity: relu}", "gain and nonlinearity exclude each other"),
        ("{type: Conv2d, scheme: uniform, low: 2.0, high: 1.0}", "high must be above low"),
    ],
)
def test_rules__wrong_ones_are_told_before_a_model_is_there(rule: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        policy_of(config_of(f"init.rules=[{rule}]"))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("{type: Conv3d, scheme: zeros}", "no module with weights of its own is a Conv3d; did you mean Conv2d"),
        ("{name: 'rbg.*', scheme: zeros}", "no module or parameter has such a name; names look like 'rgb.layers.0"),
        ("{name: 'fusion.*', scheme: zeros}", "has declared initial values .average of both streams.; init.fusion: scheme"),
        ("{name: '*.dfl.*', scheme: zeros}", "has declared initial values .DFL.*nothing may change it"),
        ("{name: '*.one2one_cv2.*', scheme: zeros}", "no module or parameter has such a name"),
        ("{type: Conv2d, scheme: eye}", "use dirac"),
    ],
)
def test_rules__without_effect_are_refused(rule: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        begin(f"init.rules=[{rule}]")


def test_rules__shadowed_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"init\.rules\.1 .*an earlier rule"):
        begin("init.rules=[{type: Conv2d, scheme: zeros}, {type: Conv2d, name: 'rgb.*', scheme: ones}]")


def test_rules__say_what_keeps_its_own_start() -> None:
    _, report = begin("model.fusion=gated", "init.rules=[{name: 'fusion.*', scheme: xavier_normal}]")
    assert any("fusion.4.gate.excite.weight too, which keeps its declared initial values" in warning for warning in report.warnings)


def test_zero_gamma__without_residual_branches_is_refused() -> None:
    with pytest.raises(ConfigError, match="no residual branch that ends in a norm"):
        begin("init.zero_gamma=true", "model.norm=none")
    for base, end in (("yolo26n", "ir.layers.9.cv2.bn"), ("yolov8n-ghost", "ir.layers.2.m.0.conv.2.cv1.bn")):
        detector, _ = begin("init.zero_gamma=true", f"model.base={base}")
        assert (detector.get_parameter(f"{end}.weight") == 0).all()


@pytest.mark.parametrize(
    "word", ["init.head_std=1.0e39", "init.prior_objects=5.0e-324", "init.rules=[{scheme: constant, value: 1.0e39}]"]
)
def test_numbers__out_of_reason_are_refused(word: str) -> None:
    with pytest.raises(ConfigError, match=r"init\."):
        config_of(word)


def test_auto__reads_the_slopes_of_a_prelu() -> None:
    detector = build_detector(config_of().model, num_classes=3)
    detector.get_submodule("rgb.layers.0").act = nn.PReLU(init=0.5)
    report = load_and_initialise(detector, config_of(), ("a", "b", "c"))
    entry = next(e for e in report.records if e.name == "rgb.layers.0.conv.weight")
    assert entry.rule is not None
    assert f"gain {math.sqrt(2 / 1.25):.4f} (PReLU)" in entry.rule


def test_initialise__default_dtype_does_not_matter() -> None:
    expected = state_of("model.fusion=attention")
    config = config_of("model.fusion=attention")
    detector = build_detector(config.model, num_classes=3)
    torch.set_default_dtype(torch.float64)
    try:
        load_and_initialise(detector, config, ("person", "bicycle", "car"))
    finally:
        torch.set_default_dtype(torch.float32)
    assert differing(expected, detector.state_dict()) == set()


def test_add__has_no_start_to_choose() -> None:
    with pytest.raises(ConfigError, match="'add' is always the average"):
        config_of("model.fusion=add", "init.fusion=rgb")


class _Unknown(nn.Module):
    """A block nobody declared anything about."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((3,), 7.0))

    def forward(self, rgb: Tensor, ir: Tensor) -> Tensor:
        return rgb * self.scale.mean() + ir


def _with_unknown() -> Detector:
    detector = build_detector(config_of().model, num_classes=3)
    for tap in fusion_of(detector):
        setattr(detector.parts["fusion"], tap, _Unknown())
    return detector


def test_raw_parameter__stays_as_constructed_with_a_warning_unless_a_rule_names_it() -> None:
    detector = _with_unknown()
    report = load_and_initialise(detector, config_of(), ("a", "b", "c"))
    assert (fusion_of(detector)["4"].scale == 7).all()
    assert report.statuses["fusion.4.scale"] == "constructor"
    assert any("fusion.4.scale: no rule" in warning for warning in report.warnings)
    ruled = config_of("init.rules=[{name: '*.scale', scheme: ones}]")
    report = load_and_initialise(detector, ruled, ("a", "b", "c"))
    assert (fusion_of(detector)["4"].scale == 1).all()
    assert report.warnings == ()
