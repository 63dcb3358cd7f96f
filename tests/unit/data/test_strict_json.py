"""Untrusted JSON: a key that is given twice is refused with its place."""

from __future__ import annotations

import json

import pytest

from yolofuse.data.strict_json import parse_json


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"a": 1, "a": 2}', (1, 16)),
        ('{"x": "}",\n "b": [{"y": {}}, {"a": "\\"}", "a": 1}]}', (2, 38)),
        ('[{"a": 1},\n{"a": {"a": 1}, "a": 1}]', (2, 23)),
    ],
    ids=["plain", "braces-in-text", "nested"],
)
def test_parse_json__a_key_given_twice_is_refused_with_its_place(text: str, place: tuple[int, int]) -> None:
    for content in (text, text.encode("utf-16")):
        with pytest.raises(json.JSONDecodeError, match="key 'a' is given twice in one object") as caught:
            parse_json(content)
        assert (caught.value.lineno, caught.value.colno) == place


def test_parse_json__equal_keys_of_different_objects_are_fine() -> None:
    assert parse_json(b'{"a": {"a": [1.5, {"a": null}]}}') == {"a": {"a": [1.5, {"a": None}]}}
