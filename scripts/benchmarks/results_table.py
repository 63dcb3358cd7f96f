"""Append measured rows, with their date, commit and machine, to a CSV of results/."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from scripts.paths import REPO
from yolofuse.tables import csv_text, text_table

ORIGIN = ("date", "commit", "machine")


def append_rows(
    file: Path,
    rows: Sequence[Mapping[str, object]],
    settings: Mapping[str, object] | None = None,
    origin: Sequence[str] = ORIGIN,
) -> None:
    """Append rows to a CSV, each with its origin and settings; the first rows create the file and its header.

    Args:
        file: The CSV.
        rows: Measured values by column.
        settings: Values that all rows share, placed before the measured ones.
        origin: Which columns of :func:`row_origin` the file has.

    Raises:
        SystemExit: If the file has other columns.
    """
    shared = {**row_origin(origin), **(settings or {})}
    header, _, body = csv_text([{**shared, **row} for row in rows], [*shared, *rows[0]]).partition("\n")
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+", encoding="utf-8", newline="") as stream:
        stream.seek(0)
        present = stream.readline().rstrip("\r\n")
        if present and present != header:
            raise SystemExit(f"{file}: has other columns ({present}) than these rows ({header}); write to another file")
        stream.write(body if present else f"{header}\n{body}")


def print_rows(rows: Sequence[Mapping[str, object]]) -> None:
    """Print rows as an aligned table; the columns are those of the first row."""
    columns = list(rows[0])
    print(text_table([columns, *([str(row[column]) for column in columns] for row in rows)]))


def row_origin(columns: Sequence[str] = ORIGIN) -> dict[str, str]:
    """Return when, of which commit and on which machine something was measured."""
    values = {"date": datetime.now(timezone.utc).date().isoformat(), "commit": commit(), "machine": machine()}
    return {column: values[column] for column in columns}


def commit() -> str:
    """Return the short hash of the checked-out commit; ``-dirty`` if there are uncommitted changes."""
    revision = subprocess.run(
        ["git", "-C", str(REPO), "describe", "--always", "--dirty"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    return revision.stdout.strip() or "none"


def short_commit(revision: str) -> str:
    """Return the first 12 digits of a report's commit, with ``-dirty`` if it had uncommitted changes."""
    digits, dirty, _ = revision.partition("-dirty")
    return digits[:12] + dirty


def machine() -> str:
    """Return the processor's name and the number of cores."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    name = next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())
    return f"{name}, {os.cpu_count()} cores"
