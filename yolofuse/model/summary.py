"""Summarise the parts of a detector: layers, parameters and GFLOPs."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from yolofuse.model.detectors import Detector, DualStreamDetector, SingleStreamDetector, TwoStreamDetector
from yolofuse.tables import text_table


@dataclass(frozen=True)
class PartSummary:
    """One row of the summary.

    Attributes:
        layers: Layers as ultralytics numbers them, for example ``0-10``, or the fused taps.
        gflops: 10^9 floating-point operations for one pair (a multiply-add counts as two).
        shared: Whether both modalities use the same weights.
    """

    name: str
    layers: str
    num_parameters: int
    gflops: float
    shared: bool


def summarise(detector: Detector, imgsz: int = 640) -> list[PartSummary]:
    """Count layers, parameters and GFLOPs of each part on a square image of ``imgsz`` pixels, on a copy."""
    meta = copy.deepcopy(detector).to("meta").eval()
    for head in meta.heads.values():
        head.training = True  # decoding boxes reads values, which meta tensors lack; its cost is negligible
    rgb, ir = (torch.zeros(1, channels, imgsz, imgsz, device="meta") for channels in (3, 1))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        meta(rgb, ir)
    counts = counter.get_flop_counts()
    root = type(meta).__name__
    shared = isinstance(detector, TwoStreamDetector) and detector.ir is None
    return [
        PartSummary(
            name=name,
            layers=_layer_range(part),
            num_parameters=sum(p.numel() for p in part.parameters()),
            gflops=_flops(counts, root, name, part) / 1e9,
            shared=shared and name == "rgb",
        )
        for name, part in detector.parts.items()
    ]


def format_summary(rows: list[PartSummary], detector: Detector) -> str:
    """Format the rows as a table for the terminal, with a total."""
    parts = [
        [row.name, row.layers, f"{row.num_parameters:,}", f"{row.gflops:.2f}", "shared by RGB and IR" * row.shared]
        for row in rows
    ]
    num_parameters, gflops = sum(row.num_parameters for row in rows), sum(row.gflops for row in rows)
    total = ["total", _kind(detector), f"{num_parameters:,}", f"{gflops:.2f}", ""]
    return text_table([["part", "layers", "parameters", "GFLOPs", ""], *parts, total])


def _flops(counts: dict[str, dict[object, int]], root: str, name: str, part: nn.Module) -> int:
    names = [f"{root}.{name}"]
    if isinstance(part, nn.ModuleDict):  # not called as a module; its blocks are
        names = [f"{root}.{name}.{key}" for key in part]
    return sum(sum(counts.get(key, {}).values()) for key in names)


def _layer_range(part: nn.Module) -> str:
    layers = getattr(part, "layers", part)
    assert isinstance(layers, nn.ModuleDict)
    names = list(layers)
    if layers is part:
        return ", ".join(names)
    return names[0] if len(names) == 1 else f"{names[0]}-{names[-1]}"


def _kind(detector: Detector) -> str:
    if isinstance(detector, SingleStreamDetector):
        return "one stream"
    return "two streams" if isinstance(detector, DualStreamDetector) else "two detectors"
