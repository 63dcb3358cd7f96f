"""List the detection models that ultralytics can build, from the YAML files of its package, without importing it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from yolofuse.errors import ConfigError, did_you_mean

try:
    from yaml import CSafeLoader as SafeLoader  # takes a seventh of the time
except ImportError:
    from yaml import SafeLoader  # type: ignore[assignment]

_HEADS = {"Detect", "v10Detect"}
_NAME = re.compile(r"(?P<family>yolov?\d+)(?P<size>[a-z]?)(?P<variant>(?:-[a-z0-9]+)*)")


@dataclass(frozen=True)
class Base:
    """A single-stream model of ultralytics.

    Attributes:
        name: As the user writes it, for example ``yolo11n``.
        file: The model YAML inside the ultralytics package.
        scale: The size letter, or "" where the file holds one size.
    """

    name: str
    file: Path
    scale: str

    def read(self) -> dict[str, Any]:
        """Read the model YAML and fill in the scale."""
        content = _read(self.file)
        content["scale"] = self.scale
        return content

    @property
    def num_backbone_layers(self) -> int:
        """Number of layers that ultralytics lists under ``backbone``."""
        return len(self.read()["backbone"])

    @property
    def num_levels(self) -> int:
        """Number of feature maps that the head reads."""
        return len(self.read()["head"][-1][0])

    @property
    def num_layers(self) -> int:
        """Number of layers, the head included."""
        content = self.read()
        return len(content["backbone"]) + len(content["head"])


def _read(file: Path) -> dict[str, Any]:
    return yaml.load(file.read_text(encoding="utf-8"), SafeLoader)  # type: ignore[no-any-return]


@cache
def _files() -> tuple[Path, ...]:
    """Return the model YAMLs."""
    package = find_spec("ultralytics")
    if package is None or package.origin is None:
        raise ConfigError("model.base: ultralytics is not installed; pip install ultralytics")
    return tuple(sorted((Path(package.origin).parent / "cfg" / "models").rglob("yolo*.yaml")))


@cache
def _bases_of(file: Path) -> dict[str, Base]:
    """List the detection models of one YAML, by their names with size; none if it is of another task."""
    parts = _NAME.fullmatch(file.stem)
    content = _read(file)
    if parts is None or content["head"][-1][2] not in _HEADS:
        return {}
    scales = list(content.get("scales") or {})
    if parts["size"] or not scales:
        return {file.stem: Base(file.stem, file, scales[0] if scales else "")}
    names = {f"{parts['family']}{scale}{parts['variant']}": scale for scale in scales}
    return {name: Base(name, file, scale) for name, scale in names.items()}


def _catalogue(*stems: str) -> dict[str, Base]:
    """List the detection models that the installed ultralytics can build, all or those of some files, by name."""
    files = (file for file in _files() if not stems or file.stem in stems)
    return {name: base for file in files for name, base in _bases_of(file).items()}


def list_bases() -> list[str]:
    """List the names of all base models, sizes included."""
    return list(_catalogue())


def resolve_base(name: str) -> Base:
    """Return the base model called ``name``.

    Raises:
        ConfigError: If the family or the size is unknown, or the size is missing (ultralytics would build ``n``).
    """
    parts = _NAME.fullmatch(name)
    known = _catalogue(name, f"{parts['family']}{parts['variant']}") if parts else {}  # to read all files takes longer
    if name in known:
        return known[name]
    catalogue = _catalogue()
    if parts is not None:
        family = [known for known in catalogue if _same_family(known, parts["family"], parts["variant"])]
        if family:
            problem = "has no size" if not parts["size"] else f"has an unknown size '{parts['size']}'"
            raise ConfigError(f"model.base: '{name}' {problem}; use one of {', '.join(family)}")
    hint = did_you_mean(name, catalogue, count=3, cutoff=0.5) or "."
    raise ConfigError(
        f"model.base: unknown model '{name}'{hint} Known: the detection models of yolov5, v8, v9, v10, 11, 12, 26, "
        "with a size letter, for example yolo11n"
    )


def _same_family(known: str, family: str, variant: str) -> bool:
    parts = _NAME.fullmatch(known)
    return parts is not None and parts["family"] == family and parts["variant"] == variant
