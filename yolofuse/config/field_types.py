"""Define the value types of options, and the base class of every section."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


def _stride_multiple(value: int) -> int:
    if value % 32:
        raise ValueError("must be a multiple of 32")
    return value


def _absolute(value: str) -> str:
    try:
        return str(Path(value).expanduser().absolute())
    except RuntimeError as error:  # no such user, or one without an entry in passwd
        raise ValueError("its ~ has no home folder here; write the whole path") from error


def _own_folder(value: str) -> str:
    if not value.strip():
        raise ValueError("name a folder of the run's own, such as runs/first")
    expanded = os.path.expanduser(value)  # noqa: PTH111  Path would also drop a slash at the end
    if expanded.startswith("~"):
        raise ValueError(f"no home folder {value.split('/')[0]}")
    return expanded


AbsolutePath = Annotated[str, AfterValidator(_absolute)]
"""A path, made absolute relative to the working directory."""
FolderName = Annotated[str, AfterValidator(_own_folder)]
"""The path of a folder that is written to; ``~`` is the user's home."""
Moderate = Annotated[float, Field(ge=-1e6, le=1e6), AfterValidator(_finite)]
NonNegative = Annotated[float, Field(ge=0), AfterValidator(_finite)]
Positive = Annotated[float, Field(gt=0), AfterValidator(_finite)]
Unit = Annotated[float, Field(ge=0, le=1), AfterValidator(_finite)]
ImageSize = Annotated[int, Field(ge=32, le=8192), AfterValidator(_stride_multiple)]


class Section(BaseModel):
    """A section of the YAML: strict types, frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)


class PartConfig(Section):
    """A part of the program by its name, with options: the keyword arguments of its constructor."""

    model_config = ConfigDict(extra="allow")

    name: str


def _without_options(part: str | PartConfig) -> str | PartConfig:
    """Return the plain name where a mapping gives no options, so that both spellings are the same config."""
    return part if isinstance(part, str) or part.model_extra else part.name


def part_name(part: str | PartConfig) -> str:
    """Return the name of a part."""
    return part if isinstance(part, str) else part.name


def part_options(part: str | PartConfig) -> dict[str, Any]:
    """Return the options of a part, by keyword."""
    return {} if isinstance(part, str) else dict(part.model_extra or {})


def part_label(part: str | PartConfig) -> str:
    """Return name and options for logs and tables: ``gated`` or ``gated(reduction=8)``."""
    options = ", ".join(f"{key}={value}" for key, value in part_options(part).items())
    return f"{part_name(part)}({options})" if options else part_name(part)


Part = Annotated[str | PartConfig, AfterValidator(_without_options)]
"""``gated``, or ``{name: gated, reduction: 8}``; what has the name is asked where it is made, see ``config.parts``."""
