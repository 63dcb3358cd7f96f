"""What tests of submitting have in common: a config, a stand-in for a program, a folder's name that does harm."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import yaml

ODD_NAME = "a b'c$(touch bad);\"%j"
"""A name that does harm wherever a shell or Slurm reads it again."""


def config_file(folder: Path, name: str = "mid", **train: Any) -> Path:
    """A config whose descriptor exists."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = folder / "data.yaml"
    descriptor.write_text("names: {0: person}\n")
    path = folder / f"{name}.yaml"
    content = {"data": {"descriptor": str(descriptor)}, "train": {"run": str(folder / "runs" / name), **train}}
    path.write_text(yaml.safe_dump(content))
    return path


def program(folder: Path, name: str, text: str) -> Path:
    """An executable bash script."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path
