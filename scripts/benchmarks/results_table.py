"""What the bench scripts share: rows of a CSV that say when, where and of which commit they are, and larger data."""

from __future__ import annotations

import csv
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from yolofuse.data.index.pair_set import PairSet
from yolofuse.data.index.scan_result import ScanResult

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


def repeated(pairs: PairSet, copies: int) -> PairSet:
    """The set several times over, each copy of a pair under an id of its own."""
    scan = pairs.scan
    records = [replace(record, image_id=number) for number, record in enumerate(list(pairs.records) * copies, start=1)]
    repeated = ScanResult(
        rgb_hw=np.tile(scan.rgb_hw, (copies, 1)),
        ir_hw=np.tile(scan.ir_hw, (copies, 1)),
        ir_bits=np.tile(scan.ir_bits, copies),
        boxes_xywhn=np.tile(scan.boxes_xywhn, (copies, 1)),
        class_ids=np.tile(scan.class_ids, copies),
        crowd=np.tile(scan.crowd, copies),
        offsets=np.concatenate([[0], np.cumsum(np.tile(np.diff(scan.offsets), copies))]),
        verified=scan.verified,
    )
    return replace(pairs, records=records, sizes_hw=np.tile(pairs.sizes_hw, (copies, 1)), scan=repeated)
