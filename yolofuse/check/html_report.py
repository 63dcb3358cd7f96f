"""The report as one HTML page with its pictures inside: no scripts, nothing from the network."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape

import cv2

from yolofuse.check.findings import Finding, Picture, Report

_QUALITY = 85
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1100px; padding: 0 1rem; color: #1c1c1c; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.6rem 0 .2rem; }
table { border-collapse: collapse; margin: .8rem 0; } th, td { text-align: left; padding: .25rem .9rem .25rem 0;
vertical-align: top; border-bottom: 1px solid #ddd; } td.number { text-align: right; white-space: nowrap; }
.tag { border-radius: .25rem; color: white; font-size: .8rem; padding: .05rem .45rem; white-space: nowrap; }
.error { background: #b3261e; } .warning { background: #a66300; } .note { background: #5a6570; }
.good { background: #2b7a3d; }
.advice { color: #3b4a5a; } code { font-size: .85rem; overflow-wrap: anywhere; }
figure { margin: .8rem 0; } figure img { max-width: 100%; } figcaption { font-size: .85rem; color: #555; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(430px, 1fr)); gap: 1rem; align-items: end; }
ul { margin: .3rem 0; padding-left: 1.2rem; }
@media (prefers-color-scheme: dark) { body { background: #16181b; color: #e4e4e4; } th, td { border-color: #3a3f45; }
.advice, figcaption { color: #a9b4bf; } }
"""


def render_page(report: Report) -> str:
    """The whole page."""
    verdict, shade = ("Ready to train", "good") if report.may_train else ("Not ready: mend the errors first", "error")
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        # Nothing on this page may load or run anything, whatever a file is called.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">",
        f"<title>Check of {escape(report.data)}</title><style>{_STYLE}</style></head><body>",
        f'<h1>Check of {escape(report.data)}</h1><p><span class="tag {shade}">{verdict}</span></p>',
        _summary(report.findings),
        "<h2>Contents</h2>",
        _figures(report),
        f'<div class="charts">{"".join(_figure(chart) for chart in report.charts)}</div>',
        "<h2>Findings</h2>",
        *(_finding(number, finding) for number, finding in enumerate(report.findings)),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _summary(findings: Iterable[Finding]) -> str:
    rows = [
        f'<tr><td>{_tag(finding)}</td><td><a href="#f{number}">{escape(finding.kind)}</a></td>'
        f'<td>{escape(finding.where)}</td><td class="number">{_count(finding)}</td><td>{escape(finding.text)}</td></tr>'
        for number, finding in enumerate(findings)
    ]
    if not rows:
        return "<p>Nothing was found.</p>"
    head = "<tr><th></th><th>Finding</th><th>Split</th><th>Count</th><th></th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def _figures(report: Report) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in ("", *report.splits))
    rows = "".join(
        f"<tr><td>{escape(row[0])}</td>"
        + "".join(f'<td class="number">{escape(cell)}</td>' for cell in row[1:])
        + "</tr>"
        for row in report.figures
    )
    return f"<table><tr>{head}</tr>{rows}</table>"


def _finding(number: int, finding: Finding) -> str:
    advice = f'<p class="advice">What to do: {escape(finding.advice)}.</p>' if finding.advice else ""
    items = "".join(f"<li><code>{escape(example)}</code></li>" for example in finding.examples)
    return (
        f'<section id="f{number}"><h3>{_tag(finding)} {escape(finding.kind)} · {escape(finding.where)}</h3>'
        f"<p>{escape(finding.text)}.</p>{advice}{f'<ul>{items}</ul>' if items else ''}"
        f"{''.join(_figure(picture) for picture in finding.pictures)}</section>"
    )


def _tag(finding: Finding) -> str:
    return f'<span class="tag {finding.severity}">{finding.severity}</span>'


def _count(finding: Finding) -> str:
    if not finding.count:
        return ""
    return f"{finding.count} of {finding.total}" if finding.total else str(finding.count)


def _figure(picture: Picture) -> str:
    done, content = cv2.imencode(".jpg", picture.pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert done
    coded = base64.b64encode(content.tobytes()).decode()
    caption = escape(picture.caption)
    return (
        f'<figure><img src="data:image/jpeg;base64,{coded}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'
    )
