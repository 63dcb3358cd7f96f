"""Files of weights: ours (tensors and plain data, written atomically) and single-stream ones of ultralytics."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yolofuse.errors import WeightsError
from yolofuse.upstream import safe_load_checkpoint

FORMAT = "yolofuse-checkpoint"
FORMAT_VERSION = 1
_LAYER = re.compile(r"^(?:module\.)?(?:model\.)+(\d+\..+)$")


@dataclass(frozen=True)
class SingleStreamWeights:
    """Tensors of a single-stream model, keyed ``<layer number>.<rest>``."""

    path: Path
    tensors: Mapping[str, Tensor]


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint so that a kill at any moment leaves either the old file or the new one, whole.

    Args:
        path: The file; its folder must exist.
        content: Tensors, numbers, strings, None, and dicts, lists and tuples of them.

    Raises:
        WeightsError: If it cannot be written, for instance on a full disk; the old file is then still there.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            torch.save({"format": FORMAT, "format_version": FORMAT_VERSION, **content}, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except (OSError, RuntimeError) as error:
        partial.unlink(missing_ok=True)
        raise WeightsError(f"{path}: cannot be written ({error}); the file from before is untouched") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of ours.

    Raises:
        WeightsError: If the file is missing, damaged, holds code, or is not ours.
    """
    content = _torch_load(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise WeightsError(f"{path}: not a yolofuse checkpoint; single-stream weights go into weights.pretrained")
    if content.get("format_version") != FORMAT_VERSION:
        raise WeightsError(
            f"{path}: checkpoint format {content.get('format_version')}, but this yolofuse reads {FORMAT_VERSION}"
        )
    return content


def load_single_stream(path: Path) -> SingleStreamWeights:
    """The tensors of a single-stream ultralytics checkpoint or of a plain state_dict. Nothing else is unpickled.

    Raises:
        WeightsError: If the file is missing, damaged, holds anything off the allow-list, or holds no numbered layers.
    """
    try:
        content = _torch_load(path)
    except _NotPlainError:
        content = safe_load_checkpoint(path)
    if isinstance(content, dict) and content.get("format") == FORMAT:
        raise WeightsError(f"{path}: a yolofuse checkpoint, not a single-stream one; to go on with it use --resume")
    state = _find_state(content)
    tensors = {match[1]: value for key, value in state.items() if (match := _LAYER.match(key))}
    if not tensors:
        raise WeightsError(
            f"{path}: holds no numbered layers; keys must look like 'model.0.conv.weight' "
            f"(got {', '.join(map(repr, list(state)[:3])) or 'nothing'})"
        )
    return SingleStreamWeights(path, tensors)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)


def _digest(file: Any) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


class _NotPlainError(WeightsError):
    """The file is a pickle with classes in it."""


def _torch_load(path: Path) -> Any:
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file; check the path")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _NotPlainError(f"{path}: holds more than tensors and plain data, so it is not opened") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{path}: damaged or not a weights file ({' '.join(str(error).split())[:200]})") from error


def _find_state(content: Any) -> dict[str, Tensor]:
    """The state_dict inside whatever a checkpoint may be: a module, a dict that holds one, or the dict itself."""
    if isinstance(content, dict):
        for key in ("ema", "model", "state_dict"):
            if content.get(key) is not None and not isinstance(content[key], Tensor):
                return _find_state(content[key])
        return {
            str(key): value.float() if value.is_floating_point() else value
            for key, value in content.items()
            if isinstance(value, Tensor)
        }
    if isinstance(content, torch.nn.Module):
        return _find_state(dict(content.state_dict()))
    return {}
