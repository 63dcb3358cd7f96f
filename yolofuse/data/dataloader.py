"""Batches: who is in which, on which rank, and how worker processes make them."""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from yolofuse.data.dataset import EvalDataset, SampleKey, TrainDataset
from yolofuse.data.gpu.batch import TileDataset, unchanged
from yolofuse.data.sampler import epoch_order, partner_pools
from yolofuse.errors import ConfigError
from yolofuse.types import IntArray, PairedBatch, PairedSample

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_KEPT_BYTES = 1 << 28


def collate(samples: Sequence[PairedSample]) -> PairedBatch:
    """Stack samples of one shape; pixels are a channels-last view of the stacked array, not a second copy."""
    stacked = torch.from_numpy(np.stack([sample.image for sample in samples]))  # (B, H, W, 4)
    counts = [len(sample.class_ids) for sample in samples]
    return PairedBatch(
        pixels=stacked.permute(0, 3, 1, 2),
        boxes_xyxy=torch.from_numpy(np.concatenate([sample.boxes_xyxy for sample in samples])),
        class_ids=torch.from_numpy(np.concatenate([sample.class_ids for sample in samples])),
        batch_index=torch.repeat_interleave(torch.arange(len(samples)), torch.tensor(counts)),
        image_ids=torch.tensor([sample.image_id for sample in samples]),
        sizes_hw=torch.tensor([sample.size_hw for sample in samples]),
        letterboxes=torch.tensor([sample.letterbox for sample in samples], dtype=torch.float32),
    )


class EpochSampler(Sampler[list[SampleKey]]):
    """Shuffled batches of one rank; what is in a step's global batch does not depend on the number of ranks.

    The epoch's order is a function of (seed, epoch), repeated from its start until the last global batch is full.
    Rank r takes the r-th part of each global batch.
    """

    def __init__(self, num: int, batch: int, seed: int, rank: int = 0, world: int = 1, pool: int = 0) -> None:
        """Start at epoch 0 with mosaics.

        Args:
            num: Samples in the data set.
            batch: Samples per step over all ranks.
            seed: The run's seed.
            rank: This process.
            world: Number of processes.
            pool: Neighbours in the epoch's order that a mosaic's partners come from; 0: the whole set.

        Raises:
            ConfigError: If the batch can't be dealt out evenly.
        """
        if batch % world:
            raise ConfigError(f"train.batch: must be a multiple of the {world} processes (got {batch})")
        self._num = num
        self._batch = batch
        self._seed = seed
        self._pool = pool
        self._share = slice(rank * (batch // world), (rank + 1) * (batch // world))
        self.set_epoch(0)

    def set_epoch(self, epoch: int, start_step: int = 0, mosaic: bool = True) -> None:
        """Decide what the next iteration yields: the epoch from ``start_step`` on; skipped steps are never read."""
        self._epoch = epoch
        self._mosaic = mosaic
        self.seek(start_step)

    def seek(self, start_step: int) -> None:
        """Begin the next iteration at a step of the epoch."""
        self._start_step = start_step

    def __len__(self) -> int:
        """Steps of a whole epoch."""
        return -(-self._num // self._batch)

    def order(self) -> IntArray:
        """Indices of the epoch's steps over all ranks, (steps, batch)."""
        return self._steps(epoch_order(self._seed, self._epoch, self._num))

    def _steps(self, order: IntArray) -> IntArray:
        return np.resize(order, (len(self), self._batch))

    def __iter__(self) -> Iterator[list[SampleKey]]:
        order = epoch_order(self._seed, self._epoch, self._num)
        pools = partner_pools(order, self._pool) if self._pool and self._mosaic else [()] * self._num
        places = self._steps(np.arange(self._num))
        for step in places[self._start_step :, self._share].tolist():
            yield [SampleKey(self._epoch, int(order[place]), self._mosaic, pools[place]) for place in step]


def train_loader(
    dataset: TrainDataset | TileDataset, sampler: EpochSampler, workers: int = 0, pin: bool = False
) -> DataLoader[Any]:
    """Batches in the sampler's order: whole ones, or tiles for ``device.compose``.

    Call ``sampler.set_epoch`` before each iteration.
    """
    return _loader(dataset, sampler, workers, pin)


def eval_batches(dataset: EvalDataset, batch: int, rank: int = 0, world: int = 1) -> list[list[int]]:
    """Batches of equal shape over the whole split, dealt to ranks whole.

    A batch holds the same images whatever the number of ranks, so that kernels, and with them the last digits of the
    scores, do too.
    """
    by_shape: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for index in range(len(dataset)):
        by_shape[dataset.shape_hw(index)].append(index)
    chunks = [
        indices[start : start + batch]
        for _, indices in sorted(by_shape.items())
        for start in range(0, len(indices), batch)
    ]
    return chunks[rank::world]


class EvalSampler(Sampler[list[int]]):
    """This rank's evaluation batches, see :func:`eval_batches`."""

    def __init__(self, dataset: EvalDataset, batch: int, rank: int = 0, world: int = 1) -> None:
        self._batches = eval_batches(dataset, batch, rank, world)
        self._start = 0
        self.num_steps = len(eval_batches(dataset, batch, 0, world))
        """Batches of the rank that has most."""

    def seek(self, start: int) -> None:
        """Begin the next iteration at a batch."""
        self._start = start

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        yield from self._batches[self._start :]


def eval_loader(
    dataset: EvalDataset, sampler: EvalSampler, workers: int = 0, pin: bool = False
) -> DataLoader[PairedSample]:
    """Evaluation batches in the sampler's order."""
    return _loader(dataset, sampler, workers, pin)


def _loader(
    dataset: TrainDataset | TileDataset | EvalDataset,
    batches: EpochSampler | EvalSampler,
    workers: int,
    pin: bool,
) -> DataLoader[Any]:
    if workers:
        # OpenCV's pool of threads does not survive a fork: a worker that touches it, if only to switch it off, waits
        # for ever. So it is switched off here, before workers start.
        cv2.setNumThreads(1)
    return DataLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=unchanged if isinstance(dataset, TileDataset) else collate,
        num_workers=workers,
        worker_init_fn=_init_worker,
        # Forked workers share the pair table and the pixel cache; others would each be sent a copy.
        multiprocessing_context="fork" if workers and "fork" in multiprocessing.get_all_start_methods() else None,
        persistent_workers=workers > 0,
        pin_memory=pin,
    )


def one_thread_of_its_own() -> None:
    """Set a process up to make samples: one thread, and memory that is freed is kept for the next image.

    By default glibc hands every image back to the system and gets it anew, zeroed, page by page: a fifth of the time
    of a sample. Other C libraries have no such switch and are left as they are.
    """
    if cv2.getNumThreads() != 1:  # only where workers are not forked; see _loader
        cv2.setNumThreads(1)
    torch.set_num_threads(1)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            mallopt(parameter, _KEPT_BYTES)


def _init_worker(worker: int) -> None:
    """Ctrl-C is the parent's to handle, which then ends its workers."""
    del worker
    one_thread_of_its_own()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
