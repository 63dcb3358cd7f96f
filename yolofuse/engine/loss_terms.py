"""Hold the further loss terms that a config may name in ``train.loss.extra``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from yolofuse.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from yolofuse.batch import PairedBatch


class LossTerm(Protocol):
    """Computes a term of the loss; it is made from its options, its gain among them."""

    def __call__(self, outputs: dict[str, Any], batch: PairedBatch) -> Tensor:
        """Return the term per pair of a rank's batch, a differentiable scalar.

        Args:
            outputs: What the detector returned in training mode, by head.
            batch: The batch it was given, pixels 0..1.
        """


LOSS_TERMS: Registry[Callable[..., LossTerm]] = Registry()
"""By the names of ``train.loss.extra``, as in results.csv; add your own before a config names it."""
