"""Reading the records of a run: status.json and events.jsonl."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.run_folders import GOOD_STATUS
from yolofuse.errors import RunError
from yolofuse.run.records import MAX_EVENTS_BYTES, read_events, read_status


@pytest.mark.parametrize(
    "line",
    [
        "[" * 100_000,
        '{"time": "2026-11-22T10:00:00+00:00", "event": ["x"]}',
        '{"time": "2026-11-22T10:00:00+00:00", "event": "begun", "step": -1}',
        '{"time": "2026-11-22T10:00:00+00:00", "event": "begun", "step": 1.5}',
        '{"time": "2026-11-22T10:00:00+00:00", "event": "begun", "more": {"a": 1}}',
        '{"time": "2026-11-22T10:00:00+00:00", "event": "begun", "x": NaN}',
        '{"time": "2026-11-22T10:00:00", "event": "begun"}',
        '{"event": "begun"}',
        "\x00\xff",
        "7",
    ],
    ids=lambda line: line[:70].strip("\x00\xff") or "bytes",
)
def test_read_events__hostile_lines_are_counted(tmp_path: Path, line: str) -> None:
    (tmp_path / "events.jsonl").write_text(line + "\n", encoding="latin-1")
    assert read_events(tmp_path) == ([], 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": "dancing"}, "state: "),
        ({"step": "120"}, "step: "),
        ({"step": -3}, "step: "),
        ({"eta_s": 1e300}, "eta_s: "),
        ({"host": "x" * 300}, "host: "),
        ({"updated": "yesterday"}, "updated: "),
        ({"best_ap": [0.1]}, "best_ap: "),
    ],
    ids=lambda value: str(value)[:30],
)
def test_read_status__wrong_values_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    (tmp_path / "status.json").write_text(json.dumps(GOOD_STATUS | change))
    with pytest.raises(RunError, match=f"status.json: not a run's status \\({message}"):
        read_status(tmp_path)


def test_read__hostile_sizes_and_file_types_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    for content in ("[" * 60_000, json.dumps(GOOD_STATUS).replace("23.4", "NaN"), "", "{"):
        path.write_text(content)
        with pytest.raises(RunError, match="not a run's status"):
            read_status(tmp_path)
    path.write_text(" " * (1 << 17))
    with pytest.raises(RunError, match="larger than 64 KiB"):
        read_status(tmp_path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RunError, match="not a file"):
        read_status(tmp_path)
    with (tmp_path / "events.jsonl").open("wb") as stream:
        stream.truncate(MAX_EVENTS_BYTES + 1)
    with pytest.raises(RunError, match="larger than 16384 KiB"):
        read_events(tmp_path)
