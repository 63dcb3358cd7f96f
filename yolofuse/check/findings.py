"""Define the result of a check: findings with severity, count, worst examples, images and advice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from yolofuse.types import ByteArray

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""The worst first."""

_ERROR_SHARE = 0.01
_MAX_EXAMPLES = 8


@dataclass(frozen=True, slots=True)
class ReportImage:
    """One image of the report: an example of a finding, or a chart."""

    name: str  # short identifier of a chart; empty for an example
    caption: str  # one line below it
    pixels: ByteArray  # BGR (H, W, 3)


@dataclass(frozen=True, slots=True)
class Finding:
    """One error of the data set, or something worth knowing."""

    kind: str  # short identifier, the same in every report
    severity: Severity  # error: fix it before training; warning: review it; note: information
    where: str  # the split, or both
    text: str  # what was found, in a sentence
    advice: str = ""  # what to do; empty for a note that needs no action
    count: int = 0  # how many of ``total`` are affected
    total: int = 0  # how many were checked
    examples: tuple[str, ...] = ()  # the worst ones, by file or key
    images: tuple[ReportImage, ...] = ()  # the worst ones, drawn


@dataclass(frozen=True, slots=True)
class Report:
    """Result of the check of a data set."""

    data: str  # the descriptor
    findings: tuple[Finding, ...]  # the worst first
    splits: tuple[str, ...]
    counts: tuple[tuple[str, ...], ...]  # rows (name, one number for each split)
    sizes: tuple[str, ...] = ()  # of each split: ``640x512``, or how many there are
    charts: tuple[ReportImage, ...] = ()  # plots of the whole data set

    @property
    def may_train(self) -> bool:
        """Whether there is no error, which would stop training or make its metrics wrong."""
        return not any(finding.severity == "error" for finding in self.findings)


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sort findings: errors, then warnings, then notes, each in their given order."""
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))


def severity_by_share(count: int, total: int) -> Severity:
    """Return ``error`` if one percent or more of all pairs is affected, otherwise ``warning``."""
    return "error" if count >= _ERROR_SHARE * max(total, 1) else "warning"


def first_examples(items: Sequence[str]) -> tuple[str, ...]:
    """Return the first few items, as examples of a finding."""
    return tuple(items[:_MAX_EXAMPLES])
