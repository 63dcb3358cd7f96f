"""Define the parts of a page: sections of facts, tables, plots and pairs, each of which may be missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from yolofuse.errors import YolofuseError
from yolofuse.html.render import svg_uri
from yolofuse.viz.axes import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = Sequence[Sequence[str]]
"""Cells of a table, the header first."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A plot, or an image: a line below it, and its content as a data URI."""

    caption: str
    uri: str

    def labelled(self, caption: str) -> Chart:
        """Return it with another caption."""
        return Chart(caption, self.uri)


@dataclass(frozen=True, slots=True)
class PairFigure:
    """Images of one pair: its name, a line about it, and the images, each with a short label."""

    title: str
    text: str
    panels: Sequence[Chart]


@dataclass(frozen=True, slots=True)
class Section:
    """One section of a page.

    Attributes:
        key: Identifier, the target of links.
        title: Of the section.
        missing: Why there is nothing to show; empty if there is.
        notes: Sentences above the rest.
        facts: Names and values.
        tables: Each with a caption.
        charts: Plots.
        pairs: Drawn pairs, in groups with a heading.
        more: A table that is folded, with a caption.
    """

    key: str
    title: str
    missing: str = ""
    notes: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    tables: Sequence[tuple[str, Rows]] = ()
    charts: Sequence[Chart] = ()
    pairs: Sequence[tuple[str, Sequence[PairFigure]]] = ()
    more: tuple[str, Rows] | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its kind and title, figures at the top, and its sections."""

    kind: str
    title: str
    subtitle: str
    figures: Sequence[tuple[str, str]] = ()  # name and value
    warnings: Sequence[str] = ()
    sections: Sequence[Section] = field(default_factory=tuple)


def attempt(key: str, title: str, build: Callable[[], Section]) -> Section:
    """Build a section; what a file or an option is missing for becomes its text, not the end of the page."""
    try:
        return replace(build(), key=key, title=title)
    except (YolofuseError, OSError) as error:
        return Section(key, title, missing=str(error))


def chart(caption: str, plot: Callable[[Axes], None], *, width: float = 4.6, height: float = 2.9) -> Chart:
    """Draw one plot; width and height are in inches."""
    figure = new_figure(width, height, dpi=100)
    plot(figure.subplots())
    return Chart(caption, svg_uri(figure))
