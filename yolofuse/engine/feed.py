"""Batches on the device, one ahead of the step that needs them, and how long the loop waited for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from yolofuse.types import PairedBatch


class Feed:
    """Goes through a loader; on CUDA the next batch is copied and scaled while the current one is computed.

    Attributes:
        waited: Seconds of the last pass in which no step could be given out: waiting for the loader, and bringing
            its batches to the device as far as that is the host's work.
    """

    def __init__(self, loader: Iterable[Any], to_device: Callable[[Any], PairedBatch], device: torch.device) -> None:
        """Keep what is iterated.

        Args:
            loader: Yields what ``to_device`` takes, in page-locked memory where the copy is to overlap.
            to_device: Brings one batch to the device, without waiting for the copy.
            device: Where the step computes.
        """
        self._loader = loader
        self._to_device = to_device
        on_cuda = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if on_cuda else None  # type: ignore[no-untyped-call]
        self.waited = 0.0

    def __iter__(self) -> Iterator[PairedBatch]:
        self.waited = 0.0
        batches = iter(self._loader)
        if self._stream is None:
            while (batch := self._next(batches)) is not None:
                yield batch
            return
        ahead = self._next(batches)
        while ahead is not None:
            batch = ahead
            current = torch.cuda.current_stream(self._stream.device)
            current.wait_stream(self._stream)
            for tensor in (batch.pixels, batch.boxes_xyxy, batch.class_ids, batch.batch_index):
                tensor.record_stream(current)  # its memory is not used again before the step is done with it
            ahead = self._next(batches)
            yield batch

    def _next(self, batches: Iterator[Any]) -> PairedBatch | None:
        started = time.perf_counter()
        raw = next(batches, None)
        batch = None
        if raw is not None:
            with torch.cuda.stream(self._stream):  # does nothing where there is none
                batch = self._to_device(raw)
        self.waited += time.perf_counter() - started
        return batch
