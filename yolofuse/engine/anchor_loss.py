"""Compute the loss of an anchor head, level by level, with tensors whose sizes the host knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from yolofuse.config import LossConfig
from yolofuse.model.heads import num_trained_classes
from yolofuse.nn.anchor_head import AnchorDetect
from yolofuse.upstream import bbox_iou

MAX_RATIO = 4.0
"""A box belongs to the anchors whose sides are at most this many times longer or shorter than its own."""
_BALANCE = {3: (4.0, 1.0, 0.4), 4: (4.0, 1.0, 0.25, 0.06)}
"""Weight of each level's objectness, from the smallest stride up, by the number of levels."""
_PAIRED_CLASSES = 80
"""The class gain is for this many classes ..."""
_PAIRED_IMGSZ = 640
"""... and the objectness gain for images of this side in pixels."""


@dataclass(frozen=True)
class _Matches:
    """Every (box, anchor, cell) of a level that may be a positive, N = boxes * anchors * 3; most are not.

    Attributes:
        is_match: (N,) whether the anchor's shape fits the box and the cell exists.
        image, anchor, row, column: (N,) indices into the level's outputs.
        box: (N, 4) centre, relative to the cell, and sides of the box, in strides.
        label: (N,) its class.
    """

    is_match: Tensor
    image: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor
    box: Tensor
    label: Tensor


