"""The site of the documents builds without a warning, and loads nothing from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.docs_figures import fusion_levels
from tests.support.documents import PAGES
from tests.support.runs import REPO


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site; a warning is an error, as of ``make docs``."""
    build = pytest.importorskip("mkdocs.commands.build", reason="needs mkdocs, of the extra dev")
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    build.build(load_config(str(REPO / "mkdocs.yml"), site_dir=str(folder), strict=True))
    return folder


def test_site__has_every_document(site: Path) -> None:
    built = {page.relative_to(site).as_posix() for page in site.rglob("*.html")}
    wanted = [re.sub(r"README\.html$", "index.html", page.removesuffix(".md") + ".html") for page in PAGES]
    public = ("docs/", "results/", "weights/", "data/")
    assert [page for page in wanted if ("/" not in page or page.startswith(public)) and page not in built] == []


def test_site__loads_nothing_from_elsewhere(site: Path) -> None:
    """Links may lead to the web; scripts, styles, fonts and images may not, nor may a page hold a diagram to draw."""
    loads = re.compile(r"""<(?:script|img|iframe|source|link)\b[^>]*\b(?:src|href)=["']?((?:https?:)?//[^"'>\s]+)""")
    pages = {page: page.read_text() for page in site.rglob("*.html")}
    assert [f"{page.name}: {url}" for page, text in pages.items() for url in loads.findall(text)] == []
    assert [page.name for page, text in pages.items() if 'class="mermaid"' in text] == []  # its script is on a CDN
    styles = [file for file in site.rglob("*.css") if re.search(r"url\([\"']?(https?:)?//", file.read_text())]
    assert styles == []


def test_site__names_the_public_functions(site: Path) -> None:
    reference = (site / "docs/reference.html").read_text()
    stub = (REPO / "yolofuse/__init__.pyi").read_text()
    public = sorted(set(re.findall(r"import \w+ as (\w+)", stub)) - {"Config"})  # docs/config.md has it, key by key
    assert [name for name in public if f'id="yolofuse.{name}"' not in reference] == []
    assert "Detect objects in one pair or many" in reference  # a docstring


def test_fusion_levels__drawing_is_current() -> None:
    assert (REPO / "docs/fusion-levels.svg").read_text() == fusion_levels()
