"""Find the rows of a head's tensors that score a class, and those of a file that they start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from yolofuse.model import Detector
from yolofuse.nn.anchor_head import BOX_OUTPUTS, AnchorDetect
from yolofuse.upstream import list_class_branch_tensors
from yolofuse.weights.class_names import ClassMatch


@dataclass(frozen=True)
class ClassOutputs:
    """A tensor with rows for classes: for each anchor some other rows, then one per class."""

    anchors: int = 1
    others: int = 0


ClassBranch = ClassOutputs | Literal["inner"]
"""A tensor with rows for classes, or one whose width follows the number of classes."""


def class_branches(detector: Detector) -> dict[str, ClassBranch]:
    """Return how each tensor of the heads' class branches depends on the classes."""
    kinds: dict[str, ClassBranch] = {"rows": ClassOutputs(), "inner": "inner"}
    found = {name: kinds[kind] for name, kind in list_class_branch_tensors(detector)}
    for prefix, head in detector.named_modules():
        if isinstance(head, AnchorDetect):
            outputs = ClassOutputs(head.anchors.shape[1], BOX_OUTPUTS)
            found |= {f"{prefix}.m.{name}": outputs for name in head.m.state_dict()}
    return found


def match_rows(
    num_source: int, num_rows: int, outputs: ClassOutputs, matches: Sequence[ClassMatch] | None
) -> Tensor | None:
    """Return for each row of a tensor the row of the file that it starts from, -1 for none; None if none has one.

    Args:
        num_source: Rows in the file.
        num_rows: Rows in the model.
        outputs: What the rows are for.
        matches: Where the file has each class; None where its classes have no names: then rows go by order, if there
            are as many.

    Shapes:
        returns: (num_rows,) int64
    """
    per_anchor, rest = divmod(num_source, outputs.anchors)
    if rest:
        return None
    if matches is None and num_source == num_rows:
        return torch.arange(num_rows)
    classes = [-1] * (num_rows // outputs.anchors - outputs.others)
    if matches is not None:
        classes = [-1 if match.row is None else outputs.others + match.row for match in matches]
    rows = torch.tensor([*range(outputs.others), *classes])
    if per_anchor <= int(rows.max()) or not bool((rows >= 0).any()):
        return None
    starts = torch.arange(outputs.anchors)[:, None] * per_anchor
    return torch.where(rows >= 0, starts + rows, -1).flatten()
