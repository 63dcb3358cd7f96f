"""Peak memory: of a GPU alone, and of the epoch that has just ended."""

from __future__ import annotations

import pytest
import torch

from yolofuse.engine.peak_memory import take_peak_memory


def test_take_peak_memory__is_of_a_gpu_alone() -> None:
    assert take_peak_memory(torch.device("cpu")) == {}


def test_take_peak_memory__starts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = [3 << 30]
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: peaks[-1])
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: peaks.append(1 << 29))
    assert take_peak_memory(torch.device("cuda:0")) == {"memory_gib": 3.0}
    assert take_peak_memory(torch.device("cuda:0")) == {"memory_gib": 0.5}
