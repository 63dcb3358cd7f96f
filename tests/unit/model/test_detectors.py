"""The cut: what is built, what it costs, and that each modality goes where it should."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from yolofuse.config import LossConfig, ModelConfig
from yolofuse.engine.loss import DetectionLoss
from yolofuse.errors import ConfigError
from yolofuse.model import Detector, build_detector, summarise
from yolofuse.model.detectors import DualStreamDetector
from yolofuse.nn import FUSIONS
from yolofuse.types import PairedBatch

NANO = ["yolov5n", "yolov8n", "yolov9t", "yolov10n", "yolo11n", "yolo12n", "yolo26n"]
CUTS = ["input", "early", "mid", "late", "decision", 7]


def build(num_classes: int = 3, **model: Any) -> Detector:
    return build_detector(ModelConfig(**model), num_classes=num_classes)


def random_batch(side: int = 64) -> PairedBatch:
    generator = torch.Generator().manual_seed(1)
    return PairedBatch(
        pixels=torch.rand(2, 4, side, side, generator=generator),
        boxes_xyxy=torch.tensor([[4.0, 4, 40, 44], [10, 20, 30, 60], [2, 2, 60, 60]]),
        class_ids=torch.tensor([0, 2, 1]),
        batch_index=torch.tensor([0, 0, 1]),
        image_ids=torch.tensor([1, 2]),
        sizes_hw=torch.tensor([[side, side]] * 2),
        letterboxes=torch.tensor([[1.0, 0, 0]] * 2),
    )


def step(detector: Detector) -> tuple[float, dict[str, torch.Tensor | None]]:
    detector.train()
    batch = random_batch()
    total = DetectionLoss(detector, LossConfig(), epochs=3)(detector(batch.rgb, batch.ir), batch).total
    total.backward()  # type: ignore[no-untyped-call]
    return float(total.detach()), {n: p.grad for n, p in detector.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("base", NANO)
@pytest.mark.parametrize("cut", CUTS)
def test_step__every_family_and_cut_gives_finite_loss_and_gradients(base: str, cut: Any) -> None:
    loss, gradients = step(build(base=base, cut=cut))
    assert 0 < loss < 1e4
    lost = [name for name, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()]
    assert not lost


@pytest.mark.parametrize("base", NANO)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_step__every_fusion_parameter_gets_a_gradient(base: str, fusion: Any) -> None:
    _, gradients = step(build(base=base, cut="mid", fusion=fusion))
    fused = {name: gradient for name, gradient in gradients.items() if name.startswith("fusion.")}
    assert bool(fused) == (fusion != "add")
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in fused.values())


@pytest.mark.parametrize("cut", ["early", "mid", "late", "decision"])
def test_share__both_modalities_pass_through_one_stream(cut: Any) -> None:
    shared, separate = build(base="yolo11n", cut=cut, share=True), build(base="yolo11n", cut=cut)
    assert "ir" not in shared.parts
    assert "ir" in separate.parts
    loss, gradients = step(shared)
    assert loss > 0
    assert all(gradient is not None for gradient in gradients.values())
    shared.eval()
    batch = random_batch()
    alone = shared(batch.rgb, batch.ir)
    swapped = shared(batch.ir.expand(-1, 3, -1, -1), batch.ir)
    assert not torch.equal(next(iter(alone.values()))[0], next(iter(swapped.values()))[0])


@pytest.mark.parametrize("base", ["yolo11n", "yolov10n", "yolo26n"])
@pytest.mark.parametrize("cut", ["input", "early", "mid", "late", "decision"])
def test_inference__decodes_boxes_per_head(base: str, cut: Any) -> None:
    detector = build(base=base, cut=cut).eval()
    batch = random_batch(96)
    with torch.no_grad():
        outputs = detector(batch.rgb, batch.ir)
    assert list(outputs) == (["rgb", "ir"] if cut == "decision" else ["trunk"])
    assert detector.end2end == (base in {"yolov10n", "yolo26n"})
    expected = (2, 189, 6) if detector.end2end else (2, 7, 189)  # 12*12 + 6*6 + 3*3 anchors
    assert all(output[0].shape == expected for output in outputs.values())


@pytest.mark.parametrize("cut", ["input", "early", "mid", "late", "decision"])
def test_modalities__each_reaches_its_own_stem(cut: Any) -> None:
    """A gradient flows from the output to both images; cutting one stream's stem off silences that image alone."""
    detector = build(base="yolov8n", cut=cut).eval()
    batch = random_batch()
    rgb, ir = batch.rgb.clone().requires_grad_(), batch.ir.clone().requires_grad_()
    if cut == "input":
        stem = detector.get_parameter("trunk.layers.0.conv.weight")
        stem.data[:, 3:] = 0
    else:
        detector.get_parameter("ir.layers.0.conv.weight").data.zero_()
    sum(output[1]["feats"][0].sum() for output in detector(rgb, ir).values()).backward()
    assert rgb.grad is not None
    assert rgb.grad.abs().sum() > 0
    assert ir.grad is not None
    assert ir.grad.abs().sum() == 0


@pytest.mark.parametrize("streams", ["rgb", "ir"])
def test_single__ignores_the_other_modality(streams: Any) -> None:
    detector = build(base="yolov8n", streams=streams).eval()
    batch = random_batch()
    changed_rgb, changed_ir = batch.rgb.flip(0), batch.ir.flip(0)
    with torch.no_grad():
        plain = detector(batch.rgb, batch.ir)["trunk"][0]
        other = detector(*((batch.rgb, changed_ir) if streams == "rgb" else (changed_rgb, batch.ir)))["trunk"][0]
        own = detector(*((changed_rgb, batch.ir) if streams == "rgb" else (batch.rgb, changed_ir)))["trunk"][0]
    assert torch.equal(plain, other)
    assert not torch.equal(plain, own)


