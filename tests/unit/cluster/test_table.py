"""The table of runs."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.cluster_runs import write_run
from yolofuse.cluster.run_results import read_run
from yolofuse.cluster.table import FORMATS, make_table


def test_table__markdown_leaves_blank_columns_out_and_escapes_bars(tmp_path: Path) -> None:
    results = read_run(write_run(tmp_path, 0, 0.3))
    lines = FORMATS[".md"](make_table([results])).splitlines()
    assert "AP sd" not in lines[0]
    assert len(lines) == 3
    shutil.move(results.folder, tmp_path / "a|b")
    assert "a\\|b" in FORMATS[".md"](make_table([read_run(tmp_path / "a|b")]))
