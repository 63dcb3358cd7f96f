"""Run a model of OpenVINO (.xml with .bin), after checking that it is nothing but a graph of its operators."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import defusedxml.ElementTree
import numpy as np
import torch

from yolofuse.backends.backend import Backend
from yolofuse.backends.metadata import KEY, ExportMetadata, not_an_export, parse_metadata
from yolofuse.errors import ConfigError, WeightsError
from yolofuse.extras import install_line
from yolofuse.files import open_regular

_MAX_XML = 64 << 20
_OPSET = re.compile(r"opset\d{1,2}")
_GRAPHS = {"If", "Loop", "TensorIterator"}


class OpenvinoBackend(Backend):
    """A model of OpenVINO on the CPU, in the precision that its metadata name."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """Check the files and load them; arguments and errors as of :func:`yolofuse.backends.open_export`."""
        try:
            import openvino
        except ImportError:
            raise ConfigError(f"{path}: needs openvino: {install_line('openvino')}") from None
        xml, weights, metadata = read_model_files(path)
        super().__init__(path, metadata)
        # OpenVINO computes in bf16 where the processor can, unless it is told.
        hint = "bf16" if metadata.precision == "bf16" else "f32"
        options = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads or torch.get_num_threads()}
        core = openvino.Core()
        try:
            self._model = core.compile_model(core.read_model(xml, weights), "CPU", options)
        except RuntimeError as error:
            raise _damaged(path, error) from None
        found = {entry.get_any_name() for entry in self._model.inputs}
        if found != set(metadata.input_names):
            raise WeightsError(f"{path}: damaged: its inputs are {sorted(found)}, not {metadata.input_names}")
        self.runtime = f"openvino {openvino.__version__.partition('-')[0]}"

    @property
    def precision(self) -> str:
        """Return the precision in which it computes here: processors without bf16 take fp32."""
        is_fp32 = self._model.get_property("INFERENCE_PRECISION_HINT").to_string() in {"f32", "float32"}
        return "fp32: no bf16 on this CPU" if self.metadata.precision == "bf16" and is_fp32 else super().precision

    def _infer(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        try:
            results = self._model(dict(zip(self.metadata.input_names, inputs, strict=True)))
        except RuntimeError as error:
            raise _damaged(self.path, error) from None
        return [results[output] for output in self._model.outputs]


def _damaged(path: Path, error: Exception) -> WeightsError:
    reason = " ".join(str(error).split())[:300]
    return WeightsError(f"{path}: damaged, or for another OpenVINO: {reason}")


def read_model_files(path: Path) -> tuple[bytes, bytes, ExportMetadata]:
    """Read the graph, its weights and its metadata.

    Raises:
        WeightsError: If a file is missing or damaged, the weights are not those of the graph, or it holds operators
            that are not OpenVINO's own, or loops.
    """
    with open_regular(path) as stream:
        xml = stream.read(_MAX_XML + 1)
    try:
        root = defusedxml.ElementTree.fromstring(xml, forbid_dtd=True)
    except (ValueError, SyntaxError):  # also what defusedxml forbids
        raise WeightsError(f"{path}: damaged, or no model of OpenVINO") from None
    stored = root.find(f"rt_info/{KEY}")
    if stored is None or "value" not in stored.attrib or root.tag != "net":
        raise not_an_export(path)
    problem = next(_problems(root), "over 64 MiB of graph" if len(xml) > _MAX_XML else "")
    if problem:
        raise WeightsError(f"{path}: holds {problem}; yolofuse writes no such file and does not run it")
    metadata = parse_metadata(stored.attrib["value"], path)
    beside = path.with_suffix(".bin")
    try:
        with open_regular(beside) as stream:
            weights = stream.read()
    except OSError as error:
        raise WeightsError(
            f"{beside}: cannot be read ({error.strerror}); it holds the weights of {path.name}"
        ) from None
    if hashlib.sha256(weights).hexdigest() != metadata.bin_sha256:
        raise WeightsError(f"{beside}: not the weights of {path.name}, or damaged (SHA-256 differs); copy both files")
    return xml, weights, metadata


def _problems(root: Any) -> Iterator[str]:
    """Yield what a plain graph of OpenVINO's operators would not have."""
    for layer in root.iter("layer"):
        kind, version = layer.get("type", ""), layer.get("version", "")
        if not _OPSET.fullmatch(version):
            yield f"an operator of its own ({kind[:80]!r} of {version[:80]!r})"
        if kind in _GRAPHS:
            yield f"a loop or a branch ({kind})"
