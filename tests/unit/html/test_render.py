"""Pages: what a template gets is text, never HTML, and what it shows needs no other file."""

from __future__ import annotations

import base64

import numpy as np

from yolofuse.html.render import jpeg_uri, render_page, svg_uri
from yolofuse.reports.sections import Chart, Page, PairFigure, Section
from yolofuse.viz.axes import new_figure

EVIL = "<script>alert(1)</script>\"'&"


def test_render_page__escapes_every_text() -> None:
    chart = Chart(EVIL, "data:,")
    section = Section(
        "key", EVIL, EVIL, [EVIL], [(EVIL, EVIL)], [(EVIL, [[EVIL], [EVIL]])], [chart],
        [(EVIL, [PairFigure(EVIL, EVIL, [chart])])], (EVIL, [[EVIL], [EVIL]]),
    )  # fmt: skip
    page = Page(EVIL, EVIL, EVIL, [(EVIL, EVIL)], [EVIL], [section])
    text = render_page("yolofuse.reports", "page.html.j2", page=page)
    assert "<script" not in text
    assert EVIL not in text
    assert text.count("&lt;script&gt;") == 26


def test_uris__hold_the_image_itself() -> None:
    kind, _, content = jpeg_uri(np.zeros((4, 4, 3), np.uint8)).partition(";base64,")
    assert kind == "data:image/jpeg"
    assert base64.b64decode(content)[:2] == b"\xff\xd8"
    figures = [new_figure(1, 1, dpi=50) for _ in range(2)]
    uris = [svg_uri(figure) for figure in figures]
    assert uris[0] == uris[1]
    assert b"<svg" in base64.b64decode(uris[0].partition(";base64,")[2])
