"""Detectors that look through two cameras. All of them are called as ``model(rgb, ir)``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from yolofuse.errors import ConfigError
from yolofuse.model.cut import CutPlan, sources
from yolofuse.upstream import Detect

HeadOutput = Any
"""What an ultralytics head returns: a dict of raw outputs in training, (decoded, raw) in inference."""


class LayerRun(nn.Module):
    """Consecutive layers of a single-stream model, each under its own number, so that weights map without guessing.

    Parameter names are ``layers.<number>.<rest>`` where the single-stream model has ``model.<number>.<rest>``.
    """

    def __init__(self, layers: Sequence[nn.Module], keep: Iterable[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({str(layer.i): layer for layer in layers})
        self.keep = frozenset(keep)
        read_later = {s: i for i, layer in enumerate(layers) for s in sources(layer)}
        self._last_read = {s: i for s, i in read_later.items() if s not in self.keep}

    def forward(self, features: Mapping[int, Any]) -> dict[int, Any]:
        """Run all layers.

        Args:
            features: What stands before the run by layer number; the image is number -1.

        Returns:
            The features named in ``keep``, and the output of the last layer.
        """
        known = dict(features)
        number = -1
        for position, (name, layer) in enumerate(self.layers.items()):
            number = int(name)
            read = sources(layer)
            given = [known[s] for s in read]
            if isinstance(layer, Detect) and not layer.training:
                known[number] = _infer_in_full(layer, given)
            else:
                known[number] = layer(given[0] if isinstance(layer.f, int) else given)
            for s in read:
                if self._last_read.get(s) == position:
                    del known[s]  # nobody reads it again: free it
        return {key: value for key, value in known.items() if key in self.keep or key == number}


def _infer_in_full(head: nn.Module, features: list[Tensor]) -> HeadOutput:
    """The head's inference in float32, whatever runs before it: bf16 knows only every fourth pixel from 512 on."""
    with torch.autocast(features[0].device.type, enabled=False):
        return head([feature.float() for feature in features])


class Detector(nn.Module, ABC):
    """What training, evaluation and export know of a model.

    Shapes:
        rgb: (B, 3, H, W), R G B in 0..1; ir: (B, 1, H, W) in 0..1; H and W multiples of the largest stride.
    """

    @abstractmethod
    def forward(self, rgb: Tensor, ir: Tensor) -> dict[str, HeadOutput]:
        """The output of every head by the head's name."""

    @property
    @abstractmethod
    def parts(self) -> dict[str, nn.Module]:
        """The parts in the order data flows, by name: streams, fusion, trunk."""

    @property
    def heads(self) -> dict[str, Any]:
        """The detection heads by name, in the order of :meth:`forward`'s result."""
        found = {name: [m for m in part.modules() if isinstance(m, Detect)] for name, part in self.parts.items()}
        return {name: heads[0] for name, heads in found.items() if heads}

    @property
    def end2end(self) -> bool:
        """Whether inference needs no NMS."""
        return all(bool(head.end2end) for head in self.heads.values())

    @property
    def stride(self) -> int:
        """Largest stride in pixels: image sides must be multiples of it."""
        return max(int(head.stride.max()) for head in self.heads.values())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the heads' strides and anchors too: ultralytics keeps them as plain attributes."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for head in self.heads.values():
            head.stride, head.anchors, head.strides = fn(head.stride), fn(head.anchors), fn(head.strides)
        return self


