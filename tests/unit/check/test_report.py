"""The report: on the terminal, and as a page that is harmless whatever the names in it are."""

from __future__ import annotations

import numpy as np

from yolofuse.check.findings import Finding, Report, ReportImage, worst_first
from yolofuse.check.report import format_html, format_text

EVIL = "<script>alert(1)</script>\"'&.jpg"
PIXELS = np.zeros((4, 4, 3), np.uint8)


def _report(*findings: Finding) -> Report:
    counts = (("boxes", "12000", "7"), ("  person", "9", "7"))
    return Report("data.yaml", worst_first(findings), ("train", "val"), counts, ("96x64", "2 sizes"))


def test_format_text__lists_the_worst_first_and_concludes() -> None:
    note, error = Finding("good-to-know", "note", "val", "n"), Finding("bad", "error", "train", "e", "fix it")
    text = format_text(_report(note, error))
    assert text.index("bad") < text.index("good-to-know")
    assert "-> fix it" in text
    assert text.endswith("1 error, 0 warnings, 1 note; not ready to train: fix the errors first")
    assert format_text(_report(note)).endswith("0 errors, 0 warnings, 1 note; ready to train")


def test_format_text__aligns_counts() -> None:
    lines = format_text(_report()).splitlines()
    assert lines[1:4] == [
        "boxes       12000      7",
        "  person        9      7",
        "image sizes: train 96x64, val 2 sizes",
    ]


def test_format_text__counts_the_examples_that_are_left_out() -> None:
    examples = tuple("abcdef")
    text = format_text(_report(Finding("k", "note", "val", "n", count=50, examples=examples)))
    assert "... 50 in all" in text
    assert "d" not in [line.strip() for line in text.splitlines()]


def test_format_html__escapes_every_name_and_loads_nothing() -> None:
    image = ReportImage("name", EVIL, PIXELS)
    finding = Finding("kind", "error", EVIL, EVIL, EVIL, 1, 1, (EVIL,), (image,))
    page = format_html(Report(EVIL, (finding,), (EVIL,), ((EVIL, EVIL),), (EVIL,), (image,)))
    assert "<script" not in page
    assert "http://" not in page
    assert "https://" not in page
    assert page.count("&lt;script&gt;") == 16
    assert EVIL not in page


def test_format_html__holds_findings_counts_and_charts() -> None:
    finding = Finding("dead-ir", "warning", "train", "1 pair is dead", "remove it", 1, 40, ("a", "b"))
    report = Report(
        "data.yaml", (finding,), ("train", "val"), (("boxes", "7", "3"),), ("96x64", "2 sizes"),
        (ReportImage("chart", "Boxes of each class", PIXELS),),
    )  # fmt: skip
    page = format_html(report)
    for part in (
        "<!doctype html>",
        '<span class="tag good">Ready to train</span>',
        '<a href="#f0">dead-ir</a>',
        '<section id="f0">',
        '<td class="number">1 of 40</td>',
        '<td>boxes</td><td class="number">7</td><td class="number">3</td>',
        '<td class="number">2 sizes</td>',
        "What to do: remove it.",
        "<li><code>b</code></li>",
        '<img src="data:image/jpeg;base64,/9j/',
    ):
        assert part in page, part


def test_format_html__without_findings() -> None:
    assert "<p>Nothing was found.</p>" in format_html(Report("data.yaml", (), (), ()))


def test_format_text__names_do_not_control_the_terminal() -> None:
    text = format_text(_report(Finding("k", "note", "val", "n", count=1, examples=("a\x1b[2J\u202e.jpg",))))
    assert "a?[2J?.jpg" in text
