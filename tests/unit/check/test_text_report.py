"""The report on the terminal."""

from __future__ import annotations

from yolofuse.check.findings import Finding, Report, worst_first
from yolofuse.check.text_report import format_text


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
