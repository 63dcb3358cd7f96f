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
        start: The model as it was at first, if a share of it is kept; None otherwise.
        updates: Number of updates so far.

    References:
        ultralytics' ModelEMA; equal to it to the last bit where nothing of the start is kept. Keeping a share of it:
        Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022.
    """

    def __init__(self, model: Model, decay: float, tau: float, keep_start: float = 0.0) -> None:
        """Start from a copy of the model.

        Args:
            model: The model, not wrapped for several ranks, on its final device.
            decay: Share of the old average that an update keeps, in the limit.
            tau: Time constant in updates: the share is ``decay * (1 - exp(-updates / tau))``.
            keep_start: Share of the start in every average.
        """
        self.ema = copy.deepcopy(model).eval().requires_grad_(False)
        self.start = copy.deepcopy(self.ema) if keep_start else None
        self.updates = 0
        self._keep_start = keep_start
        self._decay = decay
        self._tau = tau
        self._tracked: nn.Module | None = None
        self._averages: list[Tensor] = []
        self._values: list[Tensor] = []
        self._starts: list[Tensor] = []

    def update(self, model: Model) -> None:
        """Update the average with the model's current values; never waits for the device.

        Args:
            model: The trained model. Its tensors must be changed in place, as optimizers and checkpoints do.
        """
        if model is not self._tracked:
            self._track(model)
        self.updates += 1
        keep = self._decay * (1 - math.exp(-self.updates / self._tau))
        values = self._values
        if self._starts:
            values = list(torch._foreach_lerp(values, self._starts, self._keep_start))
        torch._foreach_lerp_(self._averages, values, 1 - keep)

    def _track(self, model: Model) -> None:
        """Collect the tensors once: a state dict per step takes longer than the averaging."""
        averages, values = self.ema.state_dict(), model.state_dict()
        names = [name for name, average in averages.items() if average.is_floating_point()]
        self._averages, self._values = ([state[name] for name in names] for state in (averages, values))
        if self.start is not None:
            starts = self.start.state_dict()
            self._starts = [starts[name] for name in names]
        self._tracked = model
