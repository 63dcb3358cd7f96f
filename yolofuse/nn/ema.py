"""Keep the exponential moving average (EMA) of a model, which is evaluated and saved."""

from __future__ import annotations

import copy
import math
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)


class ModelEma(Generic[Model]):
    """Exponential moving average of parameters and floating-point buffers; integer buffers keep their first values.

    Attributes:
        ema: The averaged model: in evaluation mode, without gradients.
        updates: Number of updates so far.

    Reference:
        ultralytics' ModelEMA; equal to it to the last bit.
    """

    def __init__(self, model: Model, decay: float, tau: float) -> None:
        """Start from a copy of the model.

        Args:
            model: The model, not wrapped for several ranks, on its final device.
            decay: Share of the old average that an update keeps, in the limit.
            tau: Time constant in updates: the share is ``decay * (1 - exp(-updates / tau))``.
        """
        self.ema = copy.deepcopy(model).eval().requires_grad_(False)
        self.updates = 0
        self._decay = decay
        self._tau = tau
        self._tracked: nn.Module | None = None
        self._averages: list[Tensor] = []
        self._values: list[Tensor] = []

    def update(self, model: Model) -> None:
        """Update the average with the model's current values; never waits for the device.

        Args:
            model: The trained model. Its tensors must be changed in place, as optimizers and checkpoints do.
        """
        if model is not self._tracked:
            self._track(model)
        self.updates += 1
        keep = self._decay * (1 - math.exp(-self.updates / self._tau))
        torch._foreach_lerp_(self._averages, self._values, 1 - keep)

    def _track(self, model: Model) -> None:
        """Collect the tensors once: a state dict per step takes longer than the averaging."""
        values = model.state_dict()
        pairs = [(a, values[name]) for name, a in self.ema.state_dict().items() if a.is_floating_point()]
        self._averages = [average for average, _ in pairs]
        self._values = [value for _, value in pairs]
        self._tracked = model
