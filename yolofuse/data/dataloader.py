"""Build data loaders: collate samples, and set up worker processes."""

from __future__ import annotations

import ctypes
import multiprocessing.queues
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader

from yolofuse.batch import PairedBatch
from yolofuse.data.dataset import EvalDataset, TrainDataset
from yolofuse.data.gpu.tile_batch import TileDataset, identity
from yolofuse.data.sampler import EpochSampler, EvalSampler
from yolofuse.types import PairedSample

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_MALLOC_THRESHOLD = 1 << 28  # bytes
PREFETCHED = 2
"""Batches that each worker makes ahead."""


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


def batch_loader(
    dataset: TrainDataset | TileDataset | EvalDataset,
    batches: EpochSampler | EvalSampler,
    workers: int = 0,
    pin: bool = False,
) -> DataLoader[Any]:
    """Load batches in the sampler's order: ``PairedBatch``, or ``TileBatch`` for ``gpu.augment_batch``.

    Call :meth:`EpochSampler.set_epoch` before each iteration over training batches.
    """
    if workers:
        # OpenCV's thread pool does not survive a fork: a worker that uses it, if only to switch it off, hangs. So it
        # is switched off here, before workers start.
        cv2.setNumThreads(1)
    return DataLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=identity if isinstance(dataset, TileDataset) else collate,
        num_workers=workers,
        prefetch_factor=PREFETCHED if workers else None,
        worker_init_fn=_init_worker,
        # Forked workers share the pair table and the pixel cache; others would each be sent a copy.
        multiprocessing_context="fork" if workers and "fork" in multiprocessing.get_all_start_methods() else None,
        persistent_workers=workers > 0,
        pin_memory=pin,
    )


def set_up_worker_process() -> None:
    """Limit this process to one thread, and keep freed memory for the next image.

    By default glibc returns every image to the system and gets it back zeroed, page by page: a fifth of the time of a
    sample. Other C libraries have no such switch and are left as they are.
    """
    if cv2.getNumThreads() != 1:  # only where workers are not forked; see batch_loader
        cv2.setNumThreads(1)
    torch.set_num_threads(1)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            mallopt(parameter, _MALLOC_THRESHOLD)


def _init_worker(worker: int) -> None:
    """Set up a worker that ignores what a terminal sends: the parent handles it and then ends its workers."""
    del worker
    set_up_worker_process()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    setattr(multiprocessing.queues.Queue, "_on_queue_feeder_error", staticmethod(_exit_without_batch))  # noqa: B010


def _exit_without_batch(error: Exception, batch: object) -> None:
    """End a worker that can't send a batch, for lack of shared memory or file handles.

    Otherwise its thread would drop the batch, for which the parent would wait forever; it notices an exit.
    """
    del batch
    try:
        print(f"data.workers: worker {os.getpid()} can't send a batch ({error})", file=sys.stderr, flush=True)
    finally:
        os._exit(1)