class AnchorLoss:
    """Loss of an anchor head: CIoU of the matched boxes, BCE of their classes, BCE of every objectness.

    The target of an objectness is the IoU of the predicted box with its label, and 0 without one. A label is matched in
    its own cell and the two nearest neighbours, by every anchor of a similar shape.
    """

    loss_names = ("box", "obj", "cls")

    def __init__(self, head: AnchorDetect, gains: LossConfig) -> None:
        """Create the loss.

        Args:
            head: On its final device.
            gains: Weights of the terms, for three levels, 80 classes and 640 px.

        Raises:
            ValueError: If the head has neither three nor four levels.
        """
        self._anchors = head.anchors
        self._strides = head.strides_px
        levels = self.num_levels = len(self._strides)
        if levels not in _BALANCE:
            raise ValueError(f"an anchor head with {levels} levels; only 3 and 4 have known weights")
        share = 3 / levels
        self._box, self._obj = gains.box_of("anchors") * share, gains.obj * share
        self._num_classes = num_trained_classes(head)
        self._cls = gains.cls * share * self._num_classes / _PAIRED_CLASSES
        # Of the neighbours only those on the box's side of the cell: one along x, one along y.
        self._axes = head.anchors.new_tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        self._by_size: dict[tuple[tuple[int, int], ...], tuple[Tensor, Tensor]] = {}

    def __call__(
        self, levels: list[Tensor], boxes_xyxy: Tensor, class_ids: Tensor, image_index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Compute the weighted sums of box, obj and cls of each level, and what each is to be divided by.

        Args:
            levels: The head's output in training, in float32.
            boxes_xyxy: (M, 4) in pixels of the input.
            class_ids: (M,)
            image_index: (M,), the image of each box.

        Shapes:
            returns: (levels, 3), differentiable; (levels, 3)
        """
        weights, limits = self._constants(levels)
        sums, counts = [], []
        for number, logits in enumerate(levels):
            terms, count = self._level(logits, number, limits[number], boxes_xyxy, class_ids, image_index)
            sums.append(terms)
            counts.append(count)
        return torch.stack(sums) * weights, torch.stack(counts)

    def _constants(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the weight of each level's terms (levels, 3), and its width and height in cells (levels, 2).

        They are made once per size: copying them to a device makes the host wait.
        """
        sizes = tuple((level.shape[3], level.shape[2]) for level in levels)
        if sizes not in self._by_size:
            width, height = (side * self._strides[0] for side in sizes[0])
            obj = self._obj * width * height / _PAIRED_IMGSZ**2
            weights = [[self._box, obj * balance, self._cls] for balance in _BALANCE[len(levels)]]
            self._by_size[sizes] = levels[0].new_tensor(weights), levels[0].new_tensor(sizes)
        return self._by_size[sizes]

    def _level(
        self, logits: Tensor, number: int, limit: Tensor, boxes_xyxy: Tensor, class_ids: Tensor, image_index: Tensor
    ) -> tuple[Tensor, Tensor]:
        target = torch.zeros_like(logits[..., 4])
        zero = logits.sum() * 0  # keeps every output in the graph
        box = cls = zero
        count = zero.detach()
        if len(boxes_xyxy):
            found = self._match(logits, number, limit, boxes_xyxy, class_ids, image_index)
            at = (found.image, found.anchor, found.row, found.column)
            predicted = logits[at]  # (N, 5 + classes)
            weight = found.is_match.to(logits.dtype)
            count = weight.sum()
            values = predicted[:, :4].sigmoid()
            sides = (values[:, 2:] * 2).square() * self._anchors[number][found.anchor]
            guess = torch.cat([values[:, :2] * 2 - 0.5, sides], 1)
            real = found.is_match[:, None]  # the others are compared with themselves: a gradient of zero, never 0 * inf
            guess, truth = (torch.where(real, xywh, torch.ones_like(xywh)) for xywh in (guess, found.box))
            iou = bbox_iou(guess, truth, xywh=True, CIoU=True).squeeze(-1)
            box = box + ((1 - iou) * weight).sum()
            flat = torch.zeros_like(target).flatten()
            index = ((found.image * target.shape[1] + found.anchor) * target.shape[2] + found.row) * target.shape[3]
            flat.scatter_reduce_(0, index + found.column, iou.detach().clamp_min(0) * weight, "amax")
            target = flat.view(target.shape)
            scored = predicted[:, 5 : 5 + self._num_classes]
            classes = functional.one_hot(found.label, self._num_classes).to(logits.dtype)
            per_class = functional.binary_cross_entropy_with_logits(scored, classes, reduction="none")
            cls = cls + (per_class.sum(1) * weight).sum()
        objectness = functional.binary_cross_entropy_with_logits(logits[..., 4], target, reduction="sum")
        cells = torch.full_like(count, target.numel())
        return torch.stack([box, objectness, cls]), torch.stack([count, cells, count * self._num_classes])

    def _match(
        self, logits: Tensor, number: int, limit: Tensor, boxes_xyxy: Tensor, class_ids: Tensor, image_index: Tensor
    ) -> _Matches:
        """List the candidates of a level: each box with each anchor in three cells."""
        _, num_anchors, height, width, _ = logits.shape
        stride = self._strides[number]
        centres = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / (2 * stride)  # (M, 2)
        sides = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) / stride
        ratio = sides[:, None] / self._anchors[number]  # (M, anchors, 2)
        fits = torch.maximum(ratio, 1 / ratio).amax(2) < MAX_RATIO  # (M, anchors)

        cell = centres.floor()
        fraction = centres - cell
        towards = torch.where(fraction < 0.5, -1.0, 1.0) * (fraction != 0.5)  # to the nearest neighbour
        cells = cell[:, None] + self._axes * towards[:, None]  # (M, 3, 2), x and y
        exists = ((cells >= 0) & (cells < limit)).all(2)  # (M, 3)
        exists[:, 1:] &= (cells[:, 1:] != cell[:, None]).any(2)

        shape = (len(boxes_xyxy), num_anchors, 3)
        is_match = (fits[:, :, None] & exists[:, None]).flatten()
        column, row = cells[:, None].expand(*shape, 2).reshape(-1, 2).unbind(1)
        spread = torch.cat([centres[:, None] - cells, sides[:, None].expand(-1, 3, -1)], 2)  # (M, 3, 4)
        anchor = torch.arange(num_anchors, device=logits.device)
        return _Matches(
            is_match=is_match,
            image=image_index[:, None, None].expand(shape).flatten(),
            anchor=anchor[:, None].expand(shape).flatten(),
            row=row.clamp(0, height - 1).long(),
            column=column.clamp(0, width - 1).long(),
            box=spread[:, None].expand(*shape, 4).reshape(-1, 4),
            label=class_ids.long()[:, None, None].expand(shape).flatten(),
        )
