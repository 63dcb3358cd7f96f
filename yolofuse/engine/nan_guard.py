"""What can go wrong in a step, found without waiting for the device and answered by all ranks alike."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from yolofuse.distributed.ranks import Ranks


class RollBack(Exception):  # noqa: N818 - the loop's own way back, never seen by a user
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
    """Some rank's memory did not hold its part of a batch."""


class OutOfMemoryInCollective(Exception):  # noqa: N818 - as above
    """This rank's memory ran out while the others wait for it in a collective, from which nobody can call them back."""


class RankConsensus:
    """What all ranks must do alike in a step. They tell each other once per forward pass, from host to host.

    The message goes out after a rank's forward pass and loss, where memory runs out first, and before the gradients
    are exchanged, where a missing rank would leave the others waiting.

    Attributes:
        stop: Whether some rank was asked to stop.
        save: Whether rank 0 holds that it is time for a checkpoint.
        out_of_memory: Whether this rank has run out of memory since the last message.
        messages: How many were exchanged so far.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self.wants_stop: Callable[[], bool] = bool
        self.wants_save: Callable[[], bool] = bool
        self.stop = False
        self.save = False
        self.out_of_memory = False
        self.messages = 0

    def exchange(self) -> None:
        """Exchange the message.

        Raises:
            OutOfMemory: On every rank, if one ran out of memory.
        """
        self.messages += 1
        self.stop, self.save, short = self._ranks.any_rank(self.wants_stop(), self.wants_save(), self.out_of_memory)
        self.out_of_memory = False
        if short:
            raise OutOfMemory

    def sum_over_ranks(self, tensor: Tensor) -> Tensor:
        """The sum of the ranks' tensors, once per forward pass of every rank; the message goes out first."""
        self.exchange()
        return self._ranks.sum_(tensor)


class NanGuard:
    """Finds updates whose loss or gradients are not finite.

    On the CPU that is known before the update. A GPU is not waited for: there an optimizer that can leaves such an
    update out by itself, and the host learns of it at the next one.
    """

    def __init__(self) -> None:
        self._noted: tuple[range, Tensor, torch.cuda.Event | None] | None = None

    def record(self, bad: Tensor, steps: range) -> None:
        """Take note of an update that is about to be made from a range of steps; ``bad`` is one bool."""
        if not bad.is_cuda:
            self._noted = (steps, bad, None)
            self.check()
            return
        on_host = torch.empty((), dtype=torch.bool, pin_memory=True)
        on_host.copy_(bad, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._noted = (steps, on_host, event)

    def check(self) -> None:
        """Wait for what is known of the noted update.

        Raises:
            NotFinite: If it was not fit to be made.
        """
        noted, self._noted = self._noted, None
        if noted is None:
            return
        steps, bad, event = noted
        if event is not None:
            event.synchronize()
        if bool(bad):
            raise NotFinite(steps)
