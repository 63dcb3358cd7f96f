"""Constructors by name, built-in ones imported on first use."""

from __future__ import annotations

import sys

import pytest

from yolofuse.registry import Registry


def test_registry__imports_a_built_in_part_on_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "this", raising=False)
    known: Registry[object] = Registry(rotation="codecs:lookup", poem="this:d")
    assert list(known) == ["rotation", "poem"]
    assert "poem" in known
    assert "this" not in sys.modules
    assert isinstance(known["poem"], dict)
    assert known["poem"] is sys.modules["this"].d


def test_registry__takes_own_parts_as_a_dict_does() -> None:
    known: Registry[object] = Registry(text="builtins:str")
    known["number"] = int
    assert dict(known) == {"text": str, "number": int}
    del known["text"]
    assert known.get("text") is None
    with pytest.raises(KeyError):
        known["text"]