class SingleStreamDetector(Detector):
    """One unchanged single-stream model that sees RGB, IR, or both stacked to four channels."""

    def __init__(self, trunk: LayerRun, sees: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.trunk = trunk
        self._sees = sees

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The trunk alone."""
        return {"trunk": self.trunk}

    def forward(self, rgb: Tensor, ir: Tensor) -> dict[str, HeadOutput]:
        """Detect in one image tensor."""
        features = self.trunk({-1: self._sees(rgb, ir)})
        return {"trunk": features[max(features)]}


def see_rgb(rgb: Tensor, ir: Tensor) -> Tensor:
    """The visible image alone, (B, 3, H, W)."""
    return rgb


def see_ir(rgb: Tensor, ir: Tensor) -> Tensor:
    """The thermal image alone, (B, 1, H, W)."""
    return ir


def see_stacked(rgb: Tensor, ir: Tensor) -> Tensor:
    """Both images as one, (B, 4, H, W): R, G, B, IR."""
    return torch.cat([rgb, ir], 1)


class _TwoStreams(Detector):
    """Runs the layers before the cut on both modalities."""

    def __init__(self, rgb: LayerRun, ir: LayerRun | None) -> None:
        super().__init__()
        self.rgb = rgb
        self.ir = ir
        self._side: torch.cuda.Stream | None = None

    def overlap(self, device: torch.device) -> None:
        """Compute the IR stream in a CUDA stream of its own from now on, beside the RGB one."""
        self._side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def _streams(self, rgb: Tensor, ir: Tensor) -> tuple[dict[int, Any], dict[int, Any]]:
        """Features of both streams by layer number; one pass over a doubled batch where the weights are shared."""
        if self.ir is not None and self._side is not None:
            return self._side_by_side(rgb, ir, self._side)
        if self.ir is not None:
            return self.rgb({-1: rgb}), self.ir({-1: ir})
        both = self.rgb({-1: torch.cat([rgb, ir.expand_as(rgb)])})
        return _split(both, 0), _split(both, 1)

    def _side_by_side(self, rgb: Tensor, ir: Tensor, side: torch.cuda.Stream) -> tuple[dict[int, Any], dict[int, Any]]:
        """Features of both streams, computed at once; autograd goes back on the same CUDA streams."""
        assert self.ir is not None
        current = torch.cuda.current_stream(side.device)
        side.wait_stream(current)
        with torch.cuda.stream(side):
            from_ir = self.ir({-1: ir})
        from_rgb = self.rgb({-1: rgb})
        current.wait_stream(side)
        for tensor in _tensors(from_ir):
            tensor.record_stream(current)  # its memory is not used again before the trunk is done with it
        ir.record_stream(side)
        return from_rgb, from_ir

    @property
    def parts(self) -> dict[str, nn.Module]:
        """Stream by stream."""
        return {"rgb": self.rgb} if self.ir is None else {"rgb": self.rgb, "ir": self.ir}


def overlap_streams(detector: Detector, device: torch.device) -> None:
    """Let a detector compute both of its streams at once on a GPU.

    Raises:
        ConfigError: If the device is no GPU, or the model has no two streams of its own.
    """
    if device.type != "cuda":
        raise ConfigError(f"train.overlap: needs a GPU (the device is {device}); set it to false")
    if not isinstance(detector, _TwoStreams) or detector.ir is None:
        raise ConfigError("train.overlap: this model has no two streams with weights of their own; set it to false")
    detector.overlap(device)


def _tensors(value: Any) -> list[Tensor]:
    """Every tensor in dicts, lists and tuples."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        return [tensor for item in value.values() for tensor in _tensors(item)]
    return [tensor for item in value for tensor in _tensors(item)] if isinstance(value, list | tuple) else []


def _split(value: Any, half: int) -> Any:
    """The first or second half of a doubled batch, through dicts, lists and tuples of a head's output."""
    if isinstance(value, Tensor):
        return value.chunk(2)[half]
    if isinstance(value, dict):
        return {key: _split(item, half) for key, item in value.items()}
    return type(value)(_split(item, half) for item in value)


class DualStreamDetector(_TwoStreams):
    """Two streams up to the cut, a fusion block for each tap, one trunk after it."""

    def __init__(
        self,
        plan: CutPlan,
        *,
        rgb: LayerRun,
        ir: LayerRun | None,
        fusion: Callable[[int], nn.Module],
        trunk: LayerRun,
    ) -> None:
        """Take the parts.

        Args:
            plan: Where the cut is.
            rgb: Layers before the cut.
            ir: The same layers for the thermal image; None shares the RGB ones.
            fusion: Makes a fusion block from a channel count.
            trunk: Layers after the cut.
        """
        super().__init__(rgb, ir)
        blocks = {_block_name(tap): fusion(c) for tap, c in zip(plan.taps, plan.tap_channels, strict=True)}
        self.taps = plan.taps
        self.fusion = nn.ModuleDict(blocks)
        self.trunk = trunk

    @property
    def parts(self) -> dict[str, nn.Module]:
        """Streams, fusion, trunk."""
        return super().parts | {"fusion": self.fusion, "trunk": self.trunk}

    def forward(self, rgb: Tensor, ir: Tensor) -> dict[str, HeadOutput]:
        """Detect in a pair."""
        from_rgb, from_ir = self._streams(rgb, ir)
        fused = {}
        for tap in self.taps:
            a, b = from_rgb[tap], from_ir[tap]
            fused[tap] = self.fusion[_block_name(tap)](a, b.expand_as(a))  # only a raw image differs in channels
        features = self.trunk(fused)
        return {"trunk": features[max(features)]}


def _block_name(tap: int) -> str:
    return "image" if tap < 0 else str(tap)


class DecisionDetector(_TwoStreams):
    """Two complete detectors, one per modality; their boxes are merged after decoding."""

    def forward(self, rgb: Tensor, ir: Tensor) -> dict[str, HeadOutput]:
        """Detect in each image of a pair."""
        from_rgb, from_ir = self._streams(rgb, ir)
        return {"rgb": from_rgb[max(from_rgb)], "ir": from_ir[max(from_ir)]}

    @property
    def heads(self) -> dict[str, Any]:
        """A head per modality; the same one twice where the weights are shared."""
        heads = super().heads
        return {"rgb": heads["rgb"], "ir": heads.get("ir", heads["rgb"])}
