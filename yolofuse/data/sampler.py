"""The epoch's random order, and who is near whom in it: functions of (seed, epoch) alone."""

from __future__ import annotations

import numpy as np

from yolofuse.types import IntArray

_ORDER = 0  # purpose of the draw; a sample's own purposes start at 1


def epoch_order(seed: int, epoch: int, num: int) -> IntArray:
    """All indices once, shuffled.

    Shapes:
        -> int64 (num,)
    """
    return np.random.default_rng([seed, epoch, _ORDER]).permutation(num)


def partner_pools(order: IntArray, size: int) -> list[tuple[int, ...]]:
    """The group of up to ``size`` neighbours in an epoch's order that each place of the order belongs to.

    A batch that holds whole groups decodes each of its images once and shows it in about four mosaics. As the order
    is random, an image's partners are still random; only the images of one batch are fewer.

    Reference:
        Augment your batch, arXiv:1901.09335: several augmented copies of an image in one batch. There they are added
        to the batch; here they are the tiles of mosaics.
    """
    groups = [tuple(order[start : start + size].tolist()) for start in range(0, len(order), size)]
    return [group for group in groups for _ in group]
