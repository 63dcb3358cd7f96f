"""Compute the loss of one branch of a head (task-aligned assignment) without waiting for the device.

The values are those of ultralytics' loss, which waits for the device several times per branch and step: for the number
of boxes in the fullest image, of candidate anchors and of positive ones, and for constants that it creates each time.
Here the host computes upper bounds of those sizes beforehand, and the anchors of an image size are created once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from yolofuse.model.heads import num_trained_classes
from yolofuse.upstream import TaskAlignedAssigner, bbox2dist, bbox_iou, make_anchors, v8DetectionLoss


@dataclass(frozen=True)
class TargetBounds:
    """Upper bounds of the sizes that a batch's loss needs.

    Attributes:
        boxes: Boxes of the batch; exact.
        per_image: Boxes of its fullest image; exact.
        candidates: Pairs of a box and an anchor whose centre is in the box, over all levels.
    """

    boxes: int
    per_image: int
    candidates: int


def target_bounds(
    boxes_xyxy: Tensor, batch_index: Tensor, size_hw: tuple[int, int], strides: Sequence[float], least_side: float
) -> TargetBounds:
    """Compute the bounds of a batch on the host.

    Args:
        boxes_xyxy: (M, 4) in pixels, on the CPU.
        batch_index: (M,), on the CPU.
        size_hw: Height and width of the batch's images in pixels.
        strides: Of the head's levels in pixels.
        least_side: Smaller box sides are enlarged to this many pixels before anchors are searched.
    """
    if not len(boxes_xyxy):
        return TargetBounds(0, 0, 0)
    sides = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).double().clamp_min(least_side)  # (M, 2): w, h
    limits = torch.tensor([[size_hw[1] // stride, size_hw[0] // stride] for stride in strides], dtype=torch.float64)
    steps = torch.tensor(strides, dtype=torch.float64)[:, None, None]
    # A side of n strides spans n centres, or one more; the slack is for sides that float32 rounded down.
    spans = torch.minimum((sides / steps + 1e-3).floor() + 1, limits[:, None])  # (levels, M, 2)
    return TargetBounds(len(boxes_xyxy), int(batch_index.bincount().max()), int(spans.prod(2).sum()))


@dataclass(frozen=True)
class Targets:
    """A batch's boxes, image by image, padded with zeros.

    Attributes:
        labels: (B, n, 1) as floats.
        boxes_xyxy: (B, n, 4) in pixels.
        is_box: (B, n, 1), 1 where there is one.
        bounds: Of the batch.
    """

    labels: Tensor
    boxes_xyxy: Tensor
    is_box: Tensor
    bounds: TargetBounds


def pad_targets(
    boxes_xyxy: Tensor, class_ids: Tensor, batch_index: Tensor, num_images: int, bounds: TargetBounds
) -> Targets:
    """Arrange a batch's boxes in one padded row per image.

    Args:
        boxes_xyxy: (M, 4) in pixels.
        class_ids: (M,).
        batch_index: (M,), ascending.
        num_images: Images of the batch.
        bounds: Of the batch.
    """
    padded = boxes_xyxy.new_zeros(num_images, bounds.per_image, 5)
    if bounds.boxes:
        counts = batch_index.new_zeros(num_images + 1).scatter_add_(0, batch_index + 1, torch.ones_like(batch_index))
        within = torch.arange(bounds.boxes, device=batch_index.device) - counts.cumsum(0)[batch_index]
        padded[batch_index, within] = torch.cat([class_ids[:, None].to(padded.dtype), boxes_xyxy], 1)
    labels, boxes = padded[..., :1], padded[..., 1:]
    return Targets(labels, boxes, (boxes.sum(2, keepdim=True) > 0).to(boxes.dtype), bounds)


class StaticShapeAssigner(TaskAlignedAssigner):
    """ultralytics' assigner with tensors of a fixed size. Set :attr:`candidates`, an upper bound, before each call."""

    candidates = 0

    def select_candidates_in_gts(
        self, xy_centers: Tensor, gt_bboxes: Tensor, mask_gt: Tensor, eps: float = 1e-9
    ) -> Tensor:
        """Return whether an anchor's centre is in a box, small boxes enlarged: (B, n, A)."""
        centers, sides = (gt_bboxes[..., :2] + gt_bboxes[..., 2:]) / 2, gt_bboxes[..., 2:] - gt_bboxes[..., :2]
        half = torch.where(mask_gt.bool(), sides.clamp_min(self.stride_val), sides) / 2
        (left, top), (right, bottom) = (side.unbind(2) for side in (centers - half, centers + half))  # (B, n)
        x, y = xy_centers.unbind(1)
        inside = x - left[..., None] > eps
        inside &= y - top[..., None] > eps
        inside &= right[..., None] - x > eps
        inside &= bottom[..., None] - y > eps
        return inside

    def get_box_metrics(
        self,
        pd_scores: Tensor,
        pd_bboxes: Tensor,
        gt_labels: Tensor,
        gt_bboxes: Tensor,
        mask_gt: Tensor,
        **extra: Any,
    ) -> tuple[Tensor, Tensor]:
        """Return the alignment metric and the IoU of candidates: (B, n, A) each, zero elsewhere."""
        shape, num = mask_gt.shape, mask_gt.numel()
        index = torch.nonzero_static(mask_gt.bool().flatten(), size=self.candidates, fill_value=num)[:, 0]  # (K,)
        at = index.clamp_max(num - 1)  # padding is computed like the last pair, and written past the end
        pair, anchor = at // shape[2], at % shape[2]
        image, box = pair // shape[1], pair % shape[1]
        scores = pd_scores[image, anchor, gt_labels[image, box, 0].long()]
        overlaps = self.iou_calculation(gt_bboxes[image, box], pd_bboxes[image, anchor])  # type: ignore[no-untyped-call]
        alignment = scores.pow(self.alpha) * overlaps.pow(self.beta)
        dense = [values.new_zeros(num + 1).scatter_(0, index, values)[:num] for values in (alignment, overlaps)]
        return dense[0].view(shape), dense[1].view(shape)


