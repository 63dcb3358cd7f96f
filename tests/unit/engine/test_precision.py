"""Precisions of devices."""

from __future__ import annotations

import pytest
import torch

from yolofuse.engine.precision import warn_of_emulation


@pytest.mark.parametrize(
    ("device", "precision", "capability", "is_warned"),
    [
        ("cpu", "bf16", "AVX2", True),
        ("cpu", "bf16", "AVX512", False),
        ("cpu", "fp32", "AVX2", False),
        ("cpu", "auto", "AVX2", False),
        ("cuda", "bf16", "AVX2", False),
    ],
)
def test_warn_of_emulation__bf16_without_instructions(
    device: str,
    precision: str,
    capability: str,
    is_warned: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    warn_of_emulation(torch.device(device), {"train.precision": "fp32", "val.precision": precision})
    assert ("use val.precision=fp32" in caplog.text) == is_warned
    assert "train.precision" not in caplog.text
