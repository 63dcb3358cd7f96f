"""Define what can be chosen of an exported file; nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from yolofuse.backends.metadata import Inputs, Pixels, Precision
from yolofuse.config.parts import check_name
from yolofuse.errors import ConfigError


@dataclass(frozen=True)
class Format:
    """A format of files.

    Attributes:
        suffix: Of the file.
        precisions: In which it can compute; the first is the default.
        has_nms: Whether NMS can be inside.
    """

    suffix: str
    precisions: tuple[Precision, ...]
    has_nms: bool


FORMATS: Mapping[str, Format] = {
    "onnx": Format(".onnx", ("fp32",), True),
    "openvino": Format(".xml", ("fp32", "bf16", "int8"), True),
    "torchscript": Format(".torchscript", ("fp32",), False),
    "pt2": Format(".pt2", ("fp32",), False),
    "engine": Format(".engine", ("fp32", "fp16"), False),
    "ultralytics": Format(".pt", ("fp32",), False),
}


@dataclass(frozen=True)
class ExportOptions:
    """What an exported file is like.

    Attributes:
        format: One of :data:`FORMATS`.
        out: The file; None: ``RUN-NAME[-PRECISION]`` beside the weights.
        nms: Do non-maximum suppression inside. Boxes are then rows of image, x1, y1, x2, y2, score, class.
        conf: Score that a box must exceed in the NMS inside.
        inputs: ``pair``: two inputs, ``rgb`` and ``ir``; ``stacked``: one, ``images``, of four channels.
        pixels: Type of the inputs; None: uint8, or uint16 where thermal images are deep. float32 is 0..1.
        precision: None: fp32.
        size_hw: Height and width in pixels that the input is fixed to; None: any multiples of the stride.
        opset: Of ONNX.
        dynamo: Let torch's newer exporter write the ONNX file; slower.
        force: Replace a file that is there.
    """

    format: str = "onnx"
    out: Path | None = None
    nms: bool = False
    conf: float = 0.25
    inputs: Inputs = "pair"
    pixels: Pixels | None = None
    precision: Precision | None = None
    size_hw: tuple[int, int] | None = None
    opset: int | None = None
    dynamo: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        """Check that they go together.

        Raises:
            ConfigError: If they do not.
        """
        check_name("format", self.format, FORMATS)
        chosen = FORMATS[self.format]
        for name, value, known in (
            ("inputs", self.inputs, ("pair", "stacked")),
            ("pixels", self.pixels, (None, "uint8", "uint16", "float32")),
            ("precision", self.precision, (None, *chosen.precisions)),
        ):
            if value not in known:
                names = ", ".join(str(choice) for choice in known if choice)
                raise ConfigError(f"{name}: {value!r} does not go with format={self.format} (known: {names})")
        if self.format == "ultralytics" and (self.pixels or self.size_hw or self.inputs != "pair"):
            raise ConfigError("format: inputs, pixels and size of an ultralytics file are ultralytics' own")
        if self.nms and not chosen.has_nms:
            raise ConfigError(f"nms: not inside a {self.format} file; use onnx or openvino, or do it outside")
        if not 0 <= self.conf < 1:
            raise ConfigError(f"conf: must be from 0 to below 1 (got {self.conf:g})")
        lowest = 18 if self.dynamo else 13
        if self.opset is not None and not lowest <= self.opset <= 23:
            raise ConfigError(f"opset: must be {lowest} to 23 (got {self.opset})")

    @property
    def suffix(self) -> str:
        """Return the suffix of the file."""
        return FORMATS[self.format].suffix
