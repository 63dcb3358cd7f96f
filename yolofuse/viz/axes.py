"""Create, style and save matplotlib figures: one look for every plot.

matplotlib is imported inside the functions: it takes about a second, which only commands that draw should pay.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np

from yolofuse.errors import RunError
from yolofuse.files import save_bytes
from yolofuse.types import ByteArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

log = logging.getLogger("yolofuse")

BLUE, LIGHT_BLUE, ORANGE, GREEN, PURPLE, BROWN = "#1b5e8c", "#6aaed6", "#e07b39", "#2f9e6e", "#7b4fa3", "#8c564b"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, BROWN)
"""Colours of several lines or bars in one plot, in this order."""
TEXT, NEUTRAL, ALARM = "#555555", "#c4c9cf", "#d62728"
_GRID, _SPINE = "#e6e6e6", "#bbbbbb"
_TITLE_SIZE, _LABEL_SIZE = 10, 8
_SUFFIXES = (".png", ".pdf", ".svg", ".jpg")


def new_figure(width: float, height: float, dpi: int) -> Figure:
    """Create an empty figure that belongs to no window; width and height are in inches."""
    _import_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _import_matplotlib() -> None:
    """Import matplotlib also where MPLBACKEND names a backend that it does not know, such as a notebook's."""
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with suppress(ValueError):  # it is of no use here, but a notebook draws other figures
            matplotlib.rcParams["backend"] = backend


@contextmanager
def drawing(path: Path) -> Iterator[None]:
    """Turn any error of the block, which draws ``path``, into a warning: nothing depends on an image."""
    try:
        yield
    except Exception as error:  # a font, a backend, a full disk: whatever a library of drawing may raise
        log.warning("warning: %s: could not be drawn (%s: %s)", path, type(error).__name__, error)


def style_axes(axes: Axes, title: str, *, xlabel: str = "", ylabel: str = "", grid: bool = True) -> None:
    """Set title, labels and tick sizes, hide the upper and right spine, draw a faint horizontal grid."""
    axes.set_title(title, loc="left", fontsize=_TITLE_SIZE, color=TEXT)
    axes.set_xlabel(xlabel, fontsize=_LABEL_SIZE, color=TEXT)
    axes.set_ylabel(ylabel, fontsize=_LABEL_SIZE, color=TEXT)
    axes.tick_params(labelsize=_LABEL_SIZE, colors=TEXT)
    axes.tick_params(which="minor", length=0)
    if grid:
        axes.grid(axis="y", color=_GRID, linewidth=0.8)
        axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_SPINE)


def add_legend(axes: Axes, **options: Any) -> None:
    """Add a legend without a frame; ``options`` are those of ``Axes.legend``."""
    axes.legend(frameon=False, fontsize=_LABEL_SIZE, labelcolor=TEXT, **options)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, JPEG, PDF or SVG by its suffix, whole or not at all.

    Raises:
        RunError: If the suffix is another one.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise RunError(f"{path}: cannot write a plot as {path.suffix!r}; use one of {', '.join(_SUFFIXES)}")
    save_bytes(path, _render(figure, path.suffix.lower()[1:]))


def figure_to_image(figure: Figure) -> ByteArray:
    """Render a figure as a BGR image (H, W, 3)."""
    image = cv2.imdecode(np.frombuffer(_render(figure, "png"), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return cast(ByteArray, image)


def figure_to_svg(figure: Figure) -> bytes:
    """Render a figure as SVG, without the date: equal figures give equal bytes."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "yolofuse"}):
        return _render(figure, "svg", metadata={"Date": None})


def _render(figure: Figure, file_format: str, **options: Any) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format=file_format, **options)
    return content.getvalue()
