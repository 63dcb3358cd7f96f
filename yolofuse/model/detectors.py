"""Define the detectors for RGB and IR images; all are called as ``model(rgb, ir)``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map
from typing_extensions import Self

from yolofuse.errors import ConfigError
from yolofuse.model.cut import CutPlan, sources
from yolofuse.model.heads import HEAD_TYPES

HeadOutput = Any
"""What an ultralytics head returns: a dict of raw outputs in training, (decoded, raw) in inference."""


class LayerRun(nn.Module):
    """Consecutive layers of a single-stream model under their original numbers, so that weights map by name.

    Parameter names are ``layers.<number>.<rest>`` where the single-stream model has ``model.<number>.<rest>``.
    """

    def __init__(self, layers: Sequence[nn.Module], keep: Iterable[int] = ()) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({str(layer.i): layer for layer in layers})
        self.keep = frozenset(keep)
        read_later = {s: i for i, layer in enumerate(layers) for s in sources(layer)}
        self._last_read = {s: i for s, i in read_later.items() if s not in self.keep}

    def forward(self, features: Mapping[int, Any]) -> dict[int, Any]:
        """Return the features named in ``keep`` and the output of the last layer.

        Both ``features``, the outputs of layers before the run, and the result go by layer number; the image is -1.
        """
        known = dict(features)
        number = -1
        for position, (name, layer) in enumerate(self.layers.items()):
            number = int(name)
            read = sources(layer)
            given = [known[s] for s in read]
            if isinstance(layer, HEAD_TYPES) and not layer.training:
                known[number] = _infer_in_float32(layer, given)
            else:
                known[number] = layer(given[0] if isinstance(layer.f, int) else given)
            for s in read:
                if self._last_read.get(s) == position:
                    del known[s]  # not read again: free it
        return {key: value for key, value in known.items() if key in self.keep or key == number}


def _infer_in_float32(head: nn.Module, features: list[Tensor]) -> HeadOutput:
    """Run the head's inference in float32 even under autocast: bf16 resolves only every fourth pixel above 512."""
    with torch.autocast(features[0].device.type, enabled=False):
        return head([feature.float() for feature in features])


class Detector(nn.Module, ABC):
    """Interface of a model for training, evaluation and export.

    Shapes:
        rgb: (B, 3, H, W), R G B in 0..1; ir: (B, 1, H, W) in 0..1; H and W multiples of the largest stride.
    """

    @abstractmethod
    def forward(self, rgb: Tensor, ir: Tensor) -> dict[str, HeadOutput]:
        """Return the output of every head by the head's name."""

    @property
    @abstractmethod
    def parts(self) -> dict[str, nn.Module]:
        """Return the parts by name, in the order of data flow: streams, fusion, trunk."""

    @property
    def heads(self) -> dict[str, Any]:
        """Return the detection heads by name, in the order of :meth:`forward`'s result."""
        found = {name: [m for m in part.modules() if isinstance(m, HEAD_TYPES)] for name, part in self.parts.items()}
        return {name: heads[0] for name, heads in found.items() if heads}

    @property
    def end2end(self) -> bool:
        """Return whether inference needs no NMS."""
        return all(bool(head.end2end) for head in self.heads.values())

    @property
    def stride(self) -> int:
        """Return the largest stride in pixels: image sides must be multiples of it."""
        return max(int(head.stride.max()) for head in self.heads.values())

    @property
    def device(self) -> torch.device:
        """Return where the weights are."""
        return next(self.parameters()).device

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or cast what heads keep as plain attributes too."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for head in self.heads.values():
            for name in ("stride", "anchors", "strides"):
                if name in vars(head):
                    setattr(head, name, fn(getattr(head, name)))
        return self


