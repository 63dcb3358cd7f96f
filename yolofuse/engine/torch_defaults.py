"""Keep what a notebook changed in torch out of what this package computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch


@contextmanager
def as_started() -> Iterator[None]:
    """Undo inside the context what other cells did: default dtype and device changed, gradients switched off."""
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    on_cpu = nullcontext() if device.type == "cpu" else torch.device("cpu")
    with torch.inference_mode(mode=False), torch.enable_grad(), on_cpu:
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
