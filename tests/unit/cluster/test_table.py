"""The table of runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

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


def test_table__folder_names_are_no_formulas_and_no_escapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path, 0, 0.3)
    shutil.copytree(run, tmp_path / "=1+1")
    shutil.copytree(run, tmp_path / "a\x1b[2Jb")
    monkeypatch.chdir(tmp_path)
    rows = make_table([read_run(Path("=1+1")), read_run(Path("a\x1b[2Jb"))])
    assert [line.split(",")[0] for line in FORMATS[".csv"](rows).splitlines()[1:]] == ["'=1+1", "a?[2Jb"]
    assert "\x1b" not in FORMATS[".md"](rows)
