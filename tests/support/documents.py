"""Find the code blocks, commands and links of the project's documents."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from tests.support.runs import REPO

_FOLDERS = ("configs", "docs", "examples", "results", "scripts", "tests")
PAGES = sorted(
    page.relative_to(REPO).as_posix()
    for pattern in ("*.md", "data/*.md", "weights/*.md", *(f"{folder}/**/*.md" for folder in _FOLDERS))
    for page in REPO.glob(pattern)
)
"""Every document of the repository; what data sets and environments bring along is not ours."""

_BLOCK = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, first line and section (the ``##`` heading above it)."""

    page: str
    line: int
    section: str
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def text_of(page: str) -> str:
    """Return the text of a page."""
    return (REPO / page).read_text(encoding="utf-8")


def all_blocks() -> list[Block]:
    """Return the fenced blocks of all pages, in order."""
    found = []
    for page in PAGES:
        text = text_of(page)
        for match in _BLOCK.finditer(text):
            before = text[: match.start()]
            section = before.rpartition("\n## ")[2].partition("\n")[0]
            found.append(Block(page, before.count("\n") + 1, section, match[2], match[3]))
    return found


def python_examples(page: str) -> dict[str, str]:
    """Return the Python example of each section of a page; a section with two is an error of the page."""
    blocks = [block for block in all_blocks() if block.page == page and block.language == "python"]
    examples = {block.section: block.code for block in blocks}
    assert len(examples) == len(blocks), f"{page}: two Python examples in one section"
    return examples


def commands(code: str) -> list[list[str]]:
    """Return the words of each command of a shell block, without comments."""
    lines = code.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def code_spans(page: str) -> list[str]:
    """Return what stands in backticks within the text of a page."""
    return _SPAN.findall(_BLOCK.sub("", text_of(page)))


def links(page: str) -> list[tuple[str, str]]:
    """Return (file, anchor) of the links of a page that do not lead to the web."""
    targets = _LINK.findall(_BLOCK.sub("", text_of(page)))
    return [(file, anchor) for file, _, anchor in (t.partition("#") for t in targets if "://" not in t)]


def anchors(page: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", _BLOCK.sub("", text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
