"""Let all ranks of a run agree, once per forward pass, on whether to stop, to save, or to go back."""

from __future__ import annotations

from collections.abc import Callable

from yolofuse.distributed.ranks import Ranks


class RankConsensus:
    """One small message per forward pass, from host to host: no device is waited for.

    Send it after the forward pass and the branches' losses, where memory runs out first, and before anything that the
    ranks compute together, where a missing rank would leave the others waiting.

    Attributes:
        wants_stop: Returns whether this rank was asked to stop.
        wants_save: Returns whether a checkpoint is due; rank 0 decides.
        stop: Whether any rank was asked to stop, as of the last message.
        save: Whether a checkpoint is due, as of the last message.
    """

    def __init__(self, ranks: Ranks) -> None:
        """Start with nobody asking for anything; set ``wants_stop`` and ``wants_save`` to change that."""
        self._ranks = ranks
        self.wants_stop: Callable[[], bool] = bool
        self.wants_save: Callable[[], bool] = bool
        self.stop = False
        self.save = False

    def exchange(self, *, out_of_memory: bool = False) -> bool:
        """Send this rank's message and update ``stop`` and ``save``; return whether any rank ran out of memory.

        Args:
            out_of_memory: Whether this rank has run out of memory since the last message.
        """
        self.stop, self.save, any_out_of_memory = self._ranks.any_rank(
            self.wants_stop(), self.wants_save(), out_of_memory
        )
        return any_out_of_memory
