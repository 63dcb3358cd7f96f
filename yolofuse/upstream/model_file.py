"""Build a detector for two cameras from ultralytics' own layers alone, and save it as ultralytics saves a model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.ops import make_divisible

from yolofuse.base_models import Base
from yolofuse.upstream.environment import version
from yolofuse.upstream.heads import set_num_classes

Row = list[Any]
"""A layer in a YAML of ultralytics: from, number, module, arguments."""


def build_plain(base: Base, channels: int, num_outputs: int, branch_classes: int | None) -> Any:
    """Build the base for images of ``channels``; layers keep their numbers."""
    return _build(base.read() | {"channels": channels}, channels, num_outputs, branch_classes)


def build_two_stream(
    base: Base, cut: int, taps: Mapping[int, int], num_outputs: int, branch_classes: int | None
) -> tuple[Any, dict[str, int]]:
    """Build a model of four channels: the layers before ``cut`` twice, ``Concat`` and 1x1 ``Conv`` per tap, the rest.

    Args:
        base: The single-stream model.
        cut: Number of the trunk's first layer.
        taps: Channels of each layer of the streams that the trunk reads.
        num_outputs: Number of classes of the head.
        branch_classes: Number of classes that its class branches are as wide as for; None: the same.

    Returns:
        The model, and the number of each layer in it, by ``rgb.N``, ``ir.N``, ``trunk.N`` and ``fusion.N``.
    """
    content = base.read()
    rows: list[Row] = content["backbone"] + content["head"]
    width, most = _width(content)
    layers: list[Row] = [[-1, 1, "nn.Identity", []]]  # the image, which both streams read
    place = {"image": 0}
    for stream in ("rgb", "ir"):
        for number in range(cut):
            place[f"{stream}.{number}"] = len(layers)
            layers.append(_moved(rows[number], number, {-1: 0, **_of(place, stream)}))
    read = {-1: 0}
    for tap, channels in taps.items():
        layers.append([[place[f"rgb.{tap}"], place[f"ir.{tap}"]], 1, "Concat", [1]])
        place[f"fusion.{tap}"] = read[tap] = len(layers)
        layers.append([-1, 1, "Conv", [_unscaled(channels, width, most), 1, 1, None, 1, 1, False]])
    for number in range(cut, len(rows)):
        place[f"trunk.{number}"] = read[number] = len(layers)
        layers.append(_moved(rows[number], number, read))
    split = 1 + 2 * cut
    content |= {"backbone": layers[:split], "head": layers[split:], "channels": 4}
    return _build(content, 4, num_outputs, branch_classes), place


def _build(content: dict[str, Any], channels: int, num_outputs: int, branch_classes: int | None) -> Any:
    number = branch_classes or num_outputs
    content["nc"] = number
    model: Any = DetectionModel(content, ch=channels, nc=number, verbose=False)  # type: ignore[no-untyped-call]
    head = model.model[-1]
    if number != num_outputs:
        set_num_classes(head, num_outputs)
        model.yaml["nc"] = num_outputs
    if getattr(head, "one2one_cv2", None) is not None:
        head.end2end = True
    return model


def _moved(row: Row, number: int, place: Mapping[int, int]) -> Row:
    """Return a layer with the layers that it reads given by their numbers in the new model."""
    given, *rest = row
    read = [place[number + f if f < 0 else f] for f in ([given] if isinstance(given, int) else given)]
    return [read[0] if isinstance(given, int) else read, *rest]


def _of(place: Mapping[str, int], stream: str) -> dict[int, int]:
    parts = ((name.split("."), number) for name, number in place.items() if "." in name)
    return {int(layer): number for (part, layer), number in parts if part == stream}


def _width(content: Mapping[str, Any]) -> tuple[float, float]:
    scales = content.get("scales")
    if scales:
        _, width, most = scales[content["scale"] or next(iter(scales))]
        return float(width), float(most)
    return float(content.get("width_multiple", 1.0)), math.inf


def _unscaled(channels: int, width: float, most: float) -> int:
    """Return the number in a YAML that becomes ``channels``."""
    number = math.floor(channels / width)
    assert make_divisible(min(number, most) * width, 8) == channels
    return number


def set_mix(conv: nn.Module, weight: Tensor, bias: Tensor) -> None:
    """Give a ``Conv`` of ultralytics the weights of a plain convolution: its BatchNorm then only adds the bias."""
    block: Any = conv
    norm = block.bn
    block.conv.weight.data.copy_(weight)
    norm.running_mean.zero_()
    norm.running_var.fill_(1.0)
    norm.weight.data.fill_(math.sqrt(1.0 + norm.eps))
    norm.bias.data.copy_(bias)


def save_model(model: Any, names: Sequence[str], imgsz: int, path: Path) -> None:
    """Save a model as ``ultralytics.YOLO`` opens it: a pickle of ultralytics' classes and torch's, nothing of ours."""
    model.names = dict(enumerate(names))
    model.args = {"imgsz": imgsz, "task": "detect", "model": path.name}
    content = {
        "model": model.eval(),
        "train_args": model.args,
        "epoch": -1,
        "version": version,
        "license": "AGPL-3.0 License (https://ultralytics.com/license)",
    }
    torch.save(content, path)
