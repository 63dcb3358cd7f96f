"""Read and write safetensors, the format for weights from or for others: tensors and text, which cannot name code.

Tensors are named as in a state_dict: ``model.<layer>.<rest>`` of a single-stream model, ``rgb.layers.<layer>.<rest>``
and so on of a yolofuse model. The metadata of a file by yolofuse holds ``names``, a JSON list, and ``base``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import yaml
from safetensors import SafetensorError, safe_open
from torch import Tensor

from yolofuse.config.safe_yaml import MAX_BYTES, parse_yaml
from yolofuse.errors import WeightsError
from yolofuse.files import replacing

SUFFIX = ".safetensors"
_DAMAGE = (SafetensorError, OSError, ValueError, KeyError, RuntimeError, MemoryError)


def open_safetensors(path: Path) -> dict[str, Any]:
    """Read a file: its tensors under ``state_dict``, and ``names`` and ``yaml`` where its metadata has them.

    Raises:
        WeightsError: If the file is missing, damaged or of another format.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file; check the path")
    try:
        with safe_open(path, "pt") as file:
            metadata: Mapping[str, str] = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:160]
        raise WeightsError(f"{path}: damaged or no safetensors file ({reason}); copy it again") from error
    content: dict[str, Any] = {"state_dict": state}
    names = metadata.get("names", "")
    if 0 < len(names) <= MAX_BYTES:
        try:
            content["names"] = parse_yaml(names)  # JSON is YAML, and this reader refuses alias bombs
        except yaml.YAMLError as error:
            raise WeightsError(f"{path}: names in its metadata can't be read; write them as a JSON list") from error
    if "base" in metadata:
        content["yaml"] = {"yaml_file": f"{metadata['base']}.yaml"}
    return content


def save_safetensors(
    path: Path,
    parts: Mapping[str, Mapping[str, Tensor]],
    *,
    names: Sequence[str] | None = None,
    base: str | None = None,
) -> None:
    """Write weights for others; :func:`yolofuse.weights.load_source` reads them back.

    Args:
        path: Ends in ``.safetensors``; its folder must exist.
        parts: Tensors by part, then by ``<layer>.<rest>``, as a ``Source`` has them.
        names: Of the classes.
        base: The single-stream model it is built from, such as ``yolov8n``.

    Raises:
        WeightsError: If it has another suffix, or can't be written.
    """
    if path.suffix != SUFFIX:
        raise WeightsError(f"{path}: the name must end in {SUFFIX}, by which the format is recognised; rename it")
    prefixes = {"trunk": "model."} if set(parts) == {"trunk"} else {part: f"{part}.layers." for part in parts}
    state = {
        ("fusion." if part == "fusion" else prefixes[part]) + name: tensor.detach().cpu().contiguous().clone()
        for part, tensors in parts.items()
        for name, tensor in tensors.items()
    }
    metadata = {"format": "pt"}
    if names is not None:
        metadata["names"] = json.dumps(list(names), ensure_ascii=False)
    if base is not None:
        metadata["base"] = base
    try:
        with replacing(path, durable=True) as file:
            file.write(safetensors.torch.save(state, metadata))
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written ({error}); the previous file is unchanged") from error
