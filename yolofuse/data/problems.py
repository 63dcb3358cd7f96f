"""What is wrong with a data set, in a form that can be counted."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from yolofuse.config.safe_yaml import CONTROL

ProblemKind = Literal[
    "no-images",
    "missing-file",
    "outside",
    "unpaired-rgb",
    "unpaired-ir",
    "same-stem",
    "orphan-label",
    "unreadable",
    "bit-depth",
    "size-mismatch",
    "bad-label",
    "twin-box",
    "manifest",
    "list",
    "coco",
    "tags",
]


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a data set.

    Attributes:
        kind: What sort of fault.
        where: Key of the pair, or the file.
        text: The whole message: what, where, what was found, what to do.
    """

    kind: ProblemKind
    where: str
    text: str

    def __str__(self) -> str:
        return self.text


_MAX_SHOWN = 160  # characters
_repr = reprlib.Repr()
_repr.maxlevel = 3
_repr.maxstring = _repr.maxother = _repr.maxlong = _MAX_SHOWN


def shown(value: object) -> str:
    """A value of a user's file for a message, cut short.

    A YAML of ten lines can name a list that takes years to print, by lists of aliases to lists of aliases.
    """
    text = _repr.repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


NO_TEXT = "its name is no UTF-8 or holds control characters; rename it"
"""Of a file that :func:`is_text` refuses; its name is then shown as Python's ``repr``."""


def is_text(text: str) -> bool:
    """Whether a name can be written to a file and shown in a terminal without harm to either.

    JSON and YAML let half a character through, as ``"\\ud800"``, and file names whatever they like, also what colours
    a terminal or moves its cursor.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\n" not in text and CONTROL.search(text) is None


def row_of(names: Iterable[str]) -> str:
    """Names of a user's file for a message, cut short; "none" if there are none."""
    text = ", ".join(name if is_text(name) else repr(name) for name in names)
    return text[:_MAX_SHOWN] or "none"


def is_number(value: object) -> bool:
    """Whether a value of somebody's JSON is a finite number of a plausible size; ``true`` is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15 and math.isfinite(value)
