"""The loss of an anchor head: a worked example, an independent loop, finite differences, and ranks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from tests.support.detectors import build, loss_and_gradients, random_batch
from yolofuse.config import LossConfig
from yolofuse.engine.anchor_loss import AnchorLoss
from yolofuse.engine.loss import DetectionLoss
from yolofuse.nn.anchor_head import AnchorDetect, Anchors

_STRIDES = (8.0, 16.0, 32.0)
_BALANCE = (4.0, 1.0, 0.4)


def head_with(anchors: Anchors, num_classes: int) -> AnchorDetect:
    return AnchorDetect(num_classes, anchors, [4, 4, 4], torch.tensor(_STRIDES))


def test_loss__worked_example() -> None:
    """One box, 8 x 8 px at (10, 14), in an image of 32 px; one anchor per level, of which only the first fits."""
    loss = AnchorLoss(head_with((((8, 8),), ((64, 64),), ((128, 128),)), 2), LossConfig(box=1, obj=1, cls=1))
    levels = [torch.zeros(1, 1, side, side, 7) for side in (4, 2, 1)]
    for level in levels:
        level[..., 4] = 1.0
    box = torch.tensor([[6.0, 10.0, 14.0, 18.0]])
    sums, counts = loss(levels, box, torch.tensor([1]), torch.tensor([0]))

    # In strides the centre is (1.25, 1.75): cell (1, 1) and its neighbours left and below. Predicted in each is a
    # square of side 1 at the cell's middle, off by (1/4, 1/4), (3/4, 1/4) and (1/4, 3/4).
    near = (9 / 16) / (2 - 9 / 16) - (2 / 16) / (2 * (5 / 4) ** 2)
    far = (3 / 16) / (2 - 3 / 16) - (10 / 16) / ((7 / 4) ** 2 + (5 / 4) ** 2)
    assert far < 0  # so the target of its objectness is 0
    of_background = math.log(1 + math.exp(-1)) + 1
    area = (32 / 640) ** 2
    expected = [
        [3 - near - 2 * far, (16 * of_background - near) * 4 * area, 3 * 2 * math.log(2) * 2 / 80],
        [0, 4 * of_background * area, 0],
        [0, of_background * 0.4 * area, 0],
    ]
    torch.testing.assert_close(sums, torch.tensor(expected), rtol=1e-5, atol=1e-6)
    assert counts.tolist() == [[3, 16, 6], [0, 4, 0], [0, 1, 0]]


@dataclass
class _Frozen:
    """What the gradient does not pass through: objectness targets, and the weight of CIoU's aspect term."""

    targets: list[Tensor]
    weights: list[float]


def _bce(logits: Tensor, targets: Tensor) -> Tensor:
    return binary_cross_entropy_with_logits(logits, targets, reduction="sum")


def naive_loss(
    head: AnchorDetect, levels: list[Tensor], boxes: Tensor, labels: Tensor, images: Tensor, frozen: _Frozen | None
) -> tuple[Tensor, _Frozen]:
    """Return the sum of all terms by loops over boxes, anchors and cells, and what is frozen in its gradient."""
    total = levels[0].new_zeros(())
    targets, weights = [], []
    for number, logits in enumerate(levels):
        stride, (_, num_anchors, height, width, _) = _STRIDES[number], logits.shape
        target = torch.zeros(logits.shape[:-1], dtype=logits.dtype)
        for box, label, image in zip(boxes.tolist(), labels.tolist(), images.tolist(), strict=True):
            x, y = (box[0] + box[2]) / 2 / stride, (box[1] + box[3]) / 2 / stride
            w, h = (box[2] - box[0]) / stride, (box[3] - box[1]) / stride
            column, row = int(x), int(y)
            cells = [(column, row)]
            if x % 1 != 0.5:
                cells.append((column + (1 if x % 1 > 0.5 else -1), row))
            if y % 1 != 0.5:
                cells.append((column, row + (1 if y % 1 > 0.5 else -1)))
            for anchor in range(num_anchors):
                anchor_w, anchor_h = head.anchors[number, anchor].tolist()
                if max(w / anchor_w, anchor_w / w, h / anchor_h, anchor_h / h) >= 4:
                    continue
                for i, j in cells:
                    if not (0 <= i < width and 0 <= j < height):
                        continue
                    out = logits[image, anchor, j, i]
                    s = out[:4].sigmoid()
                    px, py = 2 * s[0] - 0.5 + i, 2 * s[1] - 0.5 + j
                    pw, ph = (2 * s[2]) ** 2 * anchor_w, (2 * s[3]) ** 2 * anchor_h
                    spans = [(px, pw, x, w), (py, ph, y, h)]
                    inner_w, inner_h = (
                        (torch.clamp(p + side / 2, max=q + end / 2) - torch.clamp(p - side / 2, min=q - end / 2)).clamp(
                            0
                        )
                        for p, side, q, end in spans
                    )
                    outer_w, outer_h = (
                        torch.clamp(p + side / 2, min=q + end / 2) - torch.clamp(p - side / 2, max=q - end / 2)
                        for p, side, q, end in spans
                    )
                    inner = inner_w * inner_h
                    iou = inner / (pw * ph + w * h - inner)
                    apart = ((px - x) ** 2 + (py - y) ** 2) / (outer_w**2 + outer_h**2)
                    aspect = 4 / math.pi**2 * (math.atan(w / h) - torch.atan(pw / ph)) ** 2
                    weights.append((aspect / (aspect - iou + 1)).item())
                    weight = frozen.weights[len(weights) - 1] if frozen else weights[-1]
                    ciou = iou - apart - weight * aspect
                    target[image, anchor, j, i] = max(ciou.item(), float(target[image, anchor, j, i]))
                    one_hot = torch.zeros(logits.shape[-1] - 5, dtype=logits.dtype)
                    one_hot[label] = 1
                    total = total + 1 - ciou
                    total = total + _bce(out[5:], one_hot) * head.nc / 80
        targets.append(target)
        used = frozen.targets[number] if frozen else target
        size = (height * stride) * (width * stride) / 640**2
        total = total + _bce(logits[..., 4], used) * _BALANCE[number] * size
    return total, _Frozen(targets, weights)


