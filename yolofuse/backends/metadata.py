"""Define what an exported file says about itself, and read it without believing it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, field_validator, model_validator

from yolofuse.errors import WeightsError, listing, printable
from yolofuse.types import PairFormat

KEY = "yolofuse"
"""Name of the entry that holds the metadata, as JSON."""
MAX_BYTES = 4 << 20
Precision = Literal["fp32", "bf16", "int8", "fp16"]
Pixels = Literal["uint8", "uint16", "float32"]
Inputs = Literal["pair", "stacked", "rgb", "ir"]
_INPUTS: Mapping[Inputs, dict[str, int]] = {
    "pair": {"rgb": 3, "ir": 1},
    "stacked": {"images": 4},
    "rgb": {"rgb": 3},
    "ir": {"ir": 1},
}
HeadName = Literal["trunk", "rgb", "ir", "merged"]
_Text = Annotated[str, Field(max_length=200)]
_Side = Annotated[int, Field(ge=1, le=1 << 16)]
_Unit = Annotated[float, Field(ge=0, le=1)]
_MaxDet = Annotated[int, Field(ge=1, le=100_000)]
_Window = tuple[FiniteFloat, FiniteFloat]
FULL_SCALE: Mapping[Pixels, float] = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}
"""Value of white in the pixels that a file takes."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class NmsLimits(_Strict):
    """Limits of the non-maximum suppression inside a file; ``max_det`` holds per class there, per image afterwards."""

    conf: _Unit
    iou: _Unit
    max_det: _MaxDet


class ExportMetadata(_Strict):
    """What an exported file says about itself.

    Attributes:
        version: Of yolofuse.
        commit: Of its checkout.
        names: Class names, by class id.
        stride: Sides of the input are multiples of it, in pixels.
        imgsz: Longest side that a pair is scaled to, in pixels.
        letterbox: ``rect`` pads to the next multiple of the stride, ``square`` to ``imgsz`` on both sides; by grey, 114
            of 255, in the middle.
        size_hw: Height and width of the input; None: any multiples of the stride.
        formats: Rules by which the training pairs became arrays; several or none where pairs differ.
        overlays: How the images of the training pairs lay on each other, see ``Overlay``; empty: not known.
        ir_windows: Thermal windows of the training data, by source.
        config: The run's.
        heads: Outputs by name, in order: ``trunk``; ``rgb`` and ``ir``; or ``merged``, both of them in one.
        end2end: Whether rows are final boxes, (B, max_det, 6), rather than (B, 4 + classes, anchors).
        max_det: Number of rows of an end-to-end output.
        inputs: ``pair``: ``rgb`` (B, 3, H, W) R G B and ``ir`` (B, 1, H, W); ``stacked``: ``images`` (B, 4, H, W);
            ``rgb`` or ``ir``: of a detector for one camera.
        pixels: Type of the inputs; float32 is 0..1, the others are scaled inside.
        nms: Limits of the NMS inside; None: it is left to the caller.
        precision: In which it computes.
        weights_sha256: Of the checkpoint.
        epoch: Of the weights.
        data_hash: Of the training data.
        bin_sha256: Of the file of weights that lies beside the file, if there is one.
    """

    format: Literal["yolofuse-export"] = "yolofuse-export"
    format_version: Literal[1] = 1
    version: _Text
    commit: _Text
    names: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=200)], ...], Field(max_length=10_000)]
    stride: Annotated[int, Field(ge=1, le=1024)]
    imgsz: _Side
    letterbox: Literal["square", "rect"]
    size_hw: tuple[_Side, _Side] | None = None
    formats: Annotated[tuple[PairFormat, ...], Field(max_length=1000)]
    overlays: Annotated[tuple[tuple[FiniteFloat, ...], ...], Field(max_length=1000)] = ()
    ir_windows: Annotated[dict[_Text, _Window], Field(max_length=1000)] = {}
    config: dict[str, Any]
    heads: Annotated[tuple[HeadName, ...], Field(min_length=1, max_length=2)]
    end2end: bool
    max_det: _MaxDet
    inputs: Inputs
    pixels: Pixels
    nms: NmsLimits | None = None
    precision: Precision = "fp32"
    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    epoch: Annotated[int, Field(ge=0, le=10**12)]
    data_hash: _Text | None = None
    bin_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None

    @property
    def input_names(self) -> tuple[str, ...]:
        """Return the names of the inputs, in order."""
        return tuple(_INPUTS[self.inputs])

    @property
    def input_channels(self) -> tuple[int, ...]:
        """Return the channels of each input."""
        return tuple(_INPUTS[self.inputs].values())

    @field_validator("names")
    @classmethod
    def _are_printable(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names or not all(name.isprintable() for name in names):
            raise ValueError("class names must be printable, and at least one")
        return names

    @field_validator("formats")
    @classmethod
    def _are_possible(cls, formats: tuple[PairFormat, ...]) -> tuple[PairFormat, ...]:
        for rule in formats:
            if rule.affine is not None and (len(rule.affine) != 6 or not all(map(math.isfinite, rule.affine))):
                raise ValueError("affine must be six finite numbers")
            if rule.ir_window is not None and not -math.inf < rule.ir_window[0] < rule.ir_window[1] < math.inf:
                raise ValueError("ir_window must be two rising numbers")
        return formats

    @model_validator(mode="after")
    def _fits_together(self) -> ExportMetadata:
        if self.heads not in {("trunk",), ("rgb", "ir"), ("merged",)}:
            raise ValueError(f"heads: no detector has {' and '.join(self.heads)}")
        if self.imgsz % self.stride or any(side % self.stride for side in self.size_hw or ()):
            raise ValueError(f"imgsz and size_hw must be multiples of the stride, {self.stride}")
        if self.pixels == "uint8" and any(rule.bits == 16 for rule in self.formats):
            raise ValueError("pixels: uint8 for thermal images of 16 bits")
        return self


def parse_metadata(text: str | bytes, where: Path) -> ExportMetadata:
    """Read the metadata of a file.

    Raises:
        WeightsError: If it is not what yolofuse writes; everything wrong is listed.
    """
    if len(text) > MAX_BYTES:
        raise WeightsError(f"{where}: its metadata have {len(text):,} bytes, more than yolofuse writes")
    try:
        return ExportMetadata.model_validate_json(text)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        problems = [f"{'.'.join(map(str, wrong['loc'])) or 'all'}: {wrong['msg']}" for wrong in found]
        raise WeightsError(
            listing(f"{where}: not written by yolofuse, or damaged; export it again", list(map(printable, problems)))
        ) from None


def not_an_export(where: Path) -> WeightsError:
    """Return the error for a file without metadata."""
    return WeightsError(
        f"{where}: has no metadata of yolofuse, so that its classes and its preprocessing are unknown; write it with "
        "'yolofuse export'"
    )
