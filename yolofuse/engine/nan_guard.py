"""Find updates whose loss or gradients are not finite, and name the reasons to go back to a checkpoint."""

from __future__ import annotations

import torch
from torch import Tensor


class RollBack(Exception):  # noqa: N818 - control flow of the loop, never seen by a user
    """Training must go back to the last checkpoint, on every rank."""


class NotFinite(RollBack):
    """The loss or the gradients of an update were not finite.

    Attributes:
        steps: The steps whose batches went into the update.
    """

    def __init__(self, steps: range) -> None:
        super().__init__(f"loss or gradients not finite in steps {steps.start}..{steps.stop - 1}")
        self.steps = steps


class OutOfMemory(RollBack):
    """The memory of some rank did not hold its part of a batch."""


class NanGuard:
    """Raises for updates whose loss or gradients are not finite.

    On the CPU that is known before the update. A GPU is not waited for: there an optimizer that can leaves such an
    update out by itself, and the host learns of it at the next one.
    """

    def __init__(self) -> None:
        self._recorded: tuple[range, Tensor, torch.cuda.Event | None] | None = None

    def record(self, non_finite: Tensor, steps: range) -> None:
        """Record whether the update that follows is to be left out.

        Args:
            non_finite: One bool, on the device.
            steps: The steps that go into the update.

        Raises:
            NotFinite: At once on the CPU; on a GPU :meth:`check` raises it later.
        """
        if not non_finite.is_cuda:
            self._recorded = (steps, non_finite, None)
            self.check()
            return
        on_host = torch.empty((), dtype=torch.bool, pin_memory=True)
        on_host.copy_(non_finite, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._recorded = (steps, on_host, event)

    def check(self) -> None:
        """Wait until the recorded update is known to have been finite.

        Raises:
            NotFinite: If it was not.
        """
        recorded, self._recorded = self._recorded, None
        if recorded is None:
            return
        steps, non_finite, event = recorded
        if event is not None:
            event.synchronize()
        if bool(non_finite):
            raise NotFinite(steps)