def test_inference__half_precision_keeps_boxes_in_float() -> None:
    detector = build(base="yolov8n").eval()
    batch = random_batch(96)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        half = detector(batch.rgb, batch.ir)["trunk"][0]
    assert half.dtype == torch.float32
    assert not torch.equal(half, half.bfloat16().float())


def test_loss__anchors_do_not_depend_on_the_precision_of_features() -> None:
    """In bf16, cells beyond the 128th would fall onto each other."""
    detector = build(base="yolov8n", num_classes=1, streams="rgb").train()
    batch = random_batch(64)
    batch.class_ids.zero_()
    loss = DetectionLoss(detector, LossConfig(), 3)
    outputs = detector(batch.rgb, batch.ir)
    rounded = {"trunk": {**outputs["trunk"], "feats": [f.bfloat16() for f in outputs["trunk"]["feats"]]}}
    assert torch.equal(loss(outputs, batch)[0], loss(rounded, batch)[0])


def test_taps__are_those_of_the_design() -> None:
    taps = {cut: build(base="yolo11n", cut=cut).taps for cut in ("early", "mid", "late")}
    assert taps == {"early": (1,), "mid": (4, 6, 10), "late": (16, 19, 22)}


def test_identical_streams__equal_the_single_stream_model() -> None:
    """Mid fusion by the mean of two equal streams is the single-stream model: nothing is lost on the way."""
    single, dual = build(base="yolo11n", streams="rgb").eval(), build(base="yolo11n", cut="mid", fusion="add").eval()
    wanted = single.state_dict()
    for name, tensor in dual.state_dict().items():
        part, _, rest = name.partition(".")
        source = wanted[f"trunk.{rest}"]
        tensor.copy_(source.sum(1, keepdim=True) if part == "ir" and tensor.shape != source.shape else source)
    grey = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            dual(grey.expand(-1, 3, -1, -1), grey)["trunk"][0], single(grey.expand(-1, 3, -1, -1), grey)["trunk"][0]
        )


def test_build__same_seed_same_weights_and_global_state_untouched() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = build_detector(ModelConfig(), num_classes=2, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    second = build_detector(ModelConfig(), num_classes=2, seed=3)
    other = build_detector(ModelConfig(), num_classes=2, seed=4)
    name = "trunk.layers.13.cv1.conv.weight"
    assert torch.equal(first.get_parameter(name), second.get_parameter(name))
    assert not torch.equal(first.get_parameter(name), other.get_parameter(name))


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("yolo11", "has no size; use one of yolo11n, yolo11s"),
        ("yolov8q", "unknown size 'q'"),
        ("yolov9n", "unknown size 'n'; use one of yolov9c"),
        ("yolo11n-seg", "did you mean"),
        ("resnet50", "unknown model"),
    ],
)
def test_base__wrong_name_is_refused(base: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build(base=base)


def test_cut__number_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match="25 is out of range; this model has 24 layers"):
        build(base="yolo11n", cut=25)


def test_cut__several_tensors_in_one_tap_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"layer 10.*several tensors"):
        build(base="yolov9e", cut=13)


def test_cut__image_tap_of_yolov9e_is_fused() -> None:
    detector = build(base="yolov9e", cut="early")
    assert isinstance(detector, DualStreamDetector)
    assert detector.taps[0] == 0
    with torch.no_grad():
        batch = random_batch()
        assert detector(batch.rgb, batch.ir)["trunk"]["scores"].shape == (2, 3, 84)


def test_summary__counts_four_channels_and_both_streams() -> None:
    stacked = summarise(build(base="yolo11n", cut="input"), 640)
    single = summarise(build(base="yolo11n", streams="rgb"), 640)
    extra = stacked[0].gflops - single[0].gflops
    assert extra == pytest.approx(2 * 16 * 9 * 320 * 320 / 1e9, rel=1e-6)  # one more input channel in the stem
    mid = {row.name: row for row in summarise(build(base="yolo11n", cut="mid"), 640)}
    assert sum(row.gflops for row in mid.values()) > 1.4 * single[0].gflops
    assert mid["rgb"].gflops - mid["ir"].gflops == pytest.approx(2 * extra, rel=1e-6)
    shared = {row.name: row for row in summarise(build(base="yolo11n", cut="mid", share=True), 640)}
    assert shared["rgb"].shared
    assert shared["rgb"].gflops == pytest.approx(2 * mid["rgb"].gflops)


@pytest.mark.parametrize("name", FUSIONS)
def test_fusion__keeps_shape_and_starts_near_the_mean(name: str) -> None:
    torch.manual_seed(0)
    rgb, ir = torch.randn(2, 2, 16, 8, 6).unbind(0)
    fused = FUSIONS[name](16)(rgb, ir)
    assert fused.shape == rgb.shape
    assert (fused - (rgb + ir) / 2).abs().max() < 0.25


@pytest.mark.parametrize("name", FUSIONS)
def test_fusion__both_inputs_count(name: str) -> None:
    torch.manual_seed(0)
    rgb, ir = torch.randn(2, 2, 16, 8, 6).unbind(0)
    block = FUSIONS[name](16)
    assert not torch.equal(block(rgb, ir), block(rgb, ir.flip(0)))
    assert not torch.equal(block(rgb, ir), block(rgb.flip(0), ir))
