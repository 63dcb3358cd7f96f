"""Results on disk: a file is there whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path


def save_bytes(path: Path, content: bytes) -> None:
    """Write ``path`` through a temporary neighbour, so that nobody ever reads half of it; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def save_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all."""
    save_bytes(path, text.encode())


def save_json(path: Path, obj: object, *, indent: int | None = None) -> None:
    """Write ``obj`` as JSON, whole or not at all; every float reads back as the same float.

    Raises:
        ValueError: If a number is not finite, which JSON cannot say.
    """
    save_text(path, json.dumps(obj, allow_nan=False, ensure_ascii=False, indent=indent) + "\n")
