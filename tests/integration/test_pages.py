"""Pages in a real browser: nothing is loaded or run, every image shows, and no window scrolls sideways."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.browser import open_page
from tests.support.reported_runs import make_run
from yolofuse.check.findings import Report
from yolofuse.check.report import format_html
from yolofuse.cli import compare
from yolofuse.cli import main as cli

EVIL = '<img src="https://example.invalid/x" onerror="document.title=1"><script>document.title=2</script>'


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pages")
    runs = [make_run(root, "a"), make_run(root, "b", errors=0)]
    files = {name: root / f"{name}.html" for name in ("report", "comparison", "check")}
    assert cli.main(["report", str(runs[0]), "--out", str(files["report"])]) == 0
    assert compare.main([*map(str, runs), "--resamples", "5", "--html", str(files["comparison"])]) == 0
    files["check"].write_text(format_html(Report(EVIL, (), (EVIL,), ((EVIL, "1"),))))
    return files


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", ["report", "comparison", "check"])
def test_page__opens_from_a_file_without_errors_and_requests(pages: dict[str, Path], name: str, width: int) -> None:
    with open_page(pages[name], width) as opened:
        broken = opened.page.evaluate("[...document.images].filter(i => !i.complete || !i.naturalWidth).length")
        assert opened.console == []
        assert [url for url in opened.requests if not url.startswith("data:")] == [pages[name].as_uri()]
        assert broken == 0
        assert opened.page.evaluate("document.documentElement.scrollWidth") == width
        assert opened.page.title() not in {"1", "2"}
        targets = opened.page.evaluate("[...document.querySelectorAll('nav a')].map(a => a.hash)")
        assert all(opened.page.query_selector(target) for target in targets)
        assert bool(targets) == (name != "check")


def test_report__shows_the_numbers_of_the_evaluation(pages: dict[str, Path]) -> None:
    saved = json.loads((pages["report"].parent / "a" / "eval-val" / "report.json").read_text())
    with open_page(pages["report"]) as opened:
        for name in ("AP", "AP50", "AP75"):
            assert opened.page.inner_text(f"[data-figure='{name}']") == f"{saved[name]:.4f}"
        rows = opened.page.eval_on_selector_all("#classes tr", "rows => rows.map(r => r.innerText.split('\\t'))")
    found = {row[0]: row[1:3] for row in rows}
    for name, values in saved["per_class"].items():
        assert found[name] == [f"{values['AP']:.4f}", f"{values['AP50']:.4f}"]
