"""Write a detector as a model of OpenVINO, in fp32, for bf16, or quantised to int8."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from yolofuse.backends.metadata import FULL_SCALE, KEY, ExportMetadata
from yolofuse.batch import PairedBatch
from yolofuse.errors import ConfigError
from yolofuse.exporters.module import ExportModule
from yolofuse.exporters.onnx_file import build_onnx
from yolofuse.exporters.options import ExportOptions
from yolofuse.extras import install_line
from yolofuse.model.heads import HEAD_TYPES


def write_openvino(
    module: ExportModule,
    metadata: ExportMetadata,
    options: ExportOptions,
    path: Path,
    pairs: Sequence[PairedBatch] = (),
) -> None:
    """Write a detector as ``path`` (.xml), with its weights beside it (.bin).

    Args:
        module: The detector.
        metadata: Of the file; bf16 is computed from the same weights as fp32, as the metadata then ask for.
        options: Of the ONNX graph that it is made from.
        path: The file.
        pairs: For int8, from which the ranges are learnt.

    Raises:
        ConfigError: If a package is missing.
    """
    try:
        import openvino
    except ImportError:
        raise ConfigError(f"format: openvino needs the package openvino: {install_line('openvino')}") from None
    content = build_onnx(module, metadata, options).SerializeToString()
    model = openvino.Core().read_model(content)
    if metadata.size_hw is not None:  # fixed throughout it is faster
        model.reshape(
            {
                name: [1, channels, *metadata.size_hw]
                for name, channels in zip(metadata.input_names, metadata.input_channels, strict=True)
            }
        )
    if metadata.precision == "int8":
        model = _quantised(model, module, metadata, pairs)
    openvino.save_model(model, path, compress_to_fp16=False)
    digest = hashlib.sha256(path.with_suffix(".bin").read_bytes()).hexdigest()
    described = metadata.model_copy(update={"bin_sha256": digest})
    model.set_rt_info(described.model_dump_json(), [KEY])
    openvino.save_model(model, path, compress_to_fp16=False)


def _quantised(model: Any, module: ExportModule, metadata: ExportMetadata, pairs: Sequence[PairedBatch]) -> Any:
    """Return the model with 8-bit convolutions; what decodes boxes stays as it is, for pixels need more bits."""
    os.environ["NNCF_CI"] = "1"  # its telemetry would call a server
    try:
        import nncf
    except ImportError:
        raise ConfigError(f"precision: int8 needs the package nncf: {install_line('int8')}") from None
    inputs = [_inputs(pair, metadata) for pair in pairs]
    return nncf.quantize(
        model,
        nncf.Dataset(inputs),
        subset_size=len(inputs),
        # Sums of 8-bit products overflow on processors without VNNI, unless weights use half of their range.
        advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
        ignored_scope=nncf.IgnoredScope(names=_outside_of_layers(model, module), validate=False),
    )


def _outside_of_layers(model: Any, module: ExportModule) -> list[str]:
    """Return the operators of a graph that decode: those of heads outside of their branches, and what follows."""
    heads = [name.replace(".", "[./]") for name, part in module.named_modules() if isinstance(part, HEAD_TYPES)]
    branch = r"(one2one_)?(cv\d|m)\."  # of a head: a layer for each level
    in_layer = re.compile(rf"/detector/(?!{'|'.join(head.removeprefix('detector[./]') for head in heads)})")
    in_branch = re.compile(rf"/({'|'.join(heads)})/{branch}")
    names = (operator.get_friendly_name() for operator in model.get_ordered_ops())
    return [name for name in names if not (in_layer.match(name) or in_branch.match(name))]


def _inputs(pair: PairedBatch, metadata: ExportMetadata) -> dict[str, np.ndarray]:
    pixels = pair.to(torch.device("cpu")).pixels * FULL_SCALE[metadata.pixels]
    levels = pixels.numpy() if metadata.pixels == "float32" else pixels.round().numpy().astype(metadata.pixels)
    parts = {"rgb": levels[:, :3], "ir": levels[:, 3:], "images": levels}
    return {name: np.ascontiguousarray(parts[name]) for name in metadata.input_names}
