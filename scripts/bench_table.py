"""What the bench scripts share: rows of a CSV under results/ that say when, where and from which commit they are."""

from __future__ import annotations

import csv
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]


def append_rows(file: Path, rows: Sequence[Mapping[str, object]], **about: object) -> None:
    """Add rows to a CSV, each with date, commit, machine and ``about``; the first ones make the file and its header."""
    said = {"date": datetime.now(timezone.utc).date().isoformat(), "commit": commit(), "machine": machine(), **about}
    file.parent.mkdir(parents=True, exist_ok=True)
    is_new = not file.exists()
    with file.open("a", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=[*said, *rows[0]])
        if is_new:
            writer.writeheader()
        writer.writerows({**said, **row} for row in rows)


def commit() -> str:
    """The short hash of what is measured; ``-dirty`` where it was not committed."""
    revision = subprocess.run(
        ["git", "-C", str(REPO), "describe", "--always", "--dirty"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    return revision.stdout.strip() or "none"


def machine() -> str:
    """Processor and number of cores."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    name = next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())
    return f"{name}, {os.cpu_count()} cores"
