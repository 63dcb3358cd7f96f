"""Describe problems of a data set in a form that can be counted, and format its values for messages."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeGuard

from yolofuse.config.safe_yaml import CONTROL

ProblemKind = Literal[
    "no-images",
    "missing-file",
    "outside",
    "unpaired-rgb",
    "unpaired-ir",
    "names",
    "same-stem",
    "shared-image",
    "twin-pair",
    "shared-label",
    "orphan-label",
    "foreign-label",
    "foreign-image",
    "service-folder",
    "bare-folder",
    "unreadable",
    "bit-depth",
    "window",
    "size-mismatch",
    "orientation",
    "bad-label",
    "twin-box",
    "polygons",
    "key-points",
    "class-list",
    "manifest",
    "list",
    "coco",
    "tags",
]


@dataclass(frozen=True, slots=True)
class Problem:
    """One error or warning about a data set."""

    kind: ProblemKind
    where: str  # key of the pair, or the file
    text: str  # the whole message: what is wrong, where, what was found, what to do

    def __str__(self) -> str:
        return self.text


def plain_float(text: str) -> float:
    """Return the number that a text is. Raises ValueError for any other text, and for digits that ``_`` divides."""
    if "_" in text:
        raise ValueError(f"no number: {short_repr(text)}")
    return float(text)


_MAX_CHARS = 160
_repr = reprlib.Repr()
_repr.maxlevel = 3
_repr.maxstring = _repr.maxother = _repr.maxlong = _MAX_CHARS


def short_repr(value: object) -> str:
    """Format a value of a user's file for a message, cut short.

    By lists of aliases to lists of aliases, ten lines of YAML can hold a list that takes years to print.
    """
    text = _repr.repr(value)
    return text if len(text) <= _MAX_CHARS else f"{text[:_MAX_CHARS]}..."


UNPRINTABLE_NAME = "its name is no UTF-8 or holds control characters; rename it"
"""Why a file name that :func:`is_text` refuses is an error; the name is then shown as Python's ``repr``."""


def is_text(text: str) -> bool:
    """Return whether a name can be written to a file and shown in a terminal without harm to either.

    JSON and YAML let half a character through, as ``"\\ud800"``; file names may hold any bytes, also those that
    recolour a terminal or move its cursor.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\n" not in text and CONTROL.search(text) is None


def join_names(names: Iterable[str]) -> str:
    """Join names of a user's file for a message, cut short; "none" if there are none."""
    text = ", ".join(name if is_text(name) else repr(name) for name in names)
    return text[:_MAX_CHARS] or "none"


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether a value of an untrusted JSON is a finite number of a plausible size; ``true`` is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15 and math.isfinite(value)
