"""Prefetch batches to the device, one ahead of the step that needs it, and measure how long the loop waits.

If a loader's worker is killed, for example by the kernel for lack of memory, or a batch can't be sent, the loader is
restarted at the batch that is due; nothing else changes, since the content of a batch depends on its number alone.
"""

from __future__ import annotations

import errno
import logging
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from yolofuse.batch import PairedBatch
from yolofuse.data.available_memory import SHARED_MEMORY, free_shared_memory
from yolofuse.errors import DataError, RunError

log = logging.getLogger("yolofuse")

_MAX_RESTARTS = 3  # of the loader, in the life of a prefetcher
_WORKER_EXITS = (RuntimeError, OSError, EOFError)
"""What torch's loader raises when a worker exited, the last two if it did before its batch was received, and when this
process has no file handle left to receive a batch."""
_EXIT_MESSAGES = ("DataLoader worker", "Pin memory thread", "Too many open files", "received 0 items of ancdata")
_EXIT_CODES = {errno.EMFILE, errno.ENFILE}


class DevicePrefetcher:
    """Iterates over a loader; on CUDA the next batch is copied and scaled while the current one is computed.

    Attributes:
        wait_s: Seconds of the last pass without a batch for the loop: waiting for the loader, and the host's part of
            copying batches to the device.
        restarts: How often the loader was restarted so far.
        on_restart: Called with the reason of a restart.
        waiting: Returns the context in which the loader is waited for.
    """

    def __init__(
        self,
        open_loader: Callable[[], Iterable[Any]],
        seek: Callable[[int], None],
        to_device: Callable[[Any], PairedBatch],
        device: torch.device,
    ) -> None:
        """Keep the loader to iterate over.

        Args:
            open_loader: Creates a loader with its own workers. It yields what ``to_device`` takes, in page-locked
                memory where the copy is to overlap.
            seek: Sets the batch at which the loader's next iteration begins, counted from 0.
            to_device: Copies one batch to the device without waiting for the copy.
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
        self.waiting: Callable[[], AbstractContextManager[object]] = nullcontext

    @property
    def is_open(self) -> bool:
        """Whether a loader exists, with its workers."""
        return self._loader is not None

    def start(self, position: int = 0) -> None:
        """Let the workers begin at a batch before it is requested; the next iteration begins there."""
        self._position = position
        self._batches = None
        while self._batches is None:
            self._seek(position)
            self._loader = self._loader or self._open_loader()
            try:
                with _without_sigchld_handler(), self.waiting():
                    self._batches = iter(self._loader)  # existing workers answer here
            except _WORKER_EXITS as error:
                self._handle_worker_exit(error)

    def close(self) -> None:
        """Close the loader and its workers."""
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
                tensor.record_stream(current)  # keeps its memory from being reused before the step is done with it
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
        """Return the loader's next batch, None at its end; restart the loader if a worker exited."""
        while True:
            assert self._batches is not None
            try:
                with self.waiting():
                    raw = next(self._batches, None)
            except DataError as error:
                raise DataError(_without_trace(error)) from None
            except _WORKER_EXITS as error:
                self._handle_worker_exit(error)
            if self._batches is None:  # outside of the handler, which keeps the old loader alive
                self.start(self._position)
                continue
            if raw is None:
                self._batches = None
            self._position += 1
            return raw

    def _handle_worker_exit(self, error: Exception) -> None:
        """Close the loader of a worker that exited; any other error is raised again."""
        if not _is_worker_exit(error):
            raise error
        self.restarts += 1
        if self.restarts > _MAX_RESTARTS:
            raise RunError(
                f"data.workers: worker processes exited {self.restarts} times ({error}); the usual reasons are memory, "
                f"shared memory ({(free_shared_memory() or 0) >> 20} MiB are free in {SHARED_MEMORY}) and "
                f"file handles (ulimit -n is {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}): use fewer data.workers, "
                "or train.cache: none"
            ) from error
        why = str(error) or type(error).__name__
        log.warning("warning: a worker process exited (%s); the loader is restarted at the batch that is due", why)
        self.on_restart(why)
        self._loader = self._batches = None  # its other workers exit with it


def _without_trace(error: DataError) -> str:
    """Return the message of an error; torch puts the traceback of a worker before it."""
    return str(error).rpartition(f"{DataError.__module__}.{DataError.__qualname__}: ")[2].rstrip()


def _is_worker_exit(error: Exception) -> bool:
    if isinstance(error, RuntimeError):
        return str(error).startswith(_EXIT_MESSAGES)
    return isinstance(error, ConnectionError | EOFError) or (isinstance(error, OSError) and error.errno in _EXIT_CODES)


@contextmanager
def _without_sigchld_handler() -> Iterator[None]:
    """Keep torch from installing its SIGCHLD handler; the loader finds an exited worker itself within seconds.

    That handler raises wherever the main thread happens to be, for example between an update of the weights and that of
    the EMA.
    """
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            is_torchs = getattr(before, "__module__", "").startswith("torch.")
            signal.signal(signal.SIGCHLD, signal.SIG_DFL if is_torchs or before is None else before)
