"""Run an ONNX file in ONNX Runtime, after checking that it is nothing but a graph of standard operators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from yolofuse.backends.backend import Backend
from yolofuse.backends.metadata import KEY, ExportMetadata, not_an_export, parse_metadata
from yolofuse.errors import ConfigError, WeightsError
from yolofuse.extras import install_line
from yolofuse.files import open_regular

if TYPE_CHECKING:
    import onnx

_STANDARD = {"", "ai.onnx"}
_GRAPHS = {"If", "Loop", "Scan", "SequenceMap"}
_INPUT_TYPES = {"uint8": "tensor(uint8)", "uint16": "tensor(uint16)", "float32": "tensor(float)"}


class OnnxBackend(Backend):
    """An ONNX file in ONNX Runtime, on the CPU."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """Check the file and load it; arguments and errors as of :func:`yolofuse.backends.open_export`."""
        try:
            import onnxruntime
        except ImportError:
            raise ConfigError(f"{path}: needs onnx and onnxruntime: {install_line('onnx')}") from None
        with open_regular(path) as stream:
            content = stream.read()
        metadata = check_model(content, path)
        super().__init__(path, metadata)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        # Threads that wait by spinning take the time of those that work, where others use the machine too.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # errors are raised
        try:
            # From memory, so that what is run is what was checked.
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common class
            raise _damaged(path, error) from None
        found = {entry.name: entry.type for entry in self._session.get_inputs()}
        expected = dict.fromkeys(metadata.input_names, _INPUT_TYPES[metadata.pixels])
        if found != expected:
            raise WeightsError(f"{path}: damaged: its inputs are {found}, where {expected} are announced")
        self.runtime = f"onnxruntime {onnxruntime.__version__}"

    def _infer(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        try:
            outputs: list[np.ndarray] = self._session.run(
                None, dict(zip(self.metadata.input_names, inputs, strict=True))
            )
        except Exception as error:
            raise _damaged(self.path, error) from None
        return outputs


def _damaged(path: Path, error: Exception) -> WeightsError:
    reason = " ".join(str(error).split())[:300]
    return WeightsError(f"{path}: damaged, or for another ONNX Runtime: {reason}")


def check_model(content: bytes, path: Path) -> ExportMetadata:
    """Read an ONNX file's metadata, if the rest of it is a plain graph.

    Raises:
        ConfigError: If onnx is not installed.
        WeightsError: If it is damaged, has no metadata of yolofuse, data in other files, operators that are not ONNX's
            own, or parts that call each other.
    """
    try:
        import onnx
    except ImportError:
        raise ConfigError(f"{path}: needs onnx and onnxruntime: {install_line('onnx')}") from None
    try:
        model = onnx.load_model_from_string(content)  # of a text, it opens no other file
    except Exception:  # of protobuf
        raise WeightsError(f"{path}: damaged, or no ONNX file") from None
    stored = [entry.value for entry in model.metadata_props if entry.key == KEY]
    if len(stored) != 1:
        raise not_an_export(path)
    problem = next(_problems(model), "")
    if problem:
        raise WeightsError(f"{path}: {problem}; yolofuse writes no such file and does not run it")
    return parse_metadata(stored[0], path)


def _problems(model: onnx.ModelProto) -> Iterator[str]:
    """Yield what a plain graph of standard operators would not have."""
    if model.functions:
        yield "holds functions of its own"
    if model.training_info:
        yield "holds a training program"
    domains = {entry.domain for entry in model.opset_import} | {node.domain for node in model.graph.node}
    if foreign := sorted(domains - _STANDARD):
        yield f"uses operators of {foreign[0][:80]!r}, which are not ONNX's own"
    for tensor in _tensors(model.graph):
        if tensor.data_location == tensor.EXTERNAL or tensor.external_data:
            yield "keeps weights in another file"
    if model.graph.sparse_initializer or any(
        entry.sparse_tensor.ByteSize() for node in model.graph.node for entry in node.attribute
    ):
        yield "has sparse weights"
    for node in model.graph.node:
        if node.op_type in _GRAPHS or any(entry.HasField("g") or entry.graphs for entry in node.attribute):
            yield f"has a loop or a branch ({node.op_type[:80]})"


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        for entry in node.attribute:
            if entry.HasField("t"):
                yield entry.t
            yield from entry.tensors
