"""Compare the rules by which images of pairs are read, and format them for messages and reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from pydantic import TypeAdapter

from yolofuse.types import PairFormat

FORMATS = TypeAdapter(tuple[PairFormat, ...])
"""Reads the rules that a checkpoint holds."""


def compare_formats(before: Sequence[PairFormat], now: Sequence[PairFormat], then: str, here: str) -> Iterator[str]:
    """Yield each rule that differs, with both values; ``then`` and ``here`` say whose they are."""
    for rule in fields(PairFormat):
        first, second = ([getattr(pair_format, rule.name) for pair_format in formats] for formats in (before, now))
        if first != second:
            yield f"{rule.name}: {_shown(first)} {then}, {_shown(second)} {here}"


def changes_since_training(trained: Sequence[PairFormat], now: Sequence[PairFormat]) -> Iterator[str]:
    """Yield the rules that differ if any image is now read as none of the training images was.

    The depth of arrays counts only for images with a window: 8 bits as stored are the same values in both.
    """
    known, used = (
        [pair_format if pair_format.ir_window else replace(pair_format, bits=8) for pair_format in formats]
        for formats in (trained, now)
    )
    if not {*used} <= {*known}:
        yield from compare_formats(known, used, "in training", "now")


def unusual_rules(formats: Sequence[PairFormat]) -> dict[str, str]:
    """Return the rules that are not the default, as text."""
    shown = {rule: [getattr(pair_format, rule) for pair_format in formats] for rule in asdict(PairFormat())}
    return {rule: _shown(values) for rule, values in shown.items() if {*values} != {getattr(PairFormat(), rule)}}


def _shown(values: Sequence[Any]) -> str:
    return " and ".join(dict.fromkeys(str([*value] if isinstance(value, tuple) else value) for value in values))
