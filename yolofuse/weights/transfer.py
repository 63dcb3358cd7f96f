"""Single-stream weights into a dual model, through the cut: layer i goes to every part that has a layer i."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from yolofuse.errors import WeightsError
from yolofuse.weights.checkpoint import SingleStreamWeights

Fate = Literal["loaded", "inflated", "missing"]
_NAME = re.compile(r"^(?P<part>\w+)\.layers\.(?P<source>\d+\..+)$")


@dataclass(frozen=True)
class TransferReport:
    """What became of each tensor of the model (parameters and BatchNorm statistics; counters are left out).

    Attributes:
        source: File that the weights came from.
        fates: For each tensor's name: ``loaded`` (equal to its source), ``inflated`` (a first convolution made to read
            another number of channels) or ``missing`` (as it was constructed).
    """

    source: str
    fates: dict[str, Fate]

    def count(self, part: str) -> Counter[Fate]:
        """How many tensors of a part met which fate."""
        return Counter(fate for name, fate in self.fates.items() if name.split(".")[0] == part)

    def format(self) -> str:
        """The counts per part as a table."""
        parts = list(dict.fromkeys(name.split(".")[0] for name in self.fates))
        lines = [f"weights from {self.source}", f"{'part':<10}{'loaded':>8}{'inflated':>10}{'missing':>9}"]
        for part in parts:
            c = self.count(part)
            lines.append(f"{part:<10}{c['loaded']:>8}{c['inflated']:>10}{c['missing']:>9}")
        return "\n".join(lines)


@torch.no_grad()
def transfer(model: nn.Module, weights: SingleStreamWeights) -> TransferReport:
    """Copy every tensor of ``weights`` that has a place in ``model``, and say what became of each.

    A first convolution that reads 1 channel instead of 3 gets the sum of the three filters (equal to showing the image
    three times); one that reads 4 keeps the three and adds their mean.

    Raises:
        WeightsError: If nothing fits, or a tensor that fits is not finite. The model is then unchanged.
    """
    planned: dict[str, tuple[Tensor, Fate]] = {}
    fates: dict[str, Fate] = {}
    state = model.state_dict()
    for name, target in state.items():
        match = _NAME.match(name)
        source = weights.tensors.get(match["source"]) if match else None
        fitted = None if source is None else _fit(source, target)
        if fitted is not None:
            planned[name] = fitted
        if target.is_floating_point():
            fates[name] = fitted[1] if fitted else "missing"
    if not any(fate != "missing" for fate in fates.values()):
        raise WeightsError(
            f"{weights.path}: none of its {len(weights.tensors)} tensors fits this model; is model.base of the same "
            "family and size?"
        )
    broken = [name for name, (value, _) in planned.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise WeightsError(f"{weights.path}: not finite: {', '.join(broken[:5])}; the file is damaged")
    for name, (value, _) in planned.items():
        state[name].copy_(value)
    return TransferReport(str(weights.path), fates)


def _fit(source: Tensor, target: Tensor) -> tuple[Tensor, Fate] | None:
    if source.shape == target.shape:
        return source, "loaded"
    first_conv = source.ndim == 4 and target.ndim == 4 and source.shape[1] == 3
    if not first_conv or source.shape[0] != target.shape[0] or source.shape[2:] != target.shape[2:]:
        return None
    if target.shape[1] == 1:
        return source.sum(1, keepdim=True), "inflated"
    if target.shape[1] == 4:
        return torch.cat([source, source.mean(1, keepdim=True)], 1), "inflated"
    return None
