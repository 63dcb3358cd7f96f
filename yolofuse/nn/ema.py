"""The moving average of a model, which is what gets evaluated and kept."""

from __future__ import annotations

import copy
import math
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)


class ModelEma(Generic[Model]):
    """Averages parameters and floating buffers exponentially. Counters among the buffers stay as they began.

    Attributes:
        ema: The average: in evaluation mode, without gradients.
        updates: How many updates went into it.

    Reference:
        ultralytics' ModelEMA, which this equals to the last bit.
    """

    def __init__(self, model: Model, decay: float, tau: float) -> None:
        """Start at a copy of the model.

        Args:
            model: Not wrapped for several ranks, on its final device.
            decay: Share of the old average that an update keeps in the end.
            tau: Updates after which the share has come within 1/e of that; early on it is small.
        """
        self.ema = copy.deepcopy(model).eval().requires_grad_(False)
        self.updates = 0
        self._decay = decay
        self._tau = tau
        self._followed: nn.Module | None = None
        self._averages: list[Tensor] = []
        self._values: list[Tensor] = []

    def update(self, model: Model) -> None:
        """Take the model's present values in; never waits for the device.

        Args:
            model: The one to follow. Its tensors must be changed in place, as optimizers and checkpoints do.
        """
        if model is not self._followed:
            self._follow(model)
        self.updates += 1
        keep = self._decay * (1 - math.exp(-self.updates / self._tau))
        torch._foreach_lerp_(self._averages, self._values, 1 - keep)

    def _follow(self, model: Model) -> None:
        """List the tensors once: a state dict per step takes longer than the averaging."""
        values = model.state_dict()
        pairs = [(a, values[name]) for name, a in self.ema.state_dict().items() if a.is_floating_point()]
        self._averages = [average for average, _ in pairs]
        self._values = [value for _, value in pairs]
        self._followed = model
