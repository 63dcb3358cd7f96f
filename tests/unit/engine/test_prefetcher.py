from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterator
from functools import partial

import pytest
import torch

from yolofuse.batch import PairedBatch
from yolofuse.engine.preemption import stop_requests
from yolofuse.engine.prefetcher import DevicePrefetcher
from yolofuse.errors import DataError, RunStopped


def test_prefetcher__wait_time_includes_the_copy_to_the_device() -> None:
    empty = torch.zeros(0)
    batch = PairedBatch(torch.zeros(1, 4, 8, 8), empty, empty, empty, empty, empty, empty)

    def slow(raw: PairedBatch) -> PairedBatch:
        time.sleep(0.05)
        return raw

    feed = DevicePrefetcher(lambda: [batch, batch], lambda position: None, slow, torch.device("cpu"))
    assert len(list(feed)) == 2
    assert feed.wait_s >= 0.1


class _Missing(torch.utils.data.Dataset[int]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        raise DataError("a.png: no such file\n  and a second line")


@pytest.mark.parametrize("workers", [0, 1])
def test_prefetcher__an_error_of_the_data_comes_without_the_workers_traceback(workers: int) -> None:
    loader = torch.utils.data.DataLoader(_Missing(), num_workers=workers)
    feed = DevicePrefetcher(lambda: loader, lambda position: None, lambda raw: raw, torch.device("cpu"))
    with pytest.raises(DataError) as error:
        list(feed)
    assert str(error.value) == "a.png: no such file\n  and a second line"


def _no_batch() -> Iterator[PairedBatch]:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)
    yield from ()


def test_prefetcher__waits_no_longer_for_a_lost_batch_when_it_is_to_stop() -> None:
    feed = DevicePrefetcher(_no_batch, lambda position: None, lambda raw: raw, torch.device("cpu"))
    with stop_requests() as stop:
        feed.waiting = partial(stop.limited, 0.05, "while it waited")
        with pytest.raises(RunStopped, match="SIGTERM while it waited"):
            list(feed)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Too many open files. Communication with the workers is no longer possible."),
        RuntimeError("received 0 items of ancdata"),
        OSError(errno.EMFILE, "Too many open files"),
    ],
)
def test_prefetcher__restarts_the_loader_when_a_batch_cannot_be_received(error: Exception) -> None:
    failed: list[bool] = []
    starts: list[int] = []
    feed = DevicePrefetcher(lambda: _fails_once(failed, error), starts.append, lambda raw: raw, torch.device("cpu"))
    assert list(map(str, feed)) == ["a", "b"]
    assert (feed.restarts, starts) == (1, [0, 1])


def _fails_once(failed: list[bool], error: Exception) -> Iterator[str]:
    """Yield "a", then fail; what is opened after that yields "b", the batch that was due."""
    if not failed:
        failed.append(True)
        yield "a"
        raise error
    yield "b"


def test_prefetcher__raises_other_system_errors() -> None:
    error = FileNotFoundError(errno.ENOENT, "gone")
    feed = DevicePrefetcher(lambda: _fails_once([], error), lambda position: None, lambda raw: raw, torch.device("cpu"))
    with pytest.raises(FileNotFoundError):
        list(feed)
