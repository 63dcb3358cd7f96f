"""Choose the samples of each batch: the epoch's order, mosaic partners, and the share of each rank."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from yolofuse.data.dataset import EvalDataset, SampleKey
from yolofuse.errors import ConfigError
from yolofuse.types import IntArray

_ORDER = 0  # purpose of the draw; a sample's own purposes start at 1


def epoch_order(seed: int, epoch: int, num: int) -> IntArray:
    """Shuffle all indices of a data set: a function of (seed, epoch) alone.

    Shapes:
        -> int64 (num,)
    """
    return np.random.default_rng([seed, epoch, _ORDER]).permutation(num)


def partner_pools(order: IntArray, size: int) -> list[tuple[int, ...]]:
    """Return, for each position of an epoch's order, the group of up to ``size`` neighbours that it belongs to.

    A batch that holds whole groups decodes each of its images once and shows it in about four mosaics. As the order
    is random, an image's partners are still random; a batch only shows fewer different images.

    Reference:
        Augment your batch, arXiv:1901.09335: several augmented copies of an image in one batch. There they are added
        to the batch; here they are the tiles of mosaics.
    """
    groups = [tuple(order[start : start + size].tolist()) for start in range(0, len(order), size)]
    return [group for group in groups for _ in group]


class EpochSampler(Sampler[list[SampleKey]]):
    """Yield the shuffled training batches of one rank.

    The epoch's order is a function of (seed, epoch), repeated from its start until the last global batch is full.
    Rank r of ``world`` gets the r-th part of each global ``batch``, so that does not depend on the number of ranks.
    It starts at epoch 0 with mosaics, whose partners are drawn from ``pool`` neighbours in the order; 0: the whole set.

    Raises:
        ConfigError: If the batch is not a multiple of the number of processes.
    """

    def __init__(self, num: int, batch: int, seed: int, rank: int = 0, world: int = 1, pool: int = 0) -> None:
        if batch % world:
            raise ConfigError(f"train.batch: must be a multiple of the {world} processes (got {batch})")
        self._num = num
        self._batch = batch
        self._seed = seed
        self._pool = pool
        self._share = slice(rank * (batch // world), (rank + 1) * (batch // world))
        self.set_epoch(0)

    def set_epoch(self, epoch: int, mosaic: bool = True) -> None:
        """Set what the next iteration yields: the whole epoch."""
        self._epoch = epoch
        self._mosaic = mosaic
        self.seek(0)

    def seek(self, start_step: int) -> None:
        """Start the next iteration at a step of the epoch; skipped steps are never read."""
        self._start_step = start_step

    def __len__(self) -> int:
        """Return the steps of a whole epoch."""
        return -(-self._num // self._batch)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        order = epoch_order(self._seed, self._epoch, self._num)
        pools = partner_pools(order, self._pool) if self._pool and self._mosaic else [()] * self._num
        positions = np.resize(np.arange(self._num), (len(self), self._batch))
        for step in positions[self._start_step :, self._share].tolist():
            yield [SampleKey(self._epoch, int(order[at]), self._mosaic, pools[at]) for at in step]


class EvalSampler(Sampler[list[int]]):
    """Yield the evaluation batches of one rank; all images of a batch have one shape.

    A batch holds the same images for any number of ranks, so that kernels, and with them the last digits of the
    scores, are the same too.
    """

    def __init__(self, dataset: EvalDataset, batch: int, rank: int = 0, world: int = 1) -> None:
        by_shape: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for index in range(len(dataset)):
            by_shape[dataset.shape_hw(index)].append(index)
        batches = [
            indices[start : start + batch]
            for _, indices in sorted(by_shape.items())
            for start in range(0, len(indices), batch)
        ]
        self._batches = batches[rank::world]
        self._start = 0
        self.num_steps = len(batches[::world])
        """Batches of the rank that has most."""

    def seek(self, start: int) -> None:
        """Start the next iteration at a batch."""
        self._start = start

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        yield from self._batches[self._start :]