class BranchLoss(v8DetectionLoss):
    """ultralytics' loss of one branch, before the division by the sum of the assigned scores."""

    def __init__(self, model: Any, tal_topk: int = 10, tal_topk2: int | None = None) -> None:
        """Take the arguments of ultralytics' constructor."""
        super().__init__(model, tal_topk, tal_topk2)
        known, gains = self.assigner, cast(Any, self.hyp)
        self.assigner = self._assigner = StaticShapeAssigner(
            topk=known.topk,
            topk2=known.topk2,
            num_classes=num_trained_classes(model.model[-1]),
            alpha=known.alpha,
            beta=known.beta,
            stride=known.stride,
            eps=known.eps,
        )
        self._gains = torch.tensor([gains.box, gains.cls, gains.dfl], device=self.device)
        self._unit_box = torch.tensor([0.0, 0.0, 1.0, 1.0], device=self.device)
        self._grids: dict[tuple[tuple[int, ...], ...], tuple[Tensor, Tensor, Tensor]] = {}

    def __call__(self, preds: Mapping[str, Any], targets: Targets) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Compute the terms box, cls and dfl (or l1), and the sum of the assigned scores, over all images.

        ultralytics' loss is their quotient, with a sum of at least 1.

        Args:
            preds: The branch's raw output in training, in float32.
            targets: The batch's boxes.
        """
        distances = preds["boxes"].permute(0, 2, 1).contiguous()  # (B, A, 4 * reg_max)
        trained = preds["scores"][:, : self._assigner.num_classes]
        logits = trained.permute(0, 2, 1).contiguous()  # (B, A, classes)
        anchors, strides, size_whwh = self._grid(preds["feats"])
        boxes = self.bbox_decode(anchors, distances)
        self._assigner.candidates = targets.bounds.candidates
        _, target_boxes, target_scores, is_positive, _ = self._assigner(
            logits.detach().sigmoid(),
            boxes.detach() * strides,
            anchors * strides,
            targets.labels,
            targets.boxes_xyxy,
            targets.is_box,
        )
        cls = self.bce(logits, target_scores).sum()
        if not targets.bounds.boxes:
            zero = distances.sum() * 0  # keeps every output in the graph
            return torch.stack([zero, cls, zero]) * self._gains, target_scores.sum()

        # Positives in one row, (P, ...), padded with others of weight zero.
        bound = min(targets.bounds.boxes * self._assigner.topk2, is_positive.numel())
        index = torch.nonzero_static(is_positive.flatten(), size=bound, fill_value=-1)[:, 0]
        is_real, at = (index >= 0)[:, None], index.clamp_min(0)
        anchor, size_stride = anchors[at % len(anchors)], strides[at % len(anchors)]
        weight = torch.where(is_real, target_scores.flatten(0, 1)[at].sum(1, keepdim=True), 0.0)
        target = torch.where(is_real, target_boxes.flatten(0, 1)[at] / size_stride, self._unit_box)
        predicted = torch.where(
            is_real, boxes.flatten(0, 1)[at], self._unit_box
        )  # a gradient of zero, and never 0 * inf
        box = ((1 - bbox_iou(predicted, target, xywh=False, CIoU=True)) * weight).sum()
        sides = distances.flatten(0, 1)[at]
        target_sides = bbox2dist(anchor, target, self.reg_max - 1 if self.use_dfl else None)
        if self.bbox_loss.dfl_loss is not None:
            dfl = self.bbox_loss.dfl_loss(sides.view(-1, self.reg_max), target_sides)
        else:  # relative to the image's size
            share = size_stride / size_whwh
            dfl = functional.l1_loss(sides * share, target_sides * share, reduction="none").mean(1, keepdim=True)
        return torch.stack([box, cls, (dfl * weight).sum()]) * self._gains, target_scores.sum()

    def _grid(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return anchors (A, 2) in strides, strides (A, 1), and w, h, w, h of the image in pixels; cached per size."""
        key = tuple(tuple(feature.shape[2:]) for feature in features)
        if key not in self._grids:
            anchors, strides = make_anchors(features, self._assigner.stride, 0.5)  # type: ignore[no-untyped-call]
            height, width = (side * self._assigner.stride[0] for side in key[0])
            size_whwh = torch.tensor([width, height, width, height], device=anchors.device)
            self._grids[key] = anchors, strides, size_whwh
        return self._grids[key]
