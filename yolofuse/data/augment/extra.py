"""Hold the further augmentations that a config may name in ``train.augment.extra``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from yolofuse.registry import Registry
from yolofuse.types import PixelArray


class Augmentation(Protocol):
    """Changes a sample in place; it is made from its options, and copied to the loader's processes."""

    def __call__(self, image: PixelArray, rng: np.random.Generator) -> None:
        """Change the image, (H, W, 4) R G B IR in uint8 or uint16.

        What it draws from ``rng`` depends on the sample alone. Boxes stay as they are, so nothing may move.
        """


AUGMENTATIONS: Registry[Callable[..., Augmentation]] = Registry()
"""By the names of ``train.augment.extra``; add your own before a config names it."""