class SingleStreamDetector(Detector):
    """Single-stream model on RGB, IR, or both stacked to four channels."""

    def __init__(self, trunk: LayerRun, select: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.trunk = trunk
        self._select = select

    @property
    def parts(self) -> dict[str, nn.Module]:
        """Return the trunk alone."""
        return {"trunk": self.trunk}

    def forward(self, rgb: Tensor, ir: Tensor) -> dict[str, HeadOutput]:
        """Return the head output for the selected images."""
        features = self.trunk({-1: self._select(rgb, ir)})
        return {"trunk": features[max(features)]}


def select_rgb(rgb: Tensor, ir: Tensor) -> Tensor:
    """Return the visible image alone, (B, 3, H, W)."""
    return rgb


def select_ir(rgb: Tensor, ir: Tensor) -> Tensor:
    """Return the thermal image alone, (B, 1, H, W)."""
    return ir


def stack_channels(rgb: Tensor, ir: Tensor) -> Tensor:
    """Return both images as one, (B, 4, H, W): R, G, B, IR."""
    return torch.cat([rgb, ir], 1)


class TwoStreamDetector(Detector):
    """Base of detectors that run the layers before the cut on both modalities."""

    def __init__(self, rgb: LayerRun, ir: LayerRun | None) -> None:
        super().__init__()
        self.rgb = rgb
        self.ir = ir
        self._side: torch.cuda.Stream | None = None

    def overlap(self, device: torch.device) -> None:
        """Compute the IR stream concurrently with the RGB one from now on, in its own CUDA stream."""
        self._side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def _streams(self, rgb: Tensor, ir: Tensor) -> tuple[dict[int, Any], dict[int, Any]]:
        """Return the features of both streams by layer number; one pass over a doubled batch if weights are shared."""
        if self.ir is not None and self._side is not None:
            return self._concurrent_streams(rgb, ir, self._side)
        if self.ir is not None:
            return self.rgb({-1: rgb}), self.ir({-1: ir})
        both = self.rgb({-1: torch.cat([rgb, ir.expand_as(rgb)])})
        return tree_map(lambda tensor: tensor.chunk(2)[0], both), tree_map(lambda tensor: tensor.chunk(2)[1], both)

    def _concurrent_streams(
        self, rgb: Tensor, ir: Tensor, side: torch.cuda.Stream
    ) -> tuple[dict[int, Any], dict[int, Any]]:
        """Return the features of both streams, computed concurrently; backward uses the same CUDA streams."""
        assert self.ir is not None
        current = torch.cuda.current_stream(side.device)
        side.wait_stream(current)
        with torch.cuda.stream(side):
            from_ir = self.ir({-1: ir})
        from_rgb = self.rgb({-1: rgb})
        current.wait_stream(side)
        for tensor in tree_leaves(from_ir):
            tensor.record_stream(current)  # the allocator must not reuse its memory before the trunk has read it
        ir.record_stream(side)
        return from_rgb, from_ir

    @property
    def parts(self) -> dict[str, nn.Module]:
        """Return the streams."""
        return {"rgb": self.rgb} if self.ir is None else {"rgb": self.rgb, "ir": self.ir}


def overlap_streams(detector: Detector, device: torch.device) -> None:
    """Make a detector compute both of its streams concurrently on a GPU.

    Raises:
        ConfigError: If the device is not a GPU, or the model has not two streams with separate weights.
    """
    if device.type != "cuda":
        raise ConfigError(f"train.overlap: needs a GPU (the device is {device}); set it to false")
    if not isinstance(detector, TwoStreamDetector) or detector.ir is None:
        raise ConfigError("train.overlap: this model has not two streams with separate weights; set it to false")
    detector.overlap(device)


class DualStreamDetector(TwoStreamDetector):
    """Detector with two streams up to the cut, a fusion block for each tap, and one trunk after it."""

    def __init__(
        self, plan: CutPlan, *, rgb: LayerRun, ir: LayerRun | None, fusion: Callable[[int], nn.Module], trunk: LayerRun
    ) -> None:
        """Assemble the parts; without ``ir`` both streams share weights, ``fusion`` builds a block for C channels."""
        super().__init__(rgb, ir)
        blocks = {_block_name(tap): fusion(c) for tap, c in zip(plan.taps, plan.tap_channels, strict=True)}
        self.taps = plan.taps
        self.fusion = nn.ModuleDict(blocks)
        self.trunk = trunk

    @property
    def parts(self) -> dict[str, nn.Module]:
        """Return streams, fusion and trunk."""
        return super().parts | {"fusion": self.fusion, "trunk": self.trunk}

    def forward(self, rgb: Tensor, ir: Tensor) -> dict[str, HeadOutput]:
        """Return the trunk's head output for a pair.

        Where the image of one camera is black, the features of the other stand in for its own: the fusion block then
        reads one stream twice, and a mean of both is that stream.
        """
        from_rgb, from_ir = self._streams(rgb, ir)
        has_rgb, has_ir = _is_lit(rgb), _is_lit(ir)
        fused = {}
        for tap in self.taps:
            a, b = from_rgb[tap], from_ir[tap].expand_as(from_rgb[tap])  # only a raw image differs in channels
            seen = torch.where(has_ir & ~has_rgb, b, a), torch.where(has_rgb & ~has_ir, a, b)
            fused[tap] = self.fusion[_block_name(tap)](*seen)
        features = self.trunk(fused)
        return {"trunk": features[max(features)]}


def _is_lit(image: Tensor) -> Tensor:
    """Return whether an image of the batch is not black throughout, (B, 1, 1, 1)."""
    return image.amax((1, 2, 3), keepdim=True) > 0


def _block_name(tap: int) -> str:
    return "image" if tap < 0 else str(tap)


class DecisionDetector(TwoStreamDetector):
    """Detector with a complete model per modality; their boxes are merged after decoding."""

    def forward(self, rgb: Tensor, ir: Tensor) -> dict[str, HeadOutput]:
        """Return a head output for each image of a pair."""
        from_rgb, from_ir = self._streams(rgb, ir)
        return {"rgb": from_rgb[max(from_rgb)], "ir": from_ir[max(from_ir)]}

    @property
    def heads(self) -> dict[str, Any]:
        """Return a head per modality; the same one twice where weights are shared."""
        heads = super().heads
        return {"rgb": heads["rgb"], "ir": heads.get("ir", heads["rgb"])}
