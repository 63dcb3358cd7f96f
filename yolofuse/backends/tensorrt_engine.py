"""Run an engine of TensorRT, where it is installed. Engines hold machine code: they are loaded only where trusted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from yolofuse.backends.backend import Backend
from yolofuse.backends.metadata import MAX_BYTES, ExportMetadata, not_an_export, parse_metadata
from yolofuse.errors import ConfigError, WeightsError

MAGIC = b"yolofuse engine\n"
"""First bytes of a file; the length of the metadata (4 bytes, little-endian), the metadata and the engine follow."""


class TensorrtBackend(Backend):
    """An engine on the first GPU; its images are copied there and its boxes back."""

    def __init__(self, path: Path) -> None:
        """Load the file, which its caller trusts.

        Raises:
            ConfigError: If TensorRT or a GPU is missing.
            WeightsError: If the file is damaged, no export of yolofuse, or of another TensorRT or GPU.
        """
        trt = import_tensorrt(path)
        metadata, engine = read_engine(path)
        super().__init__(path, metadata)
        self._engine = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(engine)
        if self._engine is None:
            raise WeightsError(f"{path}: damaged, or built by another TensorRT or for another GPU; export it here")
        self._context = self._engine.create_execution_context()
        self._outputs = [
            name
            for name in map(self._engine.get_tensor_name, range(self._engine.num_io_tensors))
            if self._engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT
        ]
        self.runtime = f"tensorrt {trt.__version__}"

    def _infer(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        tensors = {
            name: torch.from_numpy(image).cuda() for name, image in zip(self.metadata.input_names, inputs, strict=True)
        }
        for name, tensor in tensors.items():
            if not self._context.set_input_shape(name, tuple(tensor.shape)):
                raise ConfigError(f"{self.path}: was not built for images of shape {tuple(tensor.shape)}")
        for name in self._outputs:
            tensors[name] = torch.empty(tuple(self._context.get_tensor_shape(name)), device="cuda")
        for name, tensor in tensors.items():
            self._context.set_tensor_address(name, tensor.data_ptr())
        stream = torch.cuda.current_stream()
        self._context.execute_async_v3(stream.cuda_stream)
        stream.synchronize()
        return [tensors[name].cpu().numpy() for name in self._outputs]


def import_tensorrt(where: Path) -> Any:
    """Return the package tensorrt.

    Raises:
        ConfigError: If it or a GPU is missing.
    """
    try:
        import tensorrt
    except ImportError:
        raise ConfigError(
            f"{where}: needs TensorRT, which is not installed here: pip install tensorrt; on a CPU use onnx or openvino"
        ) from None
    if not torch.cuda.is_available():
        raise ConfigError(f"{where}: needs a GPU, and torch sees none; use onnx or openvino")
    return tensorrt


def read_engine(path: Path) -> tuple[ExportMetadata, bytes]:
    """Read a file's metadata and the engine.

    Raises:
        WeightsError: If it is not one of yolofuse.
    """
    content = path.read_bytes()
    start = len(MAGIC) + 4
    size = int.from_bytes(content[len(MAGIC) : start], "little")
    if not content.startswith(MAGIC) or size > min(MAX_BYTES, len(content) - start):
        raise not_an_export(path)
    return parse_metadata(content[start : start + size], path), content[start + size :]
