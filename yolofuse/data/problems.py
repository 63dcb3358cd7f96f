"""What is wrong with a data set, in a form that can be counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ProblemKind = Literal[
    "no-images",
    "missing-file",
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
