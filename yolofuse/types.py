"""Define the types shared by all packages: a pair on disk, a sample, and detections; without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
Modality = Literal["rgb", "ir"]
Orientation = Literal["apply", "ignore"]
FusionInit = Literal["average", "rgb", "ir", "scheme"]
CHANNELS: Mapping[Modality, slice] = {"rgb": slice(0, 3), "ir": slice(3, 4)}
"""Channels of each modality in an array or a batch of pairs."""
ByteArray = npt.NDArray[np.uint8]
PixelArray = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class PairFormat:
    """Rules by which the two files of a pair become one array in the pixels of one of them, the frame.

    Attributes:
        frame: The modality whose pixel coordinates labels and results use.
        affine: (a, b, c, d, e, f): pixel (x, y) of the other modality lies at ``(ax + by + c, dx + ey + f)`` of the
            frame. None: the other image is stretched over the whole frame, which does nothing where sizes are equal.
        ir_window: Thermal counts, as stored in the file, that become 0 and full scale; None where 8 bits are used
            as stored.
        bits: 8 or 16 per channel of the array.
        orientation: Whether an image that is stored turned or mirrored is read upright, as its EXIF says.
        stacked: Whether one file holds both images, as four channels.
    """

    frame: Modality = "rgb"
    affine: tuple[float, ...] | None = None
    ir_window: tuple[float, float] | None = None
    bits: Literal[8, 16] = 8
    orientation: Orientation = "apply"
    stacked: bool = False


PAIR_FORMATS = TypeAdapter(tuple[PairFormat, ...])
"""Reads the rules that a checkpoint holds."""


@dataclass(frozen=True, slots=True)
class PairRecord:
    """One scene, seen by two cameras, as files on disk.

    Attributes:
        image_id: Stable integer id, unique within the split (1, 2, ... in the order of the split).
        key: Name of the pair: its path relative to its folder, without extension.
        rgb: File of the visible image; the source's folder, which can't be read as an image, where it is missing.
        ir: File of the thermal image, likewise.
        label: YOLO txt file, or None where the pair has none (a background image, or labels from COCO JSON).
        rgb_hw: Height and width of the visible image in pixels, as it is read; those of the other where it is missing.
        ir_hw: Height and width of the thermal image in pixels.
        format: Rules for reading the files; shared by all pairs of a source.
        tags: Labels for slices of the evaluation, such as ``{"daynight": "night"}``.
        missing: The camera that has no image of the scene, for which black stands; see ``data.missing``.
    """

    image_id: int
    key: str
    rgb: Path
    ir: Path
    label: Path | None
    rgb_hw: tuple[int, int]
    ir_hw: tuple[int, int]
    format: PairFormat = PairFormat()
    tags: Mapping[str, str] = field(default_factory=dict)
    missing: Modality | None = None

    @property
    def size_hw(self) -> tuple[int, int]:
        """Return height and width of the frame in pixels, to which labels and results refer."""
        return self.rgb_hw if self.format.frame == "rgb" else self.ir_hw

    @property
    def frame_name(self) -> str:
        """Return the name of the file whose pixels are the frame, to which results refer, in the form of ``key``.

        A key is the path of the visible file below some folder, or of the thermal file where it is the only one; the
        frame's name has as many folders. Where a key was chosen freely, it is the file's own name in the key's folder.
        """
        shown = "ir" if self.missing == "rgb" or (self.format.frame == "ir" and self.missing is None) else "rgb"
        file = self.ir if shown == "ir" else self.rgb
        keyed = self.ir if self.missing == "rgb" else self.rgb
        key = PurePosixPath(self.key).parts
        parts = keyed.with_suffix("").parts
        shared = 0
        while shared < min(len(key), len(parts)) and key[-1 - shared] == parts[-1 - shared]:
            shared += 1
        count = max(shared, 1)
        return "/".join([*key[:-count], *file.parts[-count:]])


@dataclass(slots=True)
class PairedSample:
    """One training or evaluation sample, still on the CPU.

    Attributes:
        image: uint8 or, for deep thermal sources, uint16 (H, W, 4): R, G, B, IR.
        boxes_xyxy: float32 (N, 4) in pixels of ``image``.
        class_ids: int64 (N,).
        image_id: The record's id.
        size_hw: Height and width of the original pair in pixels.
        letterbox: (gain, pad_left, pad_top): original pixel * gain + pad = pixel of ``image``. (1, 0, 0) in training.
    """

    image: PixelArray
    boxes_xyxy: FloatArray
    class_ids: IntArray
    image_id: int
    size_hw: tuple[int, int]
    letterbox: tuple[float, float, float] = (1.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Detections:
    """Detections in one pair, highest score first.

    Attributes:
        image_id: The record's id.
        boxes_xyxy: float32 (N, 4) in original image pixels.
        scores: float32 (N,) in 0..1.
        class_ids: int64 (N,), counted from 0.
    """

    image_id: int
    boxes_xyxy: FloatArray
    scores: FloatArray
    class_ids: IntArray

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, min_score: float) -> Detections:
        """Return the detections from a score on."""
        return self.where(self.scores >= min_score)

    def where(self, kept: np.ndarray) -> Detections:
        """Return those of the detections for which ``kept``, bool (N,), holds."""
        return Detections(self.image_id, self.boxes_xyxy[kept], self.scores[kept], self.class_ids[kept])
