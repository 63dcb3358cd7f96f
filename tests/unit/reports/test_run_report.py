"""The report of a run: its numbers are those of the run's files, what is missing is said, nothing of others is lost."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

import yolofuse
from tests.support.reported_runs import make_run
from yolofuse.cli import main as cli
from yolofuse.errors import ConfigError, RunError
from yolofuse.reports.run_files import RunFiles
from yolofuse.reports.run_report import write_run_report

SECTIONS = ("metrics", "classes", "cameras", "curves", "pairs", "heat", "data", "config", "weights", "environment")
EVIL = "<script>alert(1)</script>\"'&"


def _section(page: str, key: str) -> str:
    return page.split(f'<section id="{key}">')[1].split("</section>")[0]


def _missing(page: str) -> list[str]:
    return [key for key in SECTIONS if 'class="soft missing"' in _section(page, key)]


def test_report__has_every_section_with_the_numbers_of_the_files(run: Path, tmp_path: Path) -> None:
    page = yolofuse.report(run, tmp_path / "page.html").read_text()
    assert _missing(page) == []
    assert len(page) < 10_000_000
    saved = json.loads((run / "eval-val" / "report.json").read_text())
    figures = dict(re.findall(r'<b data-figure="([^"]+)">([^<]+)</b>', page))
    assert {name: figures[name] for name in ("AP", "AP50", "AP75")} == {
        name: f"{saved[name]:.4f}" for name in ("AP", "AP50", "AP75")
    }
    best = saved["points"]["car"]
    row = re.search(r"<tr><td>car</td>(.*?)</tr>", _section(page, "classes"))
    assert row is not None
    cells = [saved["per_class"]["car"]["AP"], saved["per_class"]["car"]["AP50"], best["precision"], best["recall"]]
    assert re.findall(r">([^<]+)</td>", row[1]) == [
        *(f"{value:.4f}" for value in (*cells, best["F1"])), f"{best['confidence']:.3f}"
    ]  # fmt: skip
    assert f">{saved['AP']:.4f}<" in _section(page, "cameras")
    assert "75.0% of backbone and neck were loaded" in page
    assert "0 of 1 found, 1 false" in _section(page, "pairs")
    assert "1 of 1 found, 0 false" in _section(page, "pairs")
    assert re.search(r"<td>train.imgsz</td><td[^>]*>64</td><td[^>]*>640</td>", _section(page, "config"))
    assert _section(page, "curves").count("<img") == 5
    assert _section(page, "heat").count("% of the heat</figcaption>") == 2 * 4


def test_report__loads_and_runs_nothing(run: Path, tmp_path: Path) -> None:
    page = yolofuse.report(run, tmp_path / "page.html", quick=True).read_text()
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page
    assert "<script" not in page
    assert "http://" not in page
    assert set(re.findall(r'(?:src|href)="([^"#]{5})', page)) == {"data:"}


def test_report__says_what_is_missing(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(run / "config.yaml", bare)
    assert cli.main(["report", str(bare)]) == 0
    assert "not evaluated: " in capsys.readouterr().out
    page = (bare / "report.html").read_text()
    assert _missing(page) == ["metrics", "classes", "cameras", "curves", "pairs", "heat", "weights", "environment"]
    assert "no epoch is finished" in _section(page, "curves")


@pytest.mark.parametrize(
    ("name", "text", "missing"),
    [
        ("report.json", '{"AP": "x"}', {"metrics", "cameras"}),
        ("predictions.json", '[{"image_id": 1e999}]', {"classes", "pairs"}),
        ("ground_truth.json", "[1]", {"classes", "pairs"}),
    ],
)
def test_report__of_damaged_files_says_so(run: Path, tmp_path: Path, name: str, text: str, missing: set[str]) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "eval-val" / name).write_text(text)
    assert missing <= set(_missing(write_run_report(copy, quick=True).read_text()))


def test_report__of_damaged_records_says_so(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "results.csv").write_text("epoch,val/AP\n1,nan\n")
    (copy / "weights_report.json").write_text('{"parts": 3}')
    (copy / "status.json").write_text("{}")
    page = write_run_report(copy, quick=True).read_text()
    assert {"curves", "weights", "environment"} <= set(_missing(page))


def test_report__escapes_what_a_run_names(tmp_path: Path) -> None:
    run = make_run(tmp_path, names=(EVIL, "car"))
    (run / "eval-val" / "report.json").write_text(
        (run / "eval-val" / "report.json").read_text().replace('"split"', json.dumps(EVIL))
    )
    page = write_run_report(run, quick=True).read_text()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 3


def test_report__replaces_its_own_file_alone(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    out.write_text("<!doctype html><title>Run ")
    write_run_report(run, out, quick=True)
    assert "Best and worst pairs" in out.read_text()
    out.write_text("my only copy")
    with pytest.raises(ConfigError, match="not overwritten"):
        write_run_report(run, out, quick=True)
    assert out.read_text() == "my only copy"


def test_report__of_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run here"):
        write_run_report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_report__measures_the_cameras_that_the_evaluation_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path, blank=False)
    assert _missing(write_run_report(run, quick=True).read_text()) == ["cameras", "heat"]
    assert _missing(write_run_report(run).read_text()) == []


def test_report__of_other_data_than_was_evaluated_draws_nothing(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    truth = json.loads((copy / "eval-val" / "ground_truth.json").read_text())
    for image in truth["images"]:
        image["file_name"] += "x"
    (copy / "eval-val" / "ground_truth.json").write_text(json.dumps(truth))
    page = write_run_report(copy, quick=True).read_text()
    assert "not the pairs and labels that were evaluated" in _section(page, "pairs")


@pytest.mark.parametrize("setting", [{"data_hash": "of other labels"}, {"affine": "[1.0, 0.0, 9.0, 0.0, 1.0, 0.0]"}])
def test_report__of_pairs_that_changed_since_draws_nothing(run: Path, tmp_path: Path, setting: dict[str, str]) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    report = copy / "eval-val" / "report.json"
    content = json.loads(report.read_text())
    for changed in ({"data_hash": RunFiles(run).val_pairs.fingerprint}, setting):
        report.write_text(json.dumps({**content, "settings": content["settings"] | changed}))
        missing = "pairs" in _missing(write_run_report(copy, quick=True).read_text())
        assert missing == (changed is setting)
