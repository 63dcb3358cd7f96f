"""The loss: ultralytics' own in value and gradient, one over ranks, and without a question to the device."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from yolofuse.batch import PairedBatch
from yolofuse.config import LossConfig, ModelConfig, TrainConfig
from yolofuse.engine import loss as loss_module
from yolofuse.engine.loss import DetectionLoss
from yolofuse.engine.optim import build_optimizer, skip_if
from yolofuse.engine.tal_loss import StaticShapeAssigner, TargetBounds, pad_targets, target_bounds
from yolofuse.model import Detector, build_detector
from yolofuse.nn.ema import ModelEma
from yolofuse.upstream import detection_loss, v8DetectionLoss

BASES = ["yolov8n", "yolo26n", "yolov10n"]


def build(base: str, **model: Any) -> Detector:
    return build_detector(ModelConfig(base=base, **model), num_classes=3).train()


def random_batch(counts: list[int], side: int = 128, seed: int = 0) -> PairedBatch:
    """Noise with ``counts`` boxes in its images, from less than a pixel to the whole image."""
    generator = torch.Generator().manual_seed(seed)
    num, images = sum(counts), len(counts)
    middles = torch.rand(num, 2, generator=generator) * side
    halves = torch.rand(num, 2, generator=generator) ** 3 * side / 2
    return PairedBatch(
        pixels=torch.rand(images, 4, side, side, generator=generator),
        boxes_xyxy=torch.cat([middles - halves, middles + halves], 1).clamp(0, side),
        class_ids=torch.randint(3, (num,), generator=generator),
        batch_index=torch.repeat_interleave(torch.arange(images), torch.tensor(counts)),
        image_ids=torch.arange(images),
        sizes_hw=torch.tensor([[side, side]] * images),
        letterboxes=torch.tensor([[1.0, 0, 0]] * images),
    )


def part(batch: PairedBatch, first: int, last: int) -> PairedBatch:
    """Some images of a batch as a batch of their own."""
    own = (batch.batch_index >= first) & (batch.batch_index < last)
    return PairedBatch(
        pixels=batch.pixels[first:last],
        boxes_xyxy=batch.boxes_xyxy[own],
        class_ids=batch.class_ids[own],
        batch_index=batch.batch_index[own] - first,
        image_ids=batch.image_ids[first:last],
        sizes_hw=batch.sizes_hw[first:last],
        letterboxes=batch.letterboxes[first:last],
    )


def stock_loss(detector: Detector, outputs: Any, batch: PairedBatch) -> tuple[Tensor, dict[str, Tensor]]:
    """What ultralytics' classes say of the only head."""
    side = batch.pixels.shape[2]
    low, high = batch.boxes_xyxy[:, :2], batch.boxes_xyxy[:, 2:]
    boxes_xywhn = torch.cat([(low + high) / 2, high - low], 1) / side
    stock: Any = detection_loss(detector.heads["trunk"], LossConfig(box=7.5).model_dump(), 3, v8DetectionLoss)
    total, terms = stock(
        outputs["trunk"], {"batch_idx": batch.batch_index, "cls": batch.class_ids, "bboxes": boxes_xywhn}
    )
    return total.sum(), terms


