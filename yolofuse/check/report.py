"""Format the report of a check: text for a terminal, and one HTML page that needs no scripts, files or network."""

from __future__ import annotations

import textwrap
from collections import Counter

from yolofuse.check.findings import SEVERITIES, Finding, Report
from yolofuse.errors import plural, printable_lines
from yolofuse.html.render import render_page
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
    return printable_lines("\n".join([*lines, "", f"{summary}; {conclusion}"]))  # names of files may be others'


def _finding_lines(finding: Finding) -> list[str]:
    head = f"{finding.severity:<8}{finding.kind} [{finding.where}] "
    lines = textwrap.wrap(head + finding.text, _WIDTH, subsequent_indent=" " * 8)
    lines += [f"{'':<10}{example}" for example in finding.examples[:_MAX_LISTED]]
    if finding.count > _MAX_LISTED and len(finding.examples) > _MAX_LISTED:
        lines.append(f"{'':<10}... {finding.count} in all")
    if finding.advice:
        lines.append(f"{'':<8}-> {finding.advice}")
    return lines


def format_html(report: Report) -> str:
    """Render the page, with its images embedded."""
    sizes = [("image sizes", *report.sizes)] if report.sizes else []
    contents = [("", *report.splits), *report.counts, *sizes]
    return render_page("yolofuse.check", "report.html.j2", report=report, contents=contents, affected=_affected)


def _affected(finding: Finding) -> str:
    """Format how many are affected: ``3 of 40``, ``3``, or nothing."""
    if not finding.count:
        return ""
    return f"{finding.count} of {finding.total}" if finding.total else str(finding.count)
