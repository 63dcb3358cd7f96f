from __future__ import annotations

import csv
import io

import pytest

from yolofuse.tables import csv_text, markdown_table, spreadsheet_cell, text_table

_ROWS = [["class", "AP", "share"], ["person", "0.5", "50%"], ["a|b", "12.25", ""]]


def test_text_table__aligns_numbers_right_and_words_left() -> None:
    assert text_table(_ROWS).splitlines() == ["class      AP  share", "person    0.5    50%", "a|b     12.25"]


def test_text_table__a_dash_is_a_missing_number() -> None:
    assert text_table([["class", "AP"], ["car", "-"], ["bus", "0.25"]]).splitlines()[1] == "car       -"


def test_markdown_table__escapes_bars_and_aligns_numbers() -> None:
    head, rule, first, second = markdown_table(_ROWS).splitlines()
    assert rule == "| --- | ---: | ---: |"
    assert (head.split("|")[1].strip(), first.split("|")[1].strip()) == ("class", "person")
    assert "a\\|b" in second


def test_csv_text__reads_back_with_blanks_for_none() -> None:
    rows: list[dict[str, object]] = [{"a": 1, "b": None}, {"a": "x,y", "c": 2.5}]
    assert list(csv.DictReader(io.StringIO(csv_text(rows)))) == [
        {"a": "1", "b": "", "c": ""},
        {"a": "x,y", "b": "", "c": "2.5"},
    ]


def test_tables__do_not_control_a_terminal() -> None:
    rows = [["run"], ["a\x1b]0;b\x07\u202e\nc"]]
    assert text_table(rows).splitlines()[1:] == ["a?]0;b???c"]
    assert markdown_table(rows).splitlines()[2] == "| a?]0;b???c |"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1+1", "'+1+1"),
        ("-a", "'-a"),
        ("@SUM", "'@SUM"),
        ("\t=1", "?=1"),
        ("-0.5", "-0.5"),
        ("+1e-3", "+1e-3"),
        ("runs/a=b", "runs/a=b"),
        ("", ""),
    ],
)
def test_spreadsheet_cell__is_no_formula_and_numbers_stay(text: str, cell: str) -> None:
    assert spreadsheet_cell(text) == cell
