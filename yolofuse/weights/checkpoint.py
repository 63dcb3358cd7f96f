"""Checkpoints of ours: tensors and plain data, written atomically and with a checksum."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from yolofuse.errors import DamagedError, WeightsError
from yolofuse.files import replacing
from yolofuse.weights.safe_load import open_plain
from yolofuse.weights.seal import check_seal, seal

FORMAT = "yolofuse-checkpoint"
FORMAT_VERSION = 2
_UNSEALED_VERSION = 1  # written before checkpoints had checksums


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint so that a kill at any moment leaves either the old file or the new one, whole.

    Args:
        path: The file; its folder must exist.
        content: Tensors, numbers, strings, None, and dicts, lists and tuples of them.

    Raises:
        WeightsError: If it cannot be written, for instance on a full disk; the old file is then still there.
    """
    try:
        with replacing(path, durable=True) as file:
            torch.save({"format": FORMAT, "format_version": FORMAT_VERSION, **content}, file)
            seal(file)
    except (OSError, RuntimeError) as error:
        free = shutil.disk_usage(path.parent).free / (1 << 20)
        reason = str(error).splitlines()[0]  # torch's own words for a full disk do not say that it is
        raise WeightsError(
            f"{path}: cannot be written ({reason}; {free:.0f} MiB are free on its disk); the file from before is "
            "untouched"
        ) from error


def load_checkpoint(path: Path, needs: Collection[str] = ()) -> dict[str, Any]:
    """A checkpoint of ours.

    Args:
        path: The file.
        needs: Keys that must be in it.

    Raises:
        WeightsError: If the file is missing, damaged, holds code, is not ours, or lacks a key.
    """
    sealed = path.is_file() and check_seal(path)
    content = open_plain(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise WeightsError(f"{path}: not a yolofuse checkpoint; single-stream weights go into weights.pretrained")
    check_version(path, content, sealed=sealed)
    lacking = [key for key in needs if key not in content]
    if lacking:
        raise WeightsError(f"{path}: damaged, it lacks {', '.join(lacking)}; use another checkpoint of the run")
    return content


def check_version(path: Path, content: Mapping[str, Any], *, sealed: bool) -> None:
    """Refuse a checkpoint of ours of another format, or of this one without its checksum.

    Args:
        path: The file.
        content: What it holds.
        sealed: What :func:`check_seal` said of it.

    Raises:
        DamagedError: If the checksum is missing.
        WeightsError: If it is of another format.
    """
    version = content.get("format_version")
    if version not in {FORMAT_VERSION, _UNSEALED_VERSION}:
        raise WeightsError(f"{path}: checkpoint format {version}, but this yolofuse reads {FORMAT_VERSION}")
    if version == FORMAT_VERSION and not sealed:
        raise DamagedError(f"{path}: damaged, its checksum is missing; use another checkpoint or copy")


def load_state(model: nn.Module, state: Any, path: Path) -> None:
    """Put a checkpoint's tensors into the model they were taken from.

    Raises:
        WeightsError: If they are not exactly the model's.
    """
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(
            f"{path}: damaged, or of another yolofuse: it does not fit its own model ({reason})"
        ) from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)


def _digest(file: Any) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
