"""As many pairs per step as fit into the GPU's memory, found by trying."""

from __future__ import annotations

import copy
import gc
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from yolofuse.config import Config
from yolofuse.data import PairSet
from yolofuse.distributed.ranks import Ranks
from yolofuse.engine.loss import DetectionLoss
from yolofuse.engine.optim import build_optimizer
from yolofuse.engine.precision import autocast
from yolofuse.errors import ConfigError
from yolofuse.model import Detector
from yolofuse.types import PairedBatch

log = logging.getLogger("yolofuse")

_PROBED = (2, 4, 8)  # pairs on one rank
_MAX_TRIES = 8
_WORTH_A_TRY = 1.05  # another probe is made for at least so much more
_TILES = 4  # images of a mosaic
_CANVASES = 640 << 20  # bytes that augmentation on the device takes for what it paints at once
_GIB = 2**30


class MemoryMeter(Protocol):
    """Measures how much memory of a device is taken at most."""

    def reset(self) -> None:
        """Begin a measurement."""

    def peak(self) -> int:
        """Most bytes taken since then, by this process and by whatever else is on the device."""


class CudaMemory:
    """What the allocator has reserved, and what lies beside it: the CUDA context, and other processes."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    @property
    def total(self) -> int:
        """Bytes of the whole device."""
        return torch.cuda.mem_get_info(self._device)[1]

    def reset(self) -> None:
        """Give back what nobody holds, and forget the last peak."""
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self._device)

    def peak(self) -> int:
        """Most bytes taken since :meth:`reset`; waits for the device."""
        torch.cuda.synchronize(self._device)
        free, total = torch.cuda.mem_get_info(self._device)
        beside = total - free - torch.cuda.memory_reserved(self._device)
        return torch.cuda.max_memory_reserved(self._device) + beside


def automatic_batch(detector: Detector, config: Config, precision: str, pairs: PairSet, ranks: Ranks) -> int:
    """The number to put in the place of ``train.batch: -1``: pairs per step over all ranks, the same on every rank.

    Call it with the detector on its device and in its memory format, before it is wrapped for several ranks. It is
    left as it is, and so is the global random state: the probe trains a copy, which takes the memory that the moving
    average takes later.

    Raises:
        ConfigError: On the CPU, or where not even one pair fits.
    """
    if ranks.device.type != "cuda":
        raise ConfigError(
            f"train.batch: -1 goes by the memory of a GPU, but the device is {ranks.device}; give a number, such as 16"
        )
    memory = CudaMemory(ranks.device)
    with torch.random.fork_rng(devices=[ranks.device]):
        probe = StepProbe(detector, config, precision, crowded(pairs, config), ranks.device)
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
    """The largest batch whose step keeps within a share of the memory.

    Peaks of a few small batches lie on a line; the size that it promises is tried as well, and the line drawn anew.
    Ranks tell each other every peak, so that all of them try the same sizes and find the same: the smallest.

    Args:
        step: Makes one whole step, update included, with a number of pairs on this rank.
        memory: Measures it.
        total_bytes: Of this rank's device.
        world: How many ranks there are.
        num_pairs: Size of the data set, which no batch exceeds.
        share: Of the memory, that a step may take; the rest is for fragments, validation and the unforeseen.
        gather: What all ranks say, on every rank.

    Returns:
        Pairs over all ranks; an even number on each, unless one is all that fits.

    Raises:
        ConfigError: If not even one pair per rank fits, or there are fewer pairs than ranks.
    """
    limit = share * min(total for total in gather(total_bytes) if total is not None)
    high = num_pairs // world
    if not high:
        raise ConfigError(f"train.batch: -1 needs at least a pair for each of {world} ranks (got {num_pairs} pairs)")

    taken: dict[int, int | None] = {}

    def fits(num: int) -> bool:
        peaks = gather(_peak(step, memory, num))
        known = [peak for peak in peaks if peak is not None]
        taken[num] = max(known) if len(known) == len(peaks) else None
        return len(known) == len(peaks) and max(known) <= limit

    best = 0
    for num in [num for num in _PROBED if num <= high] or [1]:
        if not fits(num):
            high = num - 1
            break
        best = num
    for _ in range(_MAX_TRIES):
        num = _even(min(_promised(taken, limit), high))
        if num < max(_WORTH_A_TRY * best, best + 1):
            break
        if fits(num):
            best = num
        else:
            high = num - 1
    if not best and not (high and fits(1)):
        raise ConfigError(
            f"train.batch: not even one pair fits into {share:.0%} of the memory ({limit / _GIB:.1f} GiB); "
            "take a smaller train.imgsz or model.base"
        )
    best = max(best, 1)
    peak = taken[best] or 0
    log.info(
        "train.batch: %d, %d on each rank; a step takes %.1f GiB, of %.1f that it may (%.0f%% of the memory)",
        best * world, best, peak / _GIB, limit / _GIB, 100 * share,
    )  # fmt: skip
    return best * world


def _peak(step: Callable[[int], None], memory: MemoryMeter, num: int) -> int | None:
    """Most bytes taken in a step; None where the memory was too small for it."""
    memory.reset()
    try:
        step(num)
    except torch.OutOfMemoryError:
        return None
    return memory.peak()


def _promised(taken: Mapping[int, int | None], limit: float) -> int:
    """The batch at which the memory should be full to the limit, by the two sizes nearest to it.

    Args:
        taken: What each size that was tried took; None where that was too much to be known.
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
    if low <= lower:  # what small batches take is hidden by something larger
        return 4 * best
    return best + int((limit - low) * (best - few) / (low - lower))


def _even(num: int) -> int:
    return num - num % 2 if num > 1 else num


class StepProbe:
    """Makes whole training steps on a copy of a detector, with images of one grey and as many boxes as there may be.

    A compiled model needs no more than this one, which isn't compiled.
    """

    def __init__(
        self, detector: Detector, config: Config, precision: str, num_boxes: int, device: torch.device
    ) -> None:
        """Copy the detector.

        Args:
            detector: On its device and in its memory format.
            config: The run; its batch size is not looked at.
            precision: fp32, bf16 or fp16.
            num_boxes: Of each image; the assignment of boxes to cells takes memory for each of them.
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
        """Make one step of ``num`` pairs."""
        try:
            beside = self._beside(num)
            batch = self._batch(num)
            with autocast(self._device, self._precision):
                outputs = self._detector(batch.rgb, batch.ir)
            self._criterion(outputs, batch).total.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
            del beside
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

    def _beside(self, num: int) -> list[Tensor]:
        """What lies in memory while a step is computed: the next batch, and what it is made from."""
        pixels = 4 * num * self._train.imgsz**2
        sizes = [pixels, 4 * pixels]  # as loaded, as floats
        if self._train.augment_on == "device":
            sizes += [_TILES * pixels, _CANVASES]
        return [torch.empty(size, dtype=torch.uint8, device=self._device) for size in sizes]


def crowded(pairs: PairSet, config: Config) -> int:
    """Most boxes that an image of an epoch is likely to have: of one pair, or of a mosaic of several."""
    counts = np.diff(pairs.scan.offsets)
    most = int(counts.max())
    if config.train.augment.mosaic and config.train.close_mosaic < config.train.epochs:
        rng = np.random.default_rng(config.train.seed)
        partners = rng.choice(counts, size=(len(counts), _TILES - 1))
        most = max(most, int((counts + partners.sum(axis=1)).max()))
    return max(most, 1)