def raw_outputs(output: Any) -> list[Tensor]:
    """The tensors that a loss reads, in a fixed order."""
    if "boxes" in output:
        return [output["boxes"], output["scores"]]
    return [tensor for branch in ("one2many", "one2one") for tensor in raw_outputs(output[branch])]


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(
    "counts", [[3, 0, 12, 1], [0, 40], [1, 0], [0, 0]], ids=["mixed", "crowded", "one_box", "background"]
)
def test_loss__is_that_of_ultralytics(base: str, counts: list[int]) -> None:
    torch.manual_seed(3)
    detector, batch = build(base, streams="rgb"), random_batch(counts)
    outputs = detector(batch.rgb, batch.ir)
    raw = raw_outputs(outputs["trunk"])
    wanted, wanted_terms = stock_loss(detector, outputs, batch)
    wanted_grads = torch.autograd.grad(wanted, raw, retain_graph=True)
    total, terms, _ = DetectionLoss(detector, LossConfig(), 3)(outputs, batch)
    grads = torch.autograd.grad(total, raw)
    torch.testing.assert_close(total, wanted, rtol=1e-6, atol=1e-6)
    assert [f"{name}_loss" for name in terms] == list(wanted_terms)
    torch.testing.assert_close(list(terms.values()), list(wanted_terms.values()), rtol=1e-6, atol=1e-6)
    for found, expected in zip(grads, wanted_grads, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
        assert bool(expected.abs().sum() > 0) == (
            found.shape[1] == 3 or sum(counts) > 1
        )  # a lone box may overlap nothing


def test_loss__trained_outputs_are_assigned_as_by_ultralytics() -> None:
    """Predictions near the boxes bring overlaps, several boxes per anchor, and normalisers above 1 into play."""
    for seed in range(4):
        detector, batch = build("yolo26n", streams="rgb"), random_batch([5, 25], seed=seed)
        outputs = detector(batch.rgb, batch.ir)
        for branch in outputs["trunk"].values():
            branch["boxes"] = (torch.rand(branch["boxes"].shape) * 6).requires_grad_()
            branch["scores"] = torch.randn(branch["scores"].shape).requires_grad_()
        wanted, _ = stock_loss(detector, outputs, batch)
        total = DetectionLoss(detector, LossConfig(), 3)(outputs, batch).total
        raw = raw_outputs(outputs["trunk"])
        torch.testing.assert_close(total, wanted, rtol=2e-6, atol=1e-6)
        both = torch.autograd.grad(total, raw), torch.autograd.grad(wanted, raw)
        torch.testing.assert_close(*both, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("base", ["yolov8n", "yolo26n"])
def test_loss__parts_of_ranks_add_up_to_the_whole(base: str) -> None:
    torch.manual_seed(0)
    detector, batch = build(base, cut="decision"), random_batch([1, 0, 9, 14])
    outputs = detector(batch.rgb, batch.ir)
    whole, whole_terms, _ = DetectionLoss(detector, LossConfig(), 3)(outputs, batch)
    rows = [part(batch, 0, 2), part(batch, 2, 4)]
    halves = [sliced(outputs, 0, 2), sliced(outputs, 2, 4)]
    messages: list[Tensor] = []

    def keep(message: Tensor) -> Tensor:
        messages.append(message)
        return message

    criterion = DetectionLoss(detector, LossConfig(), 3)
    sums = [criterion.branch_sums(half, own) for half, own in zip(halves, rows, strict=True)]
    for of_rank in sums:
        criterion.reduce(of_rank, keep)
    total = messages[0] + messages[1]
    found = [criterion.reduce(of_rank, lambda _: total) for of_rank in sums]
    torch.testing.assert_close(found[0][0] + found[1][0], whole, rtol=1e-6, atol=0)
    for name, value in whole_terms.items():
        torch.testing.assert_close((found[0][1][name] + found[1][1][name]) / 2, value, rtol=1e-5, atol=1e-7)
    apart = [DetectionLoss(detector, LossConfig(), 3)(half, own)[0] for half, own in zip(halves, rows, strict=True)]
    assert abs(float((apart[0] + apart[1] - whole).detach())) > 1e-2 * float(
        whole.detach()
    )  # what each rank alone would take it to be


def sliced(value: Any, first: int, last: int) -> Any:
    """Some images' share of a head's raw output."""
    if isinstance(value, Tensor):
        return value[first:last]
    if isinstance(value, dict):
        return {key: sliced(item, first, last) for key, item in value.items()}
    return [sliced(item, first, last) for item in value]


def test_loss__not_finite_on_one_rank_is_known_to_all() -> None:
    detector, batch = build("yolov8n", streams="rgb"), random_batch([2, 2])
    outputs = detector(batch.rgb, batch.ir)
    criterion = DetectionLoss(detector, LossConfig(), 3)
    assert not criterion(outputs, batch).non_finite
    other = torch.tensor(
        [4.0, 4.0, 4.0, 1.0, 1.0]
    )  # its assigned scores per term, that its loss is not finite, and that it is one rank
    loss = criterion.reduce(criterion.branch_sums(outputs, batch), lambda message: message + other)
    assert loss.non_finite
    assert loss.total.isfinite()
    outputs["trunk"]["scores"] = outputs["trunk"]["scores"] * float("nan")
    assert criterion(outputs, batch).non_finite


def test_room__holds_every_candidate() -> None:
    room_taken, candidates = 0, 0
    for seed in range(60):
        batch = random_batch([seed % 7, 20, 3], side=64 + 32 * (seed % 5), seed=seed)
        side = batch.pixels.shape[2]
        strides = (8.0, 16.0, 32.0) if seed % 2 else (4.0, 8.0, 16.0, 32.0)
        assigner = StaticShapeAssigner(topk=10, num_classes=3, stride=list(strides))
        if seed % 3 == 0:  # edges on anchor centres, the worst case for rounding
            batch.boxes_xyxy = (batch.boxes_xyxy / 4).round() * 4
        room = target_bounds(batch.boxes_xyxy, batch.batch_index, (side, side), strides, assigner.stride_val)
        targets = pad_targets(batch.boxes_xyxy, batch.class_ids, batch.batch_index, 3, room)
        assert room.per_image == targets.labels.shape[1] == int(targets.is_box.sum(1).max())
        centers = torch.cat([_centers(side, stride) for stride in strides])
        inside = assigner.select_candidates_in_gts(centers, targets.boxes_xyxy, targets.is_box) * targets.is_box
        assert 0 < inside.sum() <= room.candidates
        room_taken, candidates = room_taken + room.candidates, candidates + int(inside.sum())
    assert room_taken < 1.5 * candidates  # the bound must not be bought with endless room


def _centers(side: int, stride: float) -> Tensor:
    along = (torch.arange(int(side / stride)) + 0.5) * stride
    y, x = torch.meshgrid(along, along, indexing="ij")
    return torch.stack([x, y], -1).view(-1, 2)


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Names the operations for which the host waits on a GPU: questions for a value or a size, and copies."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        asks = func.overloadpacket in _ASKING
        by_mask = func.overloadpacket in _INDEXING and any(
            t.dtype == torch.bool for t in tree_leaves(args[1]) if t is not None
        )
        result = func(*args, **(kwargs or {}))
        # Zero-dimensional CPU tensors are Python numbers on their way into a kernel; nothing is copied for them.
        copies = func.overloadpacket in _COPYING
        involved = [t for t in given if t.ndim or copies] + [t for t in tree_leaves(result) if isinstance(t, Tensor)]
        if asks or by_mask or len({t.device.type for t in involved}) > 1:
            self.seen.append(str(func.overloadpacket))
        return result


_ATEN = torch.ops.aten
_COPYING = {_ATEN._to_copy, _ATEN.copy_}
_INDEXING = {_ATEN.index, _ATEN.index_put, _ATEN.index_put_, _ATEN._index_put_impl_}
_ASKING = {
    _ATEN._local_scalar_dense,
    _ATEN.is_nonzero,
    _ATEN.equal,
    _ATEN.nonzero,
    _ATEN.masked_select,
    _ATEN._unique2,
    _ATEN.unique_dim,
    _ATEN.unique_consecutive,
    _ATEN.bincount,
    _ATEN.repeat_interleave,
}


def on_pretended_cuda(detector: Detector) -> Detector:
    """A detector whose tensors are on a GPU that need not exist; called with the pretence switched on."""
    for module in detector.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                made = torch.empty(parameter.shape, device="cuda")
                module._parameters[name] = nn.Parameter(made, requires_grad=parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device="cuda")
    return detector


def update(detector: Detector, optimizer: torch.optim.Optimizer, average: ModelEma[Detector]) -> None:
    """What follows the backward pass."""
    norm = torch.nn.utils.clip_grad_norm_(detector.parameters(), 10.0)
    skip_if(optimizer, ~norm.isfinite())
    optimizer.step()
    average.update(detector)


@pytest.mark.parametrize(
    ("model", "name"),
    [  # torch's fused SGD can't be pretended; the next test has it
        pytest.param({"base": "yolov8n"}, "adamw", id="dfl_adamw", marks=pytest.mark.soak),
        pytest.param({"base": "yolo26n", "streams": "rgb"}, "musgd", id="end2end_musgd"),
        pytest.param({"base": "yolov5n", "streams": "rgb", "head": "anchors"}, "adamw", id="anchors_adamw"),
    ],
)
def test_step__never_waits_for_a_pretended_gpu(
    model: dict[str, str], name: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On CUDA tensors without values, which raise when they are asked for one. Nor can autograd be pretended."""
    monkeypatch.setattr(
        loss_module, "target_bounds", lambda *_: TargetBounds(7, 5, 300)
    )  # made on the host, of its own tensors
    detector, batch = build(**model), random_batch([2, 5], side=64)
    average = ModelEma(detector, 0.9999, 2000)
    copies: list[list[str]] = []
    with FakeTensorMode(allow_non_fake_inputs=True):
        on_pretended_cuda(detector)
        on_pretended_cuda(average.ema)
        criterion = DetectionLoss(detector, LossConfig(), 3)
        optimizer = build_optimizer(detector, TrainConfig(run="r", optimizer=name))
        on_gpu = PairedBatch(
            pixels=torch.rand(2, 4, 64, 64, device="cuda"),
            boxes_xyxy=torch.rand(7, 4, device="cuda"),
            class_ids=torch.zeros(7, dtype=torch.int64, device="cuda"),
            batch_index=torch.zeros(7, dtype=torch.int64, device="cuda"),
            image_ids=batch.image_ids,
            sizes_hw=batch.sizes_hw,
            letterboxes=batch.letterboxes,
            on_host=(batch.boxes_xyxy, batch.batch_index),
        )
        for parameter in detector.parameters():
            parameter.grad = torch.empty_like(parameter)
        for _ in range(2):
            with _Watch() as watch:
                sums = criterion.branch_sums(detector(on_gpu.rgb, on_gpu.ir), on_gpu)
                total = criterion.reduce(sums, lambda message: message * 2).total
                assert total.device.type == "cuda"
                update(detector, optimizer, average)
            copies.append(watch.seen)
    assert copies[0]  # anchors are made at the first step of a size
    assert copies[1] == []


@pytest.mark.parametrize(("base", "name"), [("yolov8n", "sgd"), ("yolov8n", "adamw"), ("yolo26n", "musgd")])
def test_step__asks_for_no_value_and_no_size(base: str, name: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole step with its backward pass, on the CPU."""
    batch, room = random_batch([2, 5], side=64), TargetBounds(7, 5, 300)
    monkeypatch.setattr(loss_module, "target_bounds", lambda *_: room)  # asked on the host, whatever trains
    detector = build(base)
    criterion = DetectionLoss(detector, LossConfig(), 3)
    average = ModelEma(detector, 0.9999, 2000)
    optimizer = build_optimizer(detector, TrainConfig(run="r", optimizer=name))
    with _Watch() as watch:
        sums = criterion.branch_sums(detector(batch.rgb, batch.ir), batch)
        criterion.reduce(sums, lambda message: message * 2).total.backward()  # type: ignore[no-untyped-call]
        update(detector, optimizer, average)
    assert watch.seen == []


def test_watch__sees_how_ultralytics_asks() -> None:
    """The control: its own loss does what the tests above look for."""
    detector, batch = build("yolov8n", streams="rgb"), random_batch([2, 5], side=64)
    outputs = detector(batch.rgb, batch.ir)
    with _Watch() as watch:
        stock_loss(detector, outputs, batch)
    assert {"aten._unique2", "aten.nonzero", "aten._local_scalar_dense"} <= set(watch.seen)
