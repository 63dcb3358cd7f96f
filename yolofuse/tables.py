"""Format rows as aligned text, Markdown or CSV, and times."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from yolofuse.errors import printable

Row = Sequence[str]


def text_table(rows: Sequence[Row], gap: str = "  ") -> str:
    """Align columns for a terminal: numbers to the right, everything else to the left.

    Args:
        rows: Cells, the header first; all rows of one length. What controls a terminal in them is replaced.
        gap: Text between two columns.
    """
    return "\n".join(_aligned(rows, gap))


def markdown_table(rows: Sequence[Row]) -> str:
    """Format a Markdown table that reads well as plain text too.

    Args:
        rows: Cells, the header first; all rows of one length. Vertical bars in them are escaped, and what
            controls a terminal is replaced.
    """
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    rule = "| " + " | ".join("---:" if number else "---" for number in numeric_columns(escaped)) + " |"
    head, *body = (f"| {line} |" for line in _aligned(escaped, " | "))
    return "\n".join([head, rule, *body])


def csv_text(rows: Sequence[Mapping[str, object]], columns: Sequence[str] | None = None) -> str:
    """Format a CSV with a header; None becomes a blank cell.

    Args:
        rows: Values by column.
        columns: Their order; by default every key, in the order of its first occurrence.
    """
    names = list(columns) if columns is not None else list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def spreadsheet_cell(text: str) -> str:
    """Return a text as a cell that no spreadsheet runs as a formula and no terminal obeys; numbers stay."""
    plain = printable(text)
    return f"'{plain}" if plain[:1] in {*"=+-@"} and not _is_number(plain) else plain


def _aligned(given: Sequence[Row], gap: str) -> list[str]:
    rows = [[printable(cell) for cell in row] for row in given]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    numeric = numeric_columns(rows)
    return [
        gap.join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in rows
    ]


def numeric_columns(rows: Sequence[Row]) -> list[bool]:
    """Return which columns hold only numbers, without the header; blank cells and "-" count as numbers."""
    return [
        any(row[column] for row in rows[1:]) and all(_is_number(row[column]) for row in rows[1:])
        for column in range(len(rows[0]))
    ]


def _is_number(cell: str) -> bool:
    try:
        float(cell.strip().rstrip("%").replace(",", "").removeprefix("-") or 0)
    except ValueError:
        return False
    return True


def format_duration(seconds: float) -> str:
    """Format a time in its two largest units: ``45 s``, ``3 min``, ``2 h 05 min``, ``4 d 3 h``."""
    rounded = max(round(seconds), 0)
    if rounded < 60:
        return f"{rounded} s"
    minutes = round(rounded / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"
