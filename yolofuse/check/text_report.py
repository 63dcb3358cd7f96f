"""Format the report of a check as text for a terminal."""

from __future__ import annotations

import textwrap
from collections import Counter

from yolofuse.check.findings import SEVERITIES, Finding, Report, plural
from yolofuse.tables import text_table

_WIDTH = 110
_MAX_LISTED = 3


def format_text(report: Report) -> str:
    """Format counts of each split, then the findings, the worst first, each with examples and advice."""
    lines = [text_table([["", *report.splits], *report.counts], gap="    ")]
    if report.sizes:
        lines.append("image sizes: " + ", ".join(map(" ".join, zip(report.splits, report.sizes, strict=True))))
    for finding in report.findings:
        lines += ["", *_finding_lines(finding)]
    counts = Counter(finding.severity for finding in report.findings)
    summary = ", ".join(plural(counts[severity], severity) for severity in SEVERITIES)
    conclusion = "ready to train" if report.may_train else "not ready to train: fix the errors first"
    return "\n".join([*lines, "", f"{summary}; {conclusion}"])


def _finding_lines(finding: Finding) -> list[str]:
    head = f"{finding.severity:<8}{finding.kind} [{finding.where}] "
    lines = textwrap.wrap(head + finding.text, _WIDTH, subsequent_indent=" " * 8)
    lines += [f"{'':<10}{example}" for example in finding.examples[:_MAX_LISTED]]
    if finding.count > _MAX_LISTED and len(finding.examples) > _MAX_LISTED:
        lines.append(f"{'':<10}... {finding.count} in all")
    if finding.advice:
        lines.append(f"{'':<8}-> {finding.advice}")
    return lines
