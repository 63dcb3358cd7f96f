"""Compare the rules by which images of pairs are read, and format them for messages and reports."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from yolofuse.types import PairFormat

Overlay = tuple[float, ...]
"""How the images of a pair lie on each other: the ratios of their heights and widths, RGB to IR; where ``affine`` maps
pixels, the height and width of both instead."""
_SAME_RATIO = 0.02


def overlay_of(rgb_hw: tuple[int, int], ir_hw: tuple[int, int], pair_format: PairFormat) -> Overlay:
    """Return how the images of a pair lie on each other."""
    if pair_format.affine is not None:
        return (*rgb_hw, *ir_hw)
    return tuple(round(one / other, 3) for one, other in zip(rgb_hw, ir_hw, strict=True))


def is_known_overlay(overlay: Overlay, known: Collection[Overlay]) -> bool:
    """Return whether pairs of training had images that lay so; ratios may differ by rounding."""
    slack = _SAME_RATIO if len(overlay) == 2 else 0.0
    return any(
        len(one) == len(overlay) and all(abs(a - b) <= slack * b for a, b in zip(overlay, one, strict=True))
        for one in known
    )


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
