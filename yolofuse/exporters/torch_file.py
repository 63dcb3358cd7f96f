"""Write a detector as TorchScript, or as a program of torch.export."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from yolofuse.backends.metadata import KEY, ExportMetadata
from yolofuse.exporters.module import ExportModule, example_inputs
from yolofuse.exporters.onnx_file import dynamic_shapes


def write_torch(module: ExportModule, metadata: ExportMetadata, path: Path) -> None:
    """Write a detector with its metadata, as TorchScript, or as torch.export's program if ``path`` ends with .pt2."""
    inputs = example_inputs(metadata)
    extra = {KEY: metadata.model_dump_json()}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the tracer: what it warns of is tested
        if path.suffix == ".pt2":
            program = torch.export.export(module, inputs, dynamic_shapes=dynamic_shapes(metadata))
            torch.export.save(program, path, extra_files=extra)
        else:
            traced = torch.jit.trace(module, inputs, check_trace=False)  # type: ignore[no-untyped-call]
            torch.jit.save(traced, str(path), _extra_files=extra)
