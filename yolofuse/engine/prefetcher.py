"""Batches on the device, one ahead of the step that needs them, and how long the loop waited for them.

A loader's worker that is killed, for instance for want of memory, costs a restart of the loader at the batch that is
due, and no more: what is in a batch depends on its number alone.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from yolofuse.errors import RunError
from yolofuse.types import PairedBatch

log = logging.getLogger("yolofuse")

_MAX_RESTARTS = 3  # of loaders in the life of a feed
_DEATHS = (RuntimeError, ConnectionError, EOFError)
"""What torch's loader raises when a worker is gone; the last two if it died before its batch was taken over."""


class DevicePrefetcher:
    """Goes through a loader; on CUDA the next batch is copied and scaled while the current one is computed.

    Attributes:
        wait_s: Seconds of the last pass in which no step could be given out: waiting for the loader, and bringing
            its batches to the device as far as that is the host's work.
        restarts: How often workers died so far.
        on_restart: Called with what is known of such a death.
    """

    def __init__(
        self,
        open_loader: Callable[[], Iterable[Any]],
        seek: Callable[[int], None],
        to_device: Callable[[Any], PairedBatch],
        device: torch.device,
    ) -> None:
        """Keep what is iterated.

        Args:
            open_loader: Makes a loader, with workers of its own. It yields what ``to_device`` takes, in page-locked
                memory where the copy is to overlap.
            seek: Says at which batch the loader's next iteration begins, counted from 0.
            to_device: Brings one batch to the device, without waiting for the copy.
            device: Where the step computes.
        """
        self._open_loader = open_loader
        self._seek = seek
        self._to_device = to_device
        on_cuda = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if on_cuda else None  # type: ignore[no-untyped-call]
        self._loader: Iterable[Any] | None = None
        self._batches: Iterator[Any] | None = None
        self._position = 0
        self.wait_s = 0.0
        self.restarts = 0
        self.on_restart: Callable[[str], object] = lambda why: None

    @property
    def is_open(self) -> bool:
        """Whether there is a loader, with workers."""
        return self._loader is not None

    def start(self, position: int = 0) -> None:
        """Let the workers begin at a batch, before anybody asks for it. The next iteration begins there."""
        self._position = position
        self._batches = None
        while self._batches is None:
            self._seek(position)
            self._loader = self._loader or self._open_loader()
            try:
                with _no_handler_of_dead_workers():
                    self._batches = iter(self._loader)  # workers from before answer here
            except _DEATHS as error:
                self._note_death(error)

    def close(self) -> None:
        """Put the loader away, and its workers with it."""
        self._loader = self._batches = None

    def __iter__(self) -> Iterator[PairedBatch]:
        if self._batches is None:
            self.start()
        self.wait_s = 0.0
        if self._stream is None:
            while (batch := self._next()) is not None:
                yield batch
            return
        ahead = self._next()
        while ahead is not None:
            batch = ahead
            current = torch.cuda.current_stream(self._stream.device)
            current.wait_stream(self._stream)
            for tensor in (batch.pixels, batch.boxes_xyxy, batch.class_ids, batch.batch_index):
                tensor.record_stream(current)  # its memory is not used again before the step is done with it
            ahead = self._next()
            yield batch

    def _next(self) -> PairedBatch | None:
        started = time.perf_counter()
        raw = self._load()
        batch = None
        if raw is not None:
            with torch.cuda.stream(self._stream):  # does nothing where there is none
                batch = self._to_device(raw)
        self.wait_s += time.perf_counter() - started
        return batch

    def _load(self) -> Any:
        """The loader's next batch, None at its end; workers that died are replaced a few times."""
        while True:
            assert self._batches is not None
            try:
                raw = next(self._batches, None)
            except _DEATHS as error:
                self._note_death(error)
            if self._batches is None:  # outside of the handler, which holds on to the old loader
                self.start(self._position)
                continue
            if raw is None:
                self._batches = None
            self._position += 1
            return raw

    def _note_death(self, error: Exception) -> None:
        """Put a loader away whose worker died; whatever else went wrong is raised again."""
        if isinstance(error, RuntimeError) and not str(error).startswith(("DataLoader worker", "Pin memory thread")):
            raise error
        self.restarts += 1
        if self.restarts > _MAX_RESTARTS:
            raise RunError(
                f"data.workers: loader processes died {self.restarts} times ({error}); the usual reason is memory: "
                "take fewer data.workers, or train.cache: none"
            ) from error
        why = str(error) or type(error).__name__
        log.warning("warning: a loader process died (%s); the loader starts again at the batch that is due", why)
        self.on_restart(why)
        self._loader = self._batches = None  # its other workers end with it


@contextmanager
def _no_handler_of_dead_workers() -> Iterator[None]:
    """Let the loader find out for itself, within seconds, that a worker died.

    The handler that torch sets raises wherever the main thread happens to be, for instance between an update of the
    weights and that of their average.
    """
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            is_torchs = getattr(before, "__module__", "").startswith("torch.")
            signal.signal(signal.SIGCHLD, signal.SIG_DFL if is_torchs or before is None else before)
