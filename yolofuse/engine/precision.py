"""Choose the floating-point precision of a device, and the autocast context that belongs to it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

log = logging.getLogger("yolofuse")


def resolve_precision(device: torch.device, precision: str) -> str:
    """Return what ``auto`` means on a device: bf16 on GPUs that support it, else fp32; other values unchanged."""
    if precision != "auto":
        return precision
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Return the autocast context of a precision; for fp32 one that does nothing."""
    dtypes = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
    dtype = dtypes[resolve_precision(device, precision)]
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def warn_of_emulation(device: torch.device, options: Mapping[str, str]) -> None:
    """Log a warning of each precision that the device computes without instructions for it.

    Args:
        device: Where the model is.
        options: Precisions by the name of the option that asks for them.
    """
    if device.type != "cpu" or torch.backends.cpu.get_cpu_capability() != "AVX2":
        return
    for name, precision in options.items():
        if precision == "bf16":
            log.warning(
                "warning: %s: this CPU (AVX2) emulates bf16, which takes many times as long as fp32; use %s=fp32",
                name,
                name,
            )
