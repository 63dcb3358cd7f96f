"""Check the plain values of a checkpoint: a right checksum does not say that a file was written by a run."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StrictInt, StrictStr, ValidationError

from yolofuse.types import PairFormat

_Count = Annotated[StrictInt, Field(ge=0, le=10**12)]
_Score = Annotated[float, Field(ge=-1, le=1)]  # -1: none yet; never nan
_Row = dict[str, float | None]


class _Progress(BaseModel):
    """As of ``TrainState``."""

    epoch: _Count
    epoch_step: _Count
    step: _Count
    last_update: _Count = 0
    last_save: _Count = 0
    best_ap: _Score
    best_epoch: _Count = 0
    loss_sums: list[dict[str, float]] | dict[str, float]  # yolofuse 0.1.0 wrote the mean over ranks
    history: list[_Row]
    skipped: list[_Count] = []
    rollbacks: _Count = 0


class _Machine(BaseModel):
    threads: Annotated[StrictInt, Field(ge=1, le=4096)]
    versions: dict[str, StrictStr]


class _Fields(BaseModel):
    """The values that are no tensors; what a run of an older version did not write is left out."""

    model_config = ConfigDict(extra="ignore")

    config: dict[str, Any] = {}
    names: Annotated[list[StrictStr], Field(max_length=100_000)] = []
    epoch: _Count = 0
    ap: _Score | None = None
    world: Annotated[StrictInt, Field(ge=1)] = 1
    code: dict[str, StrictStr] = {}
    machine: _Machine | None = None
    data_hashes: dict[str, StrictStr] = {}
    ir_windows: dict[str, tuple[FiniteFloat, FiniteFloat]] = {}
    overlays: Annotated[list[tuple[FiniteFloat, ...]], Field(max_length=1000)] = []
    formats: list[PairFormat] = []
    val_formats: list[PairFormat] = []
    optimizer: dict[str, Any] = {}
    scaler: dict[str, Any] = {}
    progress: _Progress | None = None


def find_wrong_value(content: dict[str, Any]) -> str:
    """Return where a checkpoint holds a value that no run writes, and what is wrong with it; "" if nothing is."""
    try:
        _Fields.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}"
    return ""
