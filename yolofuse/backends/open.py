"""Open an exported file with the runtime of its format."""

from __future__ import annotations

import stat
from pathlib import Path

from yolofuse.backends.backend import Backend
from yolofuse.errors import WeightsError

SUFFIXES = (".onnx", ".xml", ".torchscript", ".pt2", ".engine")
PROGRAMS = (".torchscript", ".pt2", ".engine")
"""Formats that are programs: to load one is to run it."""
_MAX_BYTES = 2 << 30


def is_export(path: Path) -> bool:
    """Return whether a file has the name of an exported one."""
    return path.suffix.lower() in SUFFIXES


def open_export(path: Path, *, trust: bool = False, threads: int | None = None) -> Backend:
    """Open an exported detector.

    Args:
        path: A ``.onnx``, ``.xml`` (OpenVINO), ``.torchscript``, ``.pt2`` or ``.engine`` (TensorRT) file.
        trust: Load formats that are programs too, which could do anything.
        threads: Of the runtime; None: as many as torch has.

    Raises:
        ConfigError: If the runtime is not installed.
        WeightsError: If the file is missing, damaged, no export of yolofuse, refers to other files or to operators of
            its own, or is a program and not trusted.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise WeightsError(f"{path}: is no exported model; they end with {', '.join(SUFFIXES)}")
    try:
        status = path.stat()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    if not stat.S_ISREG(status.st_mode):
        raise WeightsError(f"{path}: no plain file; name an exported model")
    if status.st_size > _MAX_BYTES:
        raise WeightsError(f"{path}: has over 2 GiB, more than any detector; is it another file?")
    if suffix in PROGRAMS and not trust:
        raise WeightsError(
            f"{path}: a {suffix} file is a program that runs when it is loaded; if you made it, or trust who did, load "
            "it with trust=True (--trust), else use ONNX"
        )
    if suffix == ".onnx":
        from yolofuse.backends.onnx_runtime import OnnxBackend

        return OnnxBackend(path, threads)
    if suffix == ".xml":
        from yolofuse.backends.openvino_ir import OpenvinoBackend

        return OpenvinoBackend(path, threads)
    if suffix == ".engine":
        from yolofuse.backends.tensorrt_engine import TensorrtBackend

        return TensorrtBackend(path)
    from yolofuse.backends.torch_program import TorchBackend

    return TorchBackend(path)
