"""Detectors: each modality reaches its stem, every parameter gets a gradient, and heads decode in float32."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tests.support.detectors import build, loss_and_gradients, random_batch
from yolofuse.config import LossConfig
from yolofuse.engine.loss import DetectionLoss
from yolofuse.model import Detector
from yolofuse.nn import FUSIONS

NANO = ["yolov5n", "yolov8n", "yolov9t", "yolov10n", "yolo11n", "yolo12n", "yolo26n"]
CUTS = ["input", "early", "mid", "late", "decision", 7]


def check_step(**model: Any) -> None:
    """Check loss and gradients of one step; with a fusion block, also that all its weights take part."""
    loss, gradients = loss_and_gradients(build(**model))
    assert 0 < loss < 1e4
    assert not [name for name, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()]
    fused = [gradient for name, gradient in gradients.items() if name.startswith("fusion.")]
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in fused)
    if model.get("cut") == "mid":
        assert bool(fused) == (model.get("fusion") != "add")


@pytest.mark.parametrize(("base", "cut"), [*((base, "mid") for base in NANO), *(("yolov8n", cut) for cut in CUTS)])
def test_step__loss_and_gradients_are_finite(base: str, cut: Any) -> None:
    check_step(base=base, cut=cut)


@pytest.mark.parametrize("fusion", [*FUSIONS, {"name": "attention", "reduction": 8, "kernel_size": 3}])
def test_step__every_fusion_parameter_gets_a_gradient(fusion: Any) -> None:
    check_step(base="yolov5n", cut="mid", fusion=fusion)


@pytest.mark.soak
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("base", NANO)
def test_step__every_family_cut_and_fusion(base: str, cut: Any, fusion: str) -> None:
    check_step(base=base, cut=cut, fusion=fusion)


@pytest.mark.parametrize("cut", ["mid", "decision"])
def test_share__both_modalities_pass_through_one_stream(cut: Any) -> None:
    shared, separate = build(base="yolov8n", cut=cut, share=True), build(base="yolov8n", cut=cut)
    assert "ir" not in shared.parts
    assert "ir" in separate.parts
    loss, gradients = loss_and_gradients(shared)
    assert loss > 0
    assert all(gradient is not None for gradient in gradients.values())
    shared.eval()
    batch = random_batch()
    alone = shared(batch.rgb, batch.ir)
    swapped = shared(batch.ir.expand(-1, 3, -1, -1), batch.ir)
    assert not torch.equal(next(iter(alone.values()))[0], next(iter(swapped.values()))[0])


@pytest.mark.parametrize(
    ("base", "cut"),
    [("yolo11n", "input"), ("yolo11n", "mid"), ("yolov10n", "late"), ("yolo26n", "early"), ("yolo26n", "decision")],
)
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
    """Gradients flow from the output to both images; zeroing one stream's stem stops those of that image alone."""
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


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("cut", ["early", "mid", "late"])
def test_black_image__the_other_stream_stands_in(cut: Any, fusion: str) -> None:
    """Alone or in a batch with whole pairs: the trunk reads the stream that saw something, as if it were both."""
    detector = build(base="yolov8n", cut=cut, fusion=fusion).eval()
    batch = random_batch()
    rgb, ir = batch.rgb[[0, 1, 0, 0]].clone(), batch.ir[[0, 1, 0, 0]].clone()
    rgb[2], ir[3] = 0, 0
    with torch.no_grad():
        found = detector(rgb, ir)["trunk"][0]
        whole = detector(batch.rgb, batch.ir)["trunk"][0]
        for number, stream, image in ((2, detector.parts["ir"], ir), (3, detector.parts["rgb"], rgb)):
            features = stream({-1: image[number : number + 1]})
            fused = {int(tap): block(features[int(tap)], features[int(tap)]) for tap, block in _blocks(detector)}
            torch.testing.assert_close(found[number : number + 1], detector.parts["trunk"](fused)[22][0])
    torch.testing.assert_close(found[:2], whole)


def _blocks(detector: Detector) -> Iterator[tuple[str, Any]]:
    return detector.parts["fusion"].named_children()


def test_black_image__both_black_are_not_swapped() -> None:
    detector = build(base="yolov8n", fusion="concat").eval()
    for _, block in _blocks(detector):
        block.conv.weight.data[:, : block.conv.out_channels] = 0  # RGB is not read
    black = torch.zeros(1, 4, 64, 64)
    found = []
    with torch.no_grad():
        for stream in (None, "rgb", "ir"):
            if stream:
                detector.get_parameter(f"{stream}.layers.0.bn.bias").data += 1
            found.append(detector(black[:, :3], black[:, 3:])["trunk"][0])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[1], found[2])


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
    """In bf16, cells beyond the 128th would coincide."""
    detector = build(base="yolov8n", num_classes=1, streams="rgb").train()
    batch = random_batch(64)
    batch.class_ids.zero_()
    loss = DetectionLoss(detector, LossConfig(), 3)
    outputs = detector(batch.rgb, batch.ir)
    rounded = {"trunk": {**outputs["trunk"], "feats": [f.bfloat16() for f in outputs["trunk"]["feats"]]}}
    assert torch.equal(loss(outputs, batch).total, loss(rounded, batch).total)


def test_identical_streams__equal_the_single_stream_model() -> None:
    """Mid fusion by the mean of two equal streams equals the single-stream model."""
    single, dual = build(base="yolo11n", streams="rgb").eval(), build(base="yolo11n", cut="mid", fusion="add").eval()
    expected = single.state_dict()
    for name, tensor in dual.state_dict().items():
        part, _, rest = name.partition(".")
        source = expected[f"trunk.{rest}"]
        tensor.copy_(source.sum(1, keepdim=True) if part == "ir" and tensor.shape != source.shape else source)
    grey = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            dual(grey.expand(-1, 3, -1, -1), grey)["trunk"][0], single(grey.expand(-1, 3, -1, -1), grey)["trunk"][0]
        )
