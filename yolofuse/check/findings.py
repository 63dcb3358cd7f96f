"""What a check says: findings, each with how bad it is, how many, the worst examples, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from yolofuse.types import ByteArray

Severity = Literal["error", "warning", "note"]

_ORDER: dict[Severity, int] = {"error": 0, "warning": 1, "note": 2}
_SERIOUS = 0.01
"""A fault of this share of the pairs, or more, is an error; fewer are a warning."""
MAX_EXAMPLES = 8


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing beside a finding.

    Attributes:
        name: File name without extension; of letters, digits and hyphens.
        caption: One line below it.
        pixels: BGR (H, W, 3).
    """

    name: str
    caption: str
    pixels: ByteArray


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    Attributes:
        kind: A short word for it, the same in every report.
        severity: ``error``: don't train before it is mended; ``warning``: look at it; ``note``: good to know.
        where: The split, or both.
        text: What was found, in a sentence.
        advice: What to do; empty for a note that asks for nothing.
        count: How many of ``total`` are concerned.
        total: Of how many that were looked at.
        examples: The worst ones, by file or key.
        pictures: The worst ones, drawn.
    """

    kind: str
    severity: Severity
    where: str
    text: str
    advice: str = ""
    count: int = 0
    total: int = 0
    examples: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What a check of a data set found.

    Attributes:
        data: The descriptor.
        findings: The worst first.
        figures: Rows (what, one value for each split) of the table of counts.
        splits: Names of the columns of ``figures``.
        charts: Pictures that belong to no finding.
    """

    data: str
    findings: tuple[Finding, ...]
    figures: tuple[tuple[str, ...], ...]
    splits: tuple[str, ...]
    charts: tuple[Picture, ...] = ()

    @property
    def may_train(self) -> bool:
        """Whether nothing was found that makes training pointless or its figures wrong."""
        return not any(finding.severity == "error" for finding in self.findings)


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors, then warnings, then notes, each in the order they were found."""
    return tuple(sorted(findings, key=lambda finding: _ORDER[finding.severity]))


def by_share(count: int, total: int) -> Severity:
    """An error where a hundredth or more is concerned, otherwise a warning."""
    return "error" if count >= _SERIOUS * max(total, 1) else "warning"


def some(items: Sequence[str]) -> tuple[str, ...]:
    """The first few, as examples."""
    return tuple(items[:MAX_EXAMPLES])


def plural(count: int, noun: str) -> str:
    """Such as "1 pair", "2 pairs" or "3 boxes"."""
    ending = "" if count == 1 else "es" if noun.endswith(("x", "s")) else "s"
    return f"{count} {noun}{ending}"
