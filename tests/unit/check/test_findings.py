"""Severity, order and wording of findings."""

from __future__ import annotations

from yolofuse.check.findings import Finding, first_examples, severity_by_share, worst_first


def test_severity_by_share__one_percent_is_an_error() -> None:
    assert severity_by_share(1, 100) == "error"
    assert severity_by_share(1, 101) == "warning"
    assert severity_by_share(0, 0) == "warning"


def test_worst_first__keeps_the_order_within_a_severity() -> None:
    note, first, second = Finding("a", "note", "", ""), Finding("b", "error", "", ""), Finding("c", "error", "", "")
    assert worst_first([note, first, second]) == (first, second, note)


def test_first_examples__are_few() -> None:
    assert first_examples([str(number) for number in range(100)]) == tuple(str(number) for number in range(8))
