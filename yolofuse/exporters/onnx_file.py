"""Write a detector as ONNX."""

from __future__ import annotations

import io
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from yolofuse.backends.metadata import KEY, ExportMetadata
from yolofuse.errors import ConfigError
from yolofuse.exporters.module import ExportModule, example_inputs
from yolofuse.exporters.onnx_nms import append_nms
from yolofuse.exporters.options import ExportOptions
from yolofuse.extras import install_line

if TYPE_CHECKING:
    import onnx

_OPSET, _DYNAMO_OPSET = 17, 20
_MAX_BYTES = (2 << 30) - 1  # of protobuf


def write_onnx(module: ExportModule, metadata: ExportMetadata, options: ExportOptions, path: Path) -> None:
    """Write a detector, its metadata and, if they ask for it, the NMS, as one ONNX file.

    Raises:
        ConfigError: If onnx is not installed, or the detector is too large for one file.
    """
    model = build_onnx(module, metadata, options)
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, metadata.model_dump_json()
    content = model.SerializeToString()
    if len(content) > _MAX_BYTES:
        raise ConfigError(f"{path}: would have over 2 GiB, more than an ONNX file can hold; use another format")
    path.write_bytes(content)


def build_onnx(module: ExportModule, metadata: ExportMetadata, options: ExportOptions) -> onnx.ModelProto:
    """Trace a detector to an ONNX graph, with the NMS if the metadata ask for it."""
    try:
        import onnx

        if options.dynamo:
            import onnxscript  # noqa: F401 - torch imports it while it exports
    except ImportError as error:
        raise ConfigError(f"format: onnx needs the package {error.name}: {install_line('onnx')}") from None
    inputs = example_inputs(metadata)
    names = [f"output_{name}" for name in metadata.heads]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the tracer: what it warns of is tested
        model = (_traced_by_dynamo if options.dynamo else _traced)(module, inputs, metadata, options, names)
    loaded: onnx.ModelProto = onnx.load_model_from_string(model) if isinstance(model, bytes) else model
    if metadata.nms is not None:
        append_nms(loaded, len(metadata.names), metadata.nms)
    del loaded.graph.value_info[:]  # shapes of the traced size, where dimensions are free
    onnx.checker.check_model(loaded)
    return loaded


def _traced(
    module: ExportModule,
    inputs: tuple[Tensor, ...],
    metadata: ExportMetadata,
    options: ExportOptions,
    outputs: list[str],
) -> bytes:
    free = {0: "batch"} if metadata.size_hw else {0: "batch", 2: "height", 3: "width"}
    found = {0: "batch", 1: "boxes"} if module.detector.end2end and not module.merged else {0: "batch", 2: "anchors"}
    stream = io.BytesIO()
    is_wide = metadata.pixels == "uint16"
    torch.onnx.export(
        module,
        tuple(image.int() for image in inputs) if is_wide else inputs,  # the tracer knows no uint16
        stream,  # type: ignore[arg-type]
        dynamo=False,
        opset_version=options.opset or _OPSET,
        input_names=list(metadata.input_names),
        output_names=outputs,
        dynamic_axes={**dict.fromkeys(metadata.input_names, free), **dict.fromkeys(outputs, found)},
    )
    if not is_wide:
        return stream.getvalue()
    import onnx

    model = onnx.load_model_from_string(stream.getvalue())
    for entry in model.graph.input:
        entry.type.tensor_type.elem_type = onnx.TensorProto.UINT16
    content: bytes = model.SerializeToString()
    return content


def _traced_by_dynamo(
    module: ExportModule,
    inputs: tuple[Tensor, ...],
    metadata: ExportMetadata,
    options: ExportOptions,
    outputs: list[str],
) -> Any:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    program = torch.onnx.export(
        module,
        inputs,
        dynamo=True,
        verbose=False,
        opset_version=options.opset or _DYNAMO_OPSET,
        input_names=list(metadata.input_names),
        output_names=outputs,
        dynamic_shapes=dynamic_shapes(metadata),
    )
    assert program is not None
    return program.model_proto


def dynamic_shapes(metadata: ExportMetadata) -> tuple[dict[int, Any], ...]:
    """Return which dimensions of the inputs are free, as torch.export takes it."""
    batch = torch.export.Dim("batch", min=1, max=1024)
    free: dict[int, Any] = {0: batch}
    if metadata.size_hw is None:
        longest = (1 << 13) // metadata.stride
        for axis, name in ((2, "height"), (3, "width")):
            free[axis] = torch.export.Dim(name, min=2, max=longest) * metadata.stride
    return (free,) * len(metadata.input_names)
