"""Read safetensors, the format for weights from others: tensors and text, which cannot name code.

Tensors are named as in a state_dict: ``model.<layer>.<rest>`` of a single-stream model, ``rgb.layers.<layer>.<rest>``
and so on of a yolofuse model. The metadata may hold ``names``, a JSON list, and ``base``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError, safe_open

from yolofuse.config.safe_yaml import MAX_BYTES, parse_yaml
from yolofuse.errors import WeightsError

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
