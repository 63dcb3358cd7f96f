"""Turn a detector into a module that can be traced: pixels as cameras give them in, decoded boxes out."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from yolofuse.backends.metadata import FULL_SCALE, ExportMetadata, Inputs
from yolofuse.model import Detector
from yolofuse.model.heads import hide_kept_classes
from yolofuse.upstream import fold_layers, set_export_mode


class ExportModule(nn.Module):
    """A detector with scaling of pixels before it, and a tensor per head after it.

    Shapes:
        -> per head (B, 4 + classes, anchors), or (B, max_det, 6) of an end-to-end one; both heads of a detector that
        fuses decisions are joined along the anchors where ``metadata.heads`` is ``merged``.
    """

    def __init__(self, detector: Detector, metadata: ExportMetadata) -> None:
        """Prepare a copy of the detector, with its BatchNorm folded."""
        super().__init__()
        self.detector = copy.deepcopy(detector).cpu().eval().requires_grad_(requires_grad=False)
        fold_layers(self.detector)
        set_export_mode(self.detector, metadata.max_det)
        self.full_scale = FULL_SCALE[metadata.pixels]
        self.merged = metadata.heads == ("merged",)
        self.num_classes = len(metadata.names)

    def detect(self, rgb: Tensor, ir: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the outputs for a pair of inputs."""
        found = self.detector(self._scaled(rgb), self._scaled(ir))
        outputs = []
        for name, head in self.detector.heads.items():
            output = found[name] if isinstance(found[name], Tensor) else found[name][0]
            outputs.append(hide_kept_classes(head, output))
        if self.merged:
            rows = [self._as_candidates(output) if self.detector.end2end else output for output in outputs]
            return torch.cat(rows, 2)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _scaled(self, image: Tensor) -> Tensor:
        # A product with 1 / 255 would differ from what training did.
        return image.float() / self.full_scale if self.full_scale > 1 else image

    def _as_candidates(self, rows: Tensor) -> Tensor:
        """Write final boxes as candidates of NMS: (B, K, 6) -> (B, 4 + classes, K)."""
        low, high = rows[..., :2], rows[..., 2:4]
        is_class = rows[..., 5:] == torch.arange(self.num_classes, device=rows.device)
        parts = [(low + high) / 2, high - low, torch.where(is_class, rows[..., 4:5], 0.0)]
        return torch.cat(parts, -1).transpose(1, 2)


class PairModule(ExportModule):
    """Takes two inputs: (B, 3, H, W), R G B, and (B, 1, H, W)."""

    def forward(self, rgb: Tensor, ir: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the outputs for a batch of pairs."""
        return self.detect(rgb, ir)


class StackedModule(ExportModule):
    """Takes one input: (B, 4, H, W), R G B IR."""

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the outputs for a batch of pairs."""
        return self.detect(images[:, :3], images[:, 3:])


class RgbModule(ExportModule):
    """Takes the visible image alone: (B, 3, H, W)."""

    def forward(self, rgb: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the outputs for a batch of images."""
        return self.detect(rgb, rgb[:, :1])


class IrModule(ExportModule):
    """Takes the thermal image alone: (B, 1, H, W)."""

    def forward(self, ir: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the outputs for a batch of images."""
        return self.detect(ir, ir)


MODULES: dict[Inputs, type[ExportModule]] = {
    "pair": PairModule,
    "stacked": StackedModule,
    "rgb": RgbModule,
    "ir": IrModule,
}


def export_module(detector: Detector, metadata: ExportMetadata) -> ExportModule:
    """Return the module for what the metadata say about the inputs."""
    return MODULES[metadata.inputs](detector, metadata).eval()


def example_inputs(metadata: ExportMetadata) -> tuple[Tensor, ...]:
    """Return inputs to trace with: a batch of two, unequal sides."""
    # Area attention divides the cells of a level by four.
    height, width = metadata.size_hw or (4 * metadata.stride, 8 * metadata.stride)
    generator = torch.Generator().manual_seed(0)
    dtype = getattr(torch, metadata.pixels)
    shapes = [(2, channels, height, width) for channels in metadata.input_channels]
    return tuple(
        (torch.rand(shape, generator=generator) * FULL_SCALE[metadata.pixels]).to(torch.float32).to(dtype)
        for shape in shapes
    )
