"""Provide what several benchmarks need: peak memory, device synchronisation, larger data sets."""

from __future__ import annotations

import platform
import resource
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from yolofuse.data.index.pair_set import PairSet
from yolofuse.data.index.scan_result import ScanResult


def peak_mib(device: torch.device | None = None) -> float:
    """Return the peak memory of a CUDA device's allocator, or else of this process, in MiB."""
    if device is not None and device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 2**20
    unit = 1 if platform.system() == "Darwin" else 1024  # Linux counts in KiB, macOS in bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def synchronize(device: torch.device) -> None:
    """Wait until a CUDA device has finished its queued work; do nothing on the CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_name(device: torch.device) -> str:
    """Return the name of a CUDA device, or ``cpu``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def flatten_tensors(value: Any) -> list[Tensor]:
    """Return the tensors of nested lists, tuples and dicts, in order."""
    if isinstance(value, Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value
    return [tensor for item in items for tensor in flatten_tensors(item)]


def repeat_pairs(pairs: PairSet, copies: int) -> PairSet:
    """Return the set repeated ``copies`` times, each copy of a pair with its own image id."""
    scan = pairs.scan
    records = [replace(record, image_id=number) for number, record in enumerate(list(pairs.records) * copies, start=1)]
    repeated = ScanResult(
        rgb_hw=np.tile(scan.rgb_hw, (copies, 1)),
        ir_hw=np.tile(scan.ir_hw, (copies, 1)),
        ir_bits=np.tile(scan.ir_bits, copies),
        orientation=np.tile(scan.orientation, (copies, 1)),
        boxes_xywhn=np.tile(scan.boxes_xywhn, (copies, 1)),
        class_ids=np.tile(scan.class_ids, copies),
        crowd=np.tile(scan.crowd, copies),
        offsets=np.concatenate([[0], np.cumsum(np.tile(np.diff(scan.offsets), copies))]),
        content=np.tile(scan.content, (copies, 1)),
        verified=scan.verified,
    )
    return replace(pairs, records=records, sizes_hw=np.tile(pairs.sizes_hw, (copies, 1)), scan=repeated)
