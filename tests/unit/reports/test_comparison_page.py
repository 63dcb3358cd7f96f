"""The comparison of runs as a page: intervals, differing options, overlaid curves, pairs in which they differ."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.reported_runs import make_run
from yolofuse.cli import compare
from yolofuse.reports.comparison_page import unique_names

SECTIONS = ("metrics", "differences", "config", "curves", "pairs")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("compare")
    return [make_run(root, "a", errors=2), make_run(root, "b", errors=0), make_run(root, "c", errors=1, streams="rgb")]


def test_compare_html__shows_how_the_runs_differ(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page_file, figures = tmp_path / "page.html", tmp_path / "figures.json"
    words = ["--resamples", "20", "--html", str(page_file), "--out", str(figures)]
    assert compare.main([*map(str, runs), *words]) == 0
    printed = capsys.readouterr().out
    assert f"A: {runs[0]}, B: {runs[2]}" in printed
    page = page_file.read_text()
    assert "missing" not in page
    parts = {key: page.split(f'<section id="{key}">')[1].split("</section>")[0] for key in SECTIONS}
    saved = [json.loads((run / "eval-val" / "report.json").read_text())["AP"] for run in runs]
    row = re.search(r"<tr><td>AP</td>(.*?)</tr>", parts["metrics"])
    assert row is not None
    assert re.findall(r">([^<]+)</td>", row[1]) == [f"{ap:.4f}" for ap in saved]
    differences = json.loads(figures.read_text())["comparisons"]
    assert differences[0]["differences"]["AP"]["b"] == pytest.approx(saved[1])
    interval = differences[1]["differences"]["AP50"]
    assert f"{interval['low']:+.4f}\xa0..\xa0{interval['high']:+.4f}" in parts["differences"]
    assert re.search(r"<td>model.streams</td><td>both</td><td>both</td><td>rgb</td>", parts["config"])
    assert parts["curves"].count("<img") == 4
    assert parts["pairs"].count('class="pair"') == 2
    assert parts["pairs"].count("<img") == 2 * 2 * 3
    assert "a: 0 of 1 found, 1 false; b: 1 of 1 found, 0 false" in parts["pairs"]


def test_compare_html__replaces_its_own_file_alone(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page.html").write_text("my only copy")
    command = [str(runs[0]), str(runs[1]), "--resamples", "5", "--html", str(tmp_path / "page.html")]
    assert compare.main(command) == 2
    assert "--html: " in capsys.readouterr().err
    assert (tmp_path / "page.html").read_text() == "my only copy"


def test_compare_html__of_evaluations_without_runs_has_their_metrics(runs: list[Path], tmp_path: Path) -> None:
    folders = []
    for run in runs[:2]:
        folders.append(tmp_path / run.name / "evaluation")
        folders[-1].mkdir(parents=True)
        for file in (run / "eval-val").iterdir():
            (folders[-1] / file.name).write_bytes(file.read_bytes())
    page = tmp_path / "page.html"
    assert compare.main([*map(str, folders), "--resamples", "5", "--html", str(page)]) == 0
    assert page.read_text().count('class="soft missing"') == 3  # config, curves, pairs
    assert "a/evaluation, b/evaluation" in page.read_text()


def test_unique_names__are_as_short_as_they_can_be() -> None:
    assert unique_names([Path("/r/mid"), Path("/r/rgb")]) == ["mid", "rgb"]
    assert unique_names([Path("/r/1/mid"), Path("/r/2/mid")]) == ["1/mid", "2/mid"]
    assert unique_names([Path("/mid"), Path("/mid")]) == ["mid (1)", "mid (2)"]
    assert unique_names([Path("/\udcfc"), Path("/mid")]) == ["\\udcfc", "mid"]
