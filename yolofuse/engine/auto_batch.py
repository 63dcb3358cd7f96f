"""Find the largest batch that fits into the GPU's memory, by running trial steps."""

from __future__ import annotations

import copy
import gc
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from yolofuse.batch import PairedBatch
from yolofuse.config import Config
from yolofuse.data import PairSet
from yolofuse.distributed.ranks import Ranks
from yolofuse.engine.loss import DetectionLoss
from yolofuse.engine.optim import build_optimizer
from yolofuse.engine.precision import autocast
from yolofuse.errors import ConfigError
from yolofuse.model import Detector

log = logging.getLogger("yolofuse")

_PROBED = (2, 4, 8)  # pairs on one rank
_MAX_TRIES = 8
_WORTH_A_TRY = 1.05  # another trial is made for at least so much more
_TILES = 4  # images of a mosaic
_CANVASES = 640 << 20  # bytes that augmentation on the device uses for the images it composes at once
_GIB = 2**30


class MemoryMeter(Protocol):
    """Measures the peak memory use of a device."""

    def reset(self) -> None:
        """Start a measurement."""

    def peak(self) -> int:
        """Return the peak in bytes since then, of this process and all others on the device."""


class CudaMemory:
    """Memory reserved by torch's allocator, plus the CUDA context and other processes."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    @property
    def total(self) -> int:
        """Bytes of the whole device."""
        return torch.cuda.mem_get_info(self._device)[1]

    def reset(self) -> None:
        """Free cached memory and reset the peak."""
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self._device)

    def peak(self) -> int:
        """Return the peak in bytes since :meth:`reset`; waits for the device."""
        torch.cuda.synchronize(self._device)
        free, total = torch.cuda.mem_get_info(self._device)
        beside = total - free - torch.cuda.memory_reserved(self._device)
        return torch.cuda.max_memory_reserved(self._device) + beside


def automatic_batch(detector: Detector, config: Config, precision: str, pairs: PairSet, ranks: Ranks) -> int:
    """Find the value for ``train.batch: -1``: pairs per step over all ranks, the same on every rank.

    Call it with the detector on its device and in its memory format, before it is wrapped for several ranks. The
    detector and the global random state stay unchanged: a copy is trained, with the memory that the EMA uses later.

    Raises:
        ConfigError: On the CPU, or where not even one pair fits.
    """
    if ranks.device.type != "cuda":
        raise ConfigError(
            f"train.batch: -1 needs a GPU, whose memory it depends on, but the device is {ranks.device}; set a number"
        )
    memory = CudaMemory(ranks.device)
    with torch.random.fork_rng(devices=[ranks.device]):
        probe = StepProbe(detector, config, precision, max_boxes_per_image(pairs, config), ranks.device)
        try:
            return fit_batch(probe, memory, memory.total, ranks.world, num_pairs=len(pairs), gather=ranks.gather)
        finally:
            del probe
            memory.reset()


def fit_batch(
    step: Callable[[int], None],
    memory: MemoryMeter,
    total_bytes: int,
    world: int = 1,
    *,
    num_pairs: int,
    share: float = 0.8,
    gather: Callable[[int | None], list[int | None]] = lambda value: [value],
) -> int:
    """Find the largest batch whose step stays within a share of the memory.

    Peaks of a few small batches lie on a line; the size that it predicts is tried too, and the line is fitted again.
    Ranks exchange every peak, so that all of them try the same sizes and find the same one: the smallest.

    Args:
        step: Runs one whole step, update included, with a number of pairs on this rank.
        memory: Measures it.
        total_bytes: Of this rank's device.
        world: How many ranks there are.
        num_pairs: Size of the data set, which no batch exceeds.
        share: Of the memory that a step may use; the rest is for fragmentation, validation and unforeseen needs.
        gather: Returns the values of all ranks.

    Returns:
        Pairs over all ranks; an even number on each, unless one is all that fits.

    Raises:
        ConfigError: If not even one pair per rank fits, or there are fewer pairs than ranks.
    """
    limit = share * min(total for total in gather(total_bytes) if total is not None)
    high = num_pairs // world
    if not high:
        raise ConfigError(f"train.batch: -1 needs at least a pair for each of {world} ranks (got {num_pairs} pairs)")
    peaks: dict[int, int | None] = {}

    def fits(num: int) -> bool:
        of_ranks = gather(_peak(step, memory, num))
        known = [peak for peak in of_ranks if peak is not None]
        peaks[num] = max(known) if len(known) == len(of_ranks) else None
        return len(known) == len(of_ranks) and max(known) <= limit

    best = _largest_fitting(fits, peaks, limit, high)
    if not best:
        raise ConfigError(
            f"train.batch: not even one pair fits into {share:.0%} of the memory ({limit / _GIB:.1f} GiB); "
            "use a smaller train.imgsz or model.base"
        )
    log.info(
        "train.batch: %d, %d on each rank; a step uses %.1f of %.1f GiB allowed (%.0f%% of the memory)",
        best * world, best, (peaks[best] or 0) / _GIB, limit / _GIB, 100 * share,
    )  # fmt: skip
    return best * world


def _largest_fitting(fits: Callable[[int], bool], peaks: dict[int, int | None], limit: float, high: int) -> int:
    """Try a few small sizes, then those that their peaks predict; return the largest that fits, 0 if none does."""
    best = 0
    for num in [num for num in _PROBED if num <= high] or [1]:
        if not fits(num):
            high = num - 1
            break
        best = num
    for _ in range(_MAX_TRIES):
        num = _even(min(_predict(peaks, limit), high))
        if num < max(_WORTH_A_TRY * best, best + 1):
            break
        if fits(num):
            best = num
        else:
            high = num - 1
    return best or int(high > 0 and fits(1))


def _peak(step: Callable[[int], None], memory: MemoryMeter, num: int) -> int | None:
    """Return the peak of a step in bytes; None if the memory was too small for it."""
    memory.reset()
    try:
        step(num)
    except torch.OutOfMemoryError:
        return None
    return memory.peak()


def _predict(taken: Mapping[int, int | None], limit: float) -> int:
    """Predict the batch that uses the memory up to the limit, from the two sizes nearest to it.

    Args:
        taken: Peak in bytes of each size tried; None if it did not fit at all.
        limit: Bytes.
    """
    known = sorted((num, peak) for num, peak in taken.items() if peak is not None)
    fitting = [point for point in known if point[1] <= limit]
    if not fitting:
        return 0
    best, low = fitting[-1]
    above = min((num for num in taken if num > best), default=None)
    peak_above = None if above is None else taken[above]
    if above is not None and peak_above is None:
        return (best + above) // 2
    if above is not None and peak_above is not None:
        return best + int((limit - low) * (above - best) / (peak_above - low))
    few, lower = fitting[-2] if len(fitting) > 1 else (0, 0)
    if low <= lower:  # the memory of small batches is hidden by something larger
        return 4 * best
    return best + int((limit - low) * (best - few) / (low - lower))


def _even(num: int) -> int:
    return num - num % 2 if num > 1 else num


class StepProbe:
    """Runs whole training steps on a copy of a detector, with uniform images and as many boxes as can be expected.

    The copy is not compiled; a compiled model needs no more memory.
    """

    def __init__(
        self, detector: Detector, config: Config, precision: str, num_boxes: int, device: torch.device
    ) -> None:
        """Copy the detector.

        Args:
            detector: On its device and in its memory format.
            config: The run; its batch size is not read.
            precision: fp32, bf16 or fp16.
            num_boxes: Of each image; the assignment of boxes to anchors uses memory for each of them.
            device: Where the detector is.
        """
        train = config.train.model_copy(update={"batch": config.train.nominal_batch})
        self._train = train
        self._precision = precision
        self._num_boxes = num_boxes
        self._device = device
        self._detector = copy.deepcopy(detector).train()
        self._criterion = DetectionLoss(self._detector, train.loss, train.epochs)
        self._optimizer = build_optimizer(self._detector, train)

    def __call__(self, num: int) -> None:
        """Run one step of ``num`` pairs."""
        try:
            prefetched = self._allocate_prefetched(num)
            batch = self._batch(num)
            with autocast(self._device, self._precision):
                outputs = self._detector(batch.rgb, batch.ir)
            self._criterion(outputs, batch).total.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
            del prefetched
        finally:
            self._optimizer.zero_grad(set_to_none=True)

    def _batch(self, num: int) -> PairedBatch:
        side, boxes = self._train.imgsz * 1.0, num * self._num_boxes
        pixels = torch.full((num, 4, self._train.imgsz, self._train.imgsz), 0.5, device=self._device)
        return PairedBatch(
            pixels=pixels.contiguous(memory_format=torch.channels_last),  # as collate makes them
            boxes_xyxy=torch.tensor([0.375, 0.375, 0.625, 0.625], device=self._device).mul(side).repeat(boxes, 1),
            class_ids=torch.zeros(boxes, dtype=torch.int64, device=self._device),
            batch_index=torch.arange(num, device=self._device).repeat_interleave(self._num_boxes),
            image_ids=torch.arange(num),
            sizes_hw=torch.full((num, 2), self._train.imgsz),
            letterboxes=torch.tensor([[1.0, 0.0, 0.0]]).repeat(num, 1),
        )

    def _allocate_prefetched(self, num: int) -> list[Tensor]:
        """Allocate what else is in memory during a step: the next batch, and what it is made from."""
        pixels = 4 * num * self._train.imgsz**2
        sizes = [pixels, 4 * pixels]  # as loaded, as floats
        if self._train.augment_on == "device":
            sizes += [_TILES * pixels, _CANVASES]
        return [torch.empty(size, dtype=torch.uint8, device=self._device) for size in sizes]


def max_boxes_per_image(pairs: PairSet, config: Config) -> int:
    """Estimate the largest number of boxes in an image of an epoch: of one pair, or of a mosaic of several."""
    counts = np.diff(pairs.scan.offsets)
    most = int(counts.max())
    if config.train.augment.mosaic and config.train.close_mosaic < config.train.epochs:
        rng = np.random.default_rng(config.train.seed)
        partners = rng.choice(counts, size=(len(counts), _TILES - 1))
        most = max(most, int((counts + partners.sum(axis=1)).max()))
    return max(most, 1)
