"""Let mkdocs read the pages where they are: README.md and others at the top, docs/, results/.

Each keeps its path of the checkout, so that one link is right on a host's pages, in an editor and on the site. Files
that a page links to (configs, pictures, sources) come along; a link to a folder leads to no page and is an error.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_ROOT = Path(__file__).resolve().parents[1]
_PAGES = ("*.md", "docs/**/*.md", "results/**/*.md", "examples/*.md", "data/README.md", "weights/README.md")
_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data):(?=<code>)")
_LINK = re.compile(r"\]\(([^)\s#]+)[^)]*\)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Replace the files of docs/ by all pages, and the files that they link to; keep the theme's own."""
    pages = {page for pattern in _PAGES for page in _ROOT.glob(pattern)}
    linked = {
        (page.parent / target).resolve()
        for page in pages
        for target in _LINK.findall(page.read_text(encoding="utf-8"))
        if "://" not in target
    }
    kept = {file for file in linked - pages if file.is_file() and file.is_relative_to(_ROOT)}
    names = sorted(file.relative_to(_ROOT).as_posix() for file in pages | kept)
    ours = [File.generated(config, name, abs_src_path=str(_ROOT / name)) for name in names]
    return Files([*(file for file in files if file.src_dir != config.docs_dir), *ours])


def on_page_content(html: str, **_: object) -> str:
    """Leave out the roles of docstrings (``:func:``), which the reference would show as text."""
    return _ROLE.sub("", html)
