"""Plan the cut: layers before it (streams), layers after it (trunk), and features that cross it (taps)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from yolofuse.config.schema import Cut
from yolofuse.errors import ConfigError


@dataclass(frozen=True)
class CutPlan:
    """Division of a single-stream model.

    Attributes:
        cut: Number of the trunk's first layer; layers with lower numbers are in the streams.
        num_layers: Layers of the single-stream model.
        taps: Stream layers that the trunk reads, each of which passes through a fusion block. -1 is the image.
        tap_channels: Channels of each tap in the RGB stream.
    """

    cut: int
    num_layers: int
    taps: tuple[int, ...]
    tap_channels: tuple[int, ...]


def sources(layer: nn.Module) -> tuple[int, ...]:
    """Return the numbers of the layers that ``layer`` reads; -1 is the image."""
    number: int = layer.i  # type: ignore[assignment]
    given: int | list[int] = layer.f  # type: ignore[assignment]
    return tuple(number + f if f < 0 else f for f in ([given] if isinstance(given, int) else given))


def plan_cut(layers: Sequence[nn.Module], cut: Cut, num_backbone_layers: int) -> CutPlan:
    """Turn a named or numbered cut into layer numbers and taps.

    Args:
        layers: All layers of the RGB model, in order.
        cut: ``early`` ends the streams where stride 4 is reached, ``mid`` after the backbone, ``late`` before the head,
            ``decision`` after it; a number is the trunk's first layer. ``input`` puts it before layer 0.
        num_backbone_layers: How many of the layers are the backbone.

    Raises:
        ConfigError: If a number is out of range, or a tap of the cut is not a single feature map.
    """
    total = len(layers)
    outputs = _trace(layers)
    if isinstance(cut, int):
        if not 1 <= cut <= total:
            raise ConfigError(
                f"model.cut: {cut} is out of range; this model has {total} layers, so use 1 to {total} or a name"
            )
        number = cut
    else:
        number = {
            "input": 0,
            "early": _first_with_stride(outputs, 4) + 1,
            "mid": num_backbone_layers,
            "late": total - 1,
            "decision": total,
        }[cut]
    taps = tuple(sorted({s for layer in layers[number:] for s in sources(layer) if s < number})) if number else ()
    channels = []
    for tap in taps:
        output = outputs[tap + 1]
        if not isinstance(output, Tensor):
            raise ConfigError(
                f"model.cut: layer {tap}, which crosses the cut at {number}, returns several tensors; "
                "use another number"
            )
        channels.append(output.shape[1])
    return CutPlan(number, total, taps, tuple(channels))


def _first_with_stride(outputs: Sequence[object], stride: int) -> int:
    image = outputs[0]
    assert isinstance(image, Tensor)
    for number, output in enumerate(outputs[1:]):
        if isinstance(output, Tensor) and image.shape[-1] // output.shape[-1] >= stride:
            return number
    raise ConfigError(f"model.cut: this model never reaches stride {stride}; give a layer number")


@torch.no_grad()
def _trace(layers: Sequence[nn.Module]) -> list[object]:
    """Return the image and the output of every layer before the head, for a blank 3-channel image of 64 px."""
    side = 64
    outputs: list[object] = [torch.zeros(1, 3, side, side)]
    for layer in layers[:-1]:
        given = [outputs[s + 1] for s in sources(layer)]
        training = layer.training
        layer.eval()
        outputs.append(layer(given[0] if isinstance(layer.f, int) else given))
        layer.train(training)
    return outputs