def _random_case(seed: int) -> tuple[AnchorDetect, list[Tensor], tuple[Tensor, Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    head = head_with((((10, 13), (16, 30)), ((30, 61), (62, 45)), ((116, 90), (60, 50))), 3).double()
    levels = [
        torch.randn(2, 2, 64 // int(s), 64 // int(s), 8, generator=generator, dtype=torch.float64) for s in _STRIDES
    ]
    middles, halves = torch.rand(5, 2, generator=generator) * 64, torch.rand(5, 2, generator=generator) * 24 + 2
    boxes = torch.cat([middles - halves, middles + halves], 1).clamp(0, 64).double()
    return head, levels, (boxes, torch.randint(3, (5,), generator=generator), torch.tensor([0, 0, 0, 1, 1]))


@pytest.mark.parametrize("seed", range(3))
def test_loss__equals_loops_and_finite_differences(seed: int) -> None:
    head, levels, boxes = _random_case(seed)
    levels = [level.requires_grad_() for level in levels]
    sums, counts = AnchorLoss(head, LossConfig(box=1, obj=1, cls=1))(levels, *boxes)
    wanted, frozen = naive_loss(head, levels, *boxes, None)
    torch.testing.assert_close(sums.sum(), wanted, rtol=1e-6, atol=1e-6)
    assert counts[:, 0].sum() == len(frozen.weights) > 10
    gradients = torch.autograd.grad(sums.sum(), levels)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for level, gradient in zip(levels, gradients, strict=True):
            direction = torch.randn(level.shape, generator=generator, dtype=level.dtype)
            ends = []
            for sign in (1e-6, -1e-6):
                level.add_(direction, alpha=sign)
                ends.append(naive_loss(head, levels, *boxes, frozen)[0])
                level.add_(direction, alpha=-sign)
            torch.testing.assert_close((gradient * direction).sum(), (ends[0] - ends[1]) / 2e-6, rtol=1e-5, atol=1e-5)


def test_loss__without_boxes_teaches_objectness_alone() -> None:
    head, levels, _ = _random_case(0)
    empty = (torch.zeros(0, 4, dtype=torch.float64), torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long))
    levels = [level.requires_grad_() for level in levels]
    sums, counts = AnchorLoss(head, LossConfig(box=1, obj=1, cls=1))(levels, *empty)
    assert sums[:, [0, 2]].abs().sum() == 0
    assert counts[:, [0, 2]].sum() == 0
    for gradient in torch.autograd.grad(sums.sum(), levels):
        assert gradient[..., 4].abs().min() > 0
        assert gradient[..., 5:].abs().sum() == 0


def test_loss__degenerate_boxes_stay_finite() -> None:
    head, levels, _ = _random_case(0)
    boxes = torch.tensor([[5.0, 5, 5, 5], [0, 0, 64, 64], [63.9, 63.9, 64, 64]], dtype=torch.float64)
    levels = [level.requires_grad_() for level in levels]
    loss = AnchorLoss(head, LossConfig(box=1, obj=1, cls=1))
    sums, _ = loss(levels, boxes, torch.tensor([0, 1, 2]), torch.tensor([0, 0, 1]))
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(sums.sum(), levels))


def test_loss__parts_of_ranks_add_up_to_the_whole() -> None:
    detector, batch = build(base="yolov5n", streams="rgb", head="anchors").train(), random_batch()
    criterion = DetectionLoss(detector, LossConfig(), epochs=3)
    detector.eval()
    for layer in detector.heads.values():
        layer.training = True
    with torch.no_grad():
        whole = criterion(detector(batch.rgb, batch.ir), batch)
        parts = [criterion.branch_sums(detector(p.rgb, p.ir), p) for p in batch.split(2)]
        counts = torch.stack([part.counts for part in parts]).sum(0)
        results = [
            criterion.reduce(p, lambda m: torch.cat([counts.flatten(), m.new_tensor([0.0, 2.0])])) for p in parts
        ]
    torch.testing.assert_close(sum(r.total for r in results), whole.total, rtol=1e-5, atol=1e-5)
    for name, value in whole.terms.items():
        torch.testing.assert_close(sum(r.terms[name] for r in results) / 2, value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cut", ["early", "mid", "late", "decision"])
def test_step__every_parameter_gets_a_gradient(cut: str) -> None:
    loss, gradients = loss_and_gradients(build(base="yolov5n", cut=cut, head="anchors"))
    assert math.isfinite(loss)
    assert [name for name, g in gradients.items() if g is None or not g.isfinite().all() or not g.abs().sum()] == []
