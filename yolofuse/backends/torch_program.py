"""Run a TorchScript or torch.export file. Both are programs: they are loaded only where the caller trusts them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from yolofuse.backends.backend import Backend
from yolofuse.backends.metadata import KEY, MAX_BYTES, ExportMetadata, not_an_export, parse_metadata
from yolofuse.errors import WeightsError


class TorchBackend(Backend):
    """A TorchScript (.torchscript) or torch.export (.pt2) file on the CPU."""

    def __init__(self, path: Path) -> None:
        """Load the file, which its caller trusts.

        Raises:
            WeightsError: If it is damaged, or no export of yolofuse.
        """
        super().__init__(path, read_metadata(path))
        try:
            self._module = _load(path)
        except (RuntimeError, ValueError, KeyError, OSError) as error:
            raise WeightsError(f"{path}: damaged, or of another torch: {' '.join(str(error).split())[:300]}") from None
        self.runtime = f"torch {torch.__version__} ({path.suffix[1:]})"

    def _infer(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        try:
            with torch.inference_mode():
                outputs = self._module(*map(torch.from_numpy, inputs))
        except (RuntimeError, AssertionError) as error:  # the latter of torch.export, for sizes
            shapes = ", ".join(str(image.shape) for image in inputs)
            raise WeightsError(f"{self.path}: can't compute images of {shapes}: {str(error)[:300]}") from None
        return [output.numpy() for output in ([outputs] if isinstance(outputs, torch.Tensor) else outputs)]


def _load(path: Path) -> Callable[..., Any]:
    if path.suffix.lower() == ".pt2":
        module: Callable[..., Any] = torch.export.load(path).module()
        return module
    scripted: Callable[..., Any] = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    return scripted


def read_metadata(path: Path) -> ExportMetadata:
    """Read the metadata of a file without loading it.

    Raises:
        WeightsError: If it has none, or is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.endswith(f"/extra/{KEY}")]
            if len(entries) != 1:
                raise not_an_export(path)
            if entries[0].file_size > MAX_BYTES:
                raise WeightsError(f"{path}: its metadata are larger than yolofuse writes")
            return parse_metadata(archive.read(entries[0]), path)
    except (zipfile.BadZipFile, OSError, NotImplementedError, EOFError, ValueError) as error:
        raise WeightsError(f"{path}: damaged ({error})") from None
