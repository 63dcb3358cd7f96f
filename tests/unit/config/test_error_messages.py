from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from yolofuse.config import format_errors


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Folders(Strict):
    rgb: str
    file_list: str | None = Field(None, alias="list")
    frame: Literal["rgb", "ir"] = "rgb"


class Document(Strict):
    names: list[str] = []
    splits: dict[str, Folders | list[Folders]] = {}
    window: tuple[float, float] | None = None
    scale: float = 1.0

    @field_validator("scale")
    @classmethod
    def _positive(cls, value: float) -> float:
        if value <= 0:
            raise ValueError("must be positive")
        return value


def errors_of(content: dict[str, Any], **options: Any) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        Document.model_validate(content)
    return format_errors(caught.value, Document, **options)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"names": ["a", 3]}, ["names.1: input should be a valid string (got 3)"]),
        ({"naems": ["a"]}, ["naems: unknown key; did you mean names?"]),
        ({"zzz": 1}, ["zzz: unknown key; known here: names, splits, window, scale"]),
        ({"rgb": 1}, ["rgb: unknown key; known here: names, splits, window, scale"]),
        ({"scale": -2.0}, ["scale: must be positive (got -2.0)"]),
        (
            {"splits": {"val": {"rgb": "a", "lsit": "b"}}},
            ["splits.val.lsit: unknown key; did you mean splits.val.list?"],
        ),
        ({"splits": {"val": {}}}, ["splits.val.rgb: is missing; it has no default"]),
        ({"splits": {"val": {"rgb": "a", "list": 3}}}, ["splits.val.list: input should be a valid string (got 3)"]),
        ({"splits": {"val": [{"rgb": 3}]}}, ["splits.val.0.rgb: input should be a valid string (got 3)"]),
        ({"splits": {"val": 3}}, ["splits.val: input should be a mapping of keys to values or a valid list (got 3)"]),
        ({"window": (1.0, "x")}, ["window.1: input should be a valid number (got 'x')"]),
        (
            {"splits": {"val": {"rgb": "a", "frame": "depth"}}},
            ["splits.val.frame: input should be 'rgb' or 'ir' (got 'depth')"],
        ),
    ],
)
def test_format_errors__names_key_message_and_value(content: dict[str, Any], expected: list[str]) -> None:
    assert errors_of(content) == expected


def test_format_errors__counts_lists_from_a_base_and_shows_values_as_asked() -> None:
    found = errors_of({"splits": {"val": [{"rgb": "a"}, {"rgb": "x", "frame": 3}]}}, list_base=1, show=lambda _: "...")
    assert found == ["splits.val[2].frame: input should be 'rgb' or 'ir' (got ...)"]


def test_format_errors__lists_every_mistake_sorted() -> None:
    found = errors_of({"zzz": 1, "names": 3, "scale": "x"})
    assert [line.split(":")[0] for line in found] == ["names", "scale", "zzz"]
