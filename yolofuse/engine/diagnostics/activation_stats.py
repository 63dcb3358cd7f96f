"""Collect statistics of layers' outputs over several batches."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from yolofuse.engine.diagnostics.locate_nan import count_not_finite
from yolofuse.weights.init.activations import is_activation, is_norm

_FP16_MAX = torch.finfo(torch.float16).max


@dataclass
class ActivationStats:
    """Statistics of one layer's output, summed over batches."""

    module: nn.Module
    order: int
    count: int = 0
    mean: float = 0.0
    square: float = 0.0
    low: Tensor | None = None  # (C,)
    high: Tensor | None = None
    values_per_channel: int = 0
    not_finite: int = 0
    fp16_overflow: int = 0
    before_norm: bool = False

    def add(self, output: Tensor) -> None:
        """Add one batch's output."""
        bad = count_not_finite(output)
        self.not_finite += bad
        values = output.detach().float()
        if not bad and float(values.abs().amax()) > _FP16_MAX:
            self.fp16_overflow += int((values.abs() > _FP16_MAX).sum())
        var, mean = torch.var_mean(values, correction=0)
        self.count += 1
        self.mean += float(mean)
        self.square += float(var) + float(mean) ** 2
        dim = 1 if values.ndim in {2, 4} else values.ndim - 1
        rest = [d for d in range(values.ndim) if d != dim]
        low, high = values.amin(rest), values.amax(rest)
        self.low = low if self.low is None else torch.minimum(self.low, low)
        self.high = high if self.high is None else torch.maximum(self.high, high)
        self.values_per_channel += values.numel() // values.shape[dim]

    @property
    def std(self) -> float:
        """Standard deviation over all values of all batches."""
        mean = self.mean / self.count
        return math.sqrt(max(self.square / self.count - mean * mean, 0.0)) if math.isfinite(self.square) else math.nan

    def dead(self) -> float | None:
        """Return the share of channels that are constant, or never positive after a ReLU; None if no activation."""
        if not is_activation(self.module) or self.low is None or self.high is None or self.values_per_channel < 2:
            return None
        is_dead = self.high - self.low <= 1e-6 * self.std
        if isinstance(self.module, nn.ReLU):
            is_dead |= self.high <= 0
        return float(is_dead.float().mean())


@dataclass
class ActivationRecorder:
    """Records the statistics of every layer during one kind of pass."""

    stats: dict[str, ActivationStats] = field(default_factory=dict)
    last: tuple[str, Tensor] | None = None

    def before(self, name: str, module: nn.Module, inputs: Tensor) -> None:
        """Note whether a normalisation layer reads the last recorded output."""
        if self.last is not None and inputs is self.last[1] and is_norm(module):
            self.stats[self.last[0]].before_norm = True

    def after(self, name: str, module: nn.Module, output: Tensor) -> None:
        """Add a layer's output to its statistics."""
        self.last = None
        if output.is_floating_point() and (is_activation(module) or any(True for _ in module.parameters(False))):
            self.stats.setdefault(name, ActivationStats(module, len(self.stats))).add(output)
            self.last = (name, output)
