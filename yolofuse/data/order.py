"""The epoch's random order, and who is near whom in it: functions of (seed, epoch) alone."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from yolofuse.types import IntArray

_ORDER = 0  # purpose of the draw; a sample's own purposes start at 1


def epoch_order(seed: int, epoch: int, num: int) -> IntArray:
    """All indices once, shuffled.

    Shapes:
        -> int64 (num,)
    """
    return np.random.default_rng([seed, epoch, _ORDER]).permutation(num)


def partner_pool(seed: int, epoch: int, num: int, size: int, index: int) -> IntArray:
    """The group of ``size`` neighbours in the epoch's order that ``index`` belongs to.

    Groups are cut from the start of the order, so a batch that holds whole groups decodes each of its images once
    and shows it in about four mosaics. As the order is random, an image's partners are still random; only the images
    of one batch are fewer.

    Reference:
        Augment your batch, arXiv:1901.09335: several augmented copies of an image in one batch. There they are added
        to the batch; here they are the tiles of mosaics.

    Shapes:
        -> int64 (at most size,)
    """
    order, place = _order_and_places(seed, epoch, num)
    start = int(place[index]) // size * size
    return order[start : start + size]


@lru_cache(maxsize=2)
def _order_and_places(seed: int, epoch: int, num: int) -> tuple[IntArray, IntArray]:
    order = epoch_order(seed, epoch, num)
    return order, np.argsort(order)
