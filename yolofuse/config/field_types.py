"""Define the value types of options, and the base class of every section."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

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
    return str(Path(value).expanduser().absolute())


AbsolutePath = Annotated[str, AfterValidator(_absolute)]
"""A path, made absolute relative to the working directory."""
Moderate = Annotated[float, Field(ge=-1e6, le=1e6), AfterValidator(_finite)]
NonNegative = Annotated[float, Field(ge=0), AfterValidator(_finite)]
Positive = Annotated[float, Field(gt=0), AfterValidator(_finite)]
Unit = Annotated[float, Field(ge=0, le=1), AfterValidator(_finite)]
ImageSize = Annotated[int, Field(ge=32, le=8192), AfterValidator(_stride_multiple)]


class Section(BaseModel):
    """A section of the YAML: strict types, frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)
