from __future__ import annotations

import time

import torch

from yolofuse.batch import PairedBatch
from yolofuse.engine.prefetcher import DevicePrefetcher


def test_prefetcher__wait_time_includes_the_copy_to_the_device() -> None:
    empty = torch.zeros(0)
    batch = PairedBatch(torch.zeros(1, 4, 8, 8), empty, empty, empty, empty, empty, empty)

    def slow(raw: PairedBatch) -> PairedBatch:
        time.sleep(0.05)
        return raw

    feed = DevicePrefetcher(lambda: [batch, batch], lambda position: None, slow, torch.device("cpu"))
    assert len(list(feed)) == 2
    assert feed.wait_s >= 0.1
