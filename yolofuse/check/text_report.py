"""The report as text for a terminal."""

from __future__ import annotations

import textwrap

from yolofuse.check.findings import Report, plural

_WIDTH = 110
_LISTED = 3


def render_table(report: Report) -> str:
    """Counts of each split, then the findings, the worst first, each with examples and what to do."""
    lines = [f"{'':<22}" + "".join(f"{name:>12}" for name in report.splits)]
    lines += [f"{row[0]:<22}" + "".join(f"{cell:>12}" for cell in row[1:]) for row in report.figures]
    for finding in report.findings:
        head = f"{finding.severity:<8}{finding.kind} [{finding.where}] "
        lines += ["", *textwrap.wrap(head + finding.text, _WIDTH, subsequent_indent=" " * 8)]
        lines += [f"{'':<10}{example}" for example in finding.examples[:_LISTED]]
        if finding.count > _LISTED and len(finding.examples) > _LISTED:
            lines.append(f"{'':<10}... {finding.count} in all")
        if finding.advice:
            lines.append(f"{'':<8}-> {finding.advice}")
    counts = [
        sum(finding.severity == severity for finding in report.findings) for severity in ("error", "warning", "note")
    ]
    words = ", ".join(plural(count, word) for count, word in zip(counts, ("error", "warning", "note"), strict=True))
    verdict = "ready to train" if report.may_train else "not ready to train: mend the errors first"
    return "\n".join([*lines, "", f"{words}; {verdict}"])
