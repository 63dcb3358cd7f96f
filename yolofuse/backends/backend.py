"""Define what an exported detector has in common with one of torch: heads, stride, and a call with a batch of pairs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from yolofuse.backends.metadata import FULL_SCALE, ExportMetadata
from yolofuse.errors import ConfigError, DataError, WeightsError

_LEVEL = 0.02  # how far a pixel may lie from a whole number, for rounding of 0..1 in float32
_NMS_COLUMNS = 7  # image, x1, y1, x2, y2, score, class


@dataclass
class ExportedHead:
    """Stands for a detection head; attributes are those of a head of torch."""

    max_det: int
    nc: int
    end2end: bool
    num_kept: int = 0


class Backend(ABC):
    """An exported detector in a runtime; evaluation and prediction use it as they use a ``Detector``.

    Attributes:
        path: The file.
        metadata: What it says about itself.
        runtime: Name and version of what runs it.
    """

    runtime: str
    device = torch.device("cpu")

    def __init__(self, path: Path, metadata: ExportMetadata) -> None:
        self.path = path
        self.metadata = metadata
        self.heads: dict[str, ExportedHead] = {
            name: ExportedHead(metadata.max_det, len(metadata.names), self.end2end) for name in metadata.heads
        }

    @property
    def precision(self) -> str:
        """Return the precision in which it computes here."""
        return self.metadata.precision

    @property
    def end2end(self) -> bool:
        """Return whether the outputs are final boxes."""
        return self.metadata.end2end or self.metadata.nms is not None

    @property
    def stride(self) -> int:
        """Return the number of pixels that image sides must be multiples of."""
        return self.metadata.stride

    def eval(self) -> Self:
        """Return the backend: it only infers."""
        return self

    def to(self, device: torch.device) -> Self:
        """Return the backend; its runtime chooses the device."""
        return self

    def __call__(self, rgb: Tensor, ir: Tensor) -> dict[str, tuple[Tensor, dict[str, Any]]]:
        """Return each head's output as a detector of torch does; there are no raw outputs beside it.

        Raises:
            ConfigError: If the file was exported for images of another size.
            DataError: If it takes 8 bits, and the images have more.
            WeightsError: If the file computes something else than its metadata say.

        Shapes:
            rgb: (B, 3, H, W), ir: (B, 1, H, W), floating 0..1
        """
        size_hw = tuple(rgb.shape[2:])
        if self.metadata.size_hw not in {None, size_hw}:
            raise ConfigError(
                f"{self.path}: takes images of {self.metadata.size_hw} pixels (height, width), not {size_hw}; export "
                "it without --size, or set val.letterbox and val.imgsz to what it takes"
            )
        images = {"rgb": rgb, "ir": ir, "images": torch.cat([rgb, ir], 1)}
        inputs = [self._to_levels(images[name].float().cpu()) for name in self.metadata.input_names]
        outputs = [torch.from_numpy(np.array(output, np.float32)) for output in self._infer(inputs)]
        if len(outputs) != len(self.heads):
            raise WeightsError(f"{self.path}: damaged: {len(outputs)} outputs, where {len(self.heads)} are announced")
        return {
            name: (self._checked(output, len(rgb)).to(rgb.device), {})
            for name, output in zip(self.heads, outputs, strict=True)
        }

    def check_limits(self, conf: float, iou: float, max_det: int) -> None:
        """Check limits of detection against those that are fixed in the file.

        Raises:
            ConfigError: If the file can't keep to them.
        """
        fixed = self.metadata.nms
        if fixed is not None and iou != fixed.iou:
            raise ConfigError(f"{self.path}: its NMS has iou={fixed.iou:g}, not {iou:g}; export it without nms")
        if fixed is not None and conf < fixed.conf:
            raise ConfigError(
                f"{self.path}: its NMS has conf={fixed.conf:g} and drops what scores less (got conf={conf:g}); export "
                "it with a lower conf, or without nms"
            )
        if self.end2end and max_det > self.metadata.max_det:
            raise ConfigError(
                f"{self.path}: has max_det={self.metadata.max_det} inside (got {max_det}); export it with more"
            )

    @abstractmethod
    def _infer(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Return the outputs for inputs in the order and the type of the metadata."""

    def _to_levels(self, image: Tensor) -> np.ndarray:
        """Scale an image from 0..1 to the pixels that the file takes, exactly as they were read."""
        pixels = self.metadata.pixels
        if pixels == "float32":
            return np.ascontiguousarray(image.numpy())
        levels = image * FULL_SCALE[pixels]
        rounded = levels.round()
        if pixels == "uint8" and (levels - rounded).abs().max() > _LEVEL:
            raise DataError(f"{self.path}: takes images of 8 bits, and these have more; export it with pixels=uint16")
        return np.ascontiguousarray(rounded.numpy().astype(pixels))

    def _checked(self, output: Tensor, num_images: int) -> Tensor:
        """Return an output as a head's, if its shape and its classes are those that the metadata announce."""
        num_classes = len(self.metadata.names)
        if self.metadata.nms is not None and output.ndim == 2 and output.shape[1] == _NMS_COLUMNS:
            output = _by_image(output, num_images)
        width = output.shape[-1 if self.end2end else 1] if output.ndim == 3 else 0
        if len(output) != num_images or width != (6 if self.end2end else 4 + num_classes):
            raise WeightsError(
                f"{self.path}: damaged: an output of shape {tuple(output.shape)} for {num_images} images and "
                f"{num_classes} classes"
            )
        if self.end2end and ((output[..., 5] < 0) | (output[..., 5] >= num_classes)).any():
            raise WeightsError(f"{self.path}: damaged: an output names a class that the file does not have")
        return output


def _by_image(rows: Tensor, num_images: int) -> Tensor:
    """Sort rows of all images into one list per image, best first, filled up with rows of score 0.

    Shapes:
        rows: (N, 7): image, x1, y1, x2, y2, score, class -> (B, K, 6)
    """
    rows = rows[rows[:, 5].argsort(descending=True, stable=True)]
    parts = [rows[rows[:, 0] == image, 1:] for image in range(num_images)]
    return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
