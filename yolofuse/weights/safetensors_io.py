"""safetensors, the format for weights that go to or come from others: tensors and words, no way to name code.

Tensors are called as in a state_dict: ``model.<layer>.<rest>`` of a single-stream model, ``rgb.layers.<layer>.<rest>``
and so on of ours. What else a file of ours says stands in its metadata: ``names``, a JSON list, and ``base``.
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
    """The tensors of a file under ``state_dict``; beside them ``names`` and ``yaml``, where the file has them.

    Raises:
        WeightsError: If the file is missing, damaged or of another format.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file; check the path")
    try:
        with safe_open(path, "pt") as file:
            said: Mapping[str, str] = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:160]
        raise WeightsError(f"{path}: damaged or no safetensors file ({reason}); copy it again") from error
    content: dict[str, Any] = {"state_dict": state}
    names = said.get("names", "")
    if 0 < len(names) <= MAX_BYTES:
        try:
            content["names"] = parse_yaml(names)  # JSON is YAML, and that reader takes no bombs
        except yaml.YAMLError as error:
            raise WeightsError(f"{path}: names in its metadata can't be read; write them as a JSON list") from error
    if "base" in said:
        content["yaml"] = {"yaml_file": f"{said['base']}.yaml"}
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
        path: The file, ``*.safetensors``; its folder must exist.
        parts: Tensors by part, then by ``<layer>.<rest>``, as a ``Source`` has them.
        names: Class names.
        base: The single-stream model it is built from, such as ``yolov8n``.

    Raises:
        WeightsError: If it has another suffix, or can't be written.
    """
    if path.suffix != SUFFIX:
        raise WeightsError(f"{path}: call it *{SUFFIX}; by that it is known")
    prefixes = {"trunk": "model."} if set(parts) == {"trunk"} else {part: f"{part}.layers." for part in parts}
    state = {
        ("fusion." if part == "fusion" else prefixes[part]) + name: tensor.detach().cpu().contiguous().clone()
        for part, tensors in parts.items()
        for name, tensor in tensors.items()
    }
    said = {"format": "pt"}
    if names is not None:
        said["names"] = json.dumps(list(names), ensure_ascii=False)
    if base is not None:
        said["base"] = base
    try:
        with replacing(path, durable=True) as file:
            file.write(safetensors.torch.save(state, said))
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written ({error}); the file from before is untouched") from error
