"""What a detector is made of: layers, parameters and GFLOPs of each part."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from yolofuse.model.detectors import Detector, DualStreamDetector, SingleStreamDetector, _TwoStreams


@dataclass(frozen=True)
class PartSummary:
    """One row of the summary.

    Attributes:
        name: Part of the model.
        layers: Layers as ultralytics numbers them, for example ``0-10``, or the fused taps.
        num_parameters: Parameters, trained or not.
        gflops: 10^9 floating-point operations of one pair (a multiply-add counts two); None for an empty part.
        shared: Whether both modalities pass through the same weights.
    """

    name: str
    layers: str
    num_parameters: int
    gflops: float
    shared: bool


def summarise(detector: Detector, imgsz: int = 640) -> list[PartSummary]:
    """One row per part, counted on a square image of ``imgsz`` pixels without touching the detector."""
    meta = copy.deepcopy(detector).to("meta").eval()
    for head in meta.heads.values():
        head.training = True  # decoding boxes reads values, which meta tensors have none of, and costs next to nothing
    rgb, ir = (torch.zeros(1, channels, imgsz, imgsz, device="meta") for channels in (3, 1))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        meta(rgb, ir)
    counts = counter.get_flop_counts()
    root = type(meta).__name__
    shared = isinstance(detector, _TwoStreams) and detector.ir is None
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
    """The rows as a table for the terminal, with a total."""
    lines = [f"{'part':<10}{'layers':<14}{'parameters':>12}{'GFLOPs':>9}"]
    for row in rows:
        note = "  shared by RGB and IR" if row.shared else ""
        lines.append(f"{row.name:<10}{row.layers:<14}{row.num_parameters:>12,}{row.gflops:>9.2f}{note}")
    total = sum(row.num_parameters for row in rows)
    lines.append(f"{'total':<10}{_kind(detector):<14}{total:>12,}{sum(row.gflops for row in rows):>9.2f}")
    return "\n".join(lines)


def _flops(counts: dict[str, dict[object, int]], root: str, name: str, part: nn.Module) -> int:
    names = [f"{root}.{name}"]
    if isinstance(part, nn.ModuleDict):  # never called itself: its blocks are
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
