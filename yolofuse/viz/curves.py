"""Loss, AP and learning rate over the epochs of a run, as one picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolofuse.errors import RunError, listing
from yolofuse.files import save_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve = tuple[list[float], list[float]]
"""Epochs and values."""

_SUFFIXES = (".png", ".pdf", ".svg", ".jpg")
_LOSS = ("#4878cf", "#e07b39", "#5aa469", "#9467bd", "#8c564b")
_AP = {"val/AP": "#1b5e8c", "val/AP50": "#6aaed6", "val/AP75": "#e07b39"}
_GREY = "#555555"
_FEW = 40
"""Points of a curve that are still marked one by one."""


def save_curves(csv_path: Path, out_path: Path) -> None:
    """Draw the run's results.csv: losses, AP and, where they are there, learning rates.

    Args:
        csv_path: Columns ``epoch``, ``train/...``, ``val/AP``, ``val/AP50``, ``val/AP75``, ``lr``; a blank cell is an
            epoch without that value.
        out_path: PNG, JPEG, PDF or SVG.

    Raises:
        RunError: If the file holds no epochs or something that is no number, or the suffix is another one.
    """
    if out_path.suffix.lower() not in _SUFFIXES:
        raise RunError(f"{out_path}: cannot draw curves as {out_path.suffix!r}; use one of {', '.join(_SUFFIXES)}")
    curves = read_curves(csv_path)

    from matplotlib.backends.backend_agg import FigureCanvasAgg  # a second of importing, only for who draws
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    loss, accuracy, rate = figure.subplots(1, 3, sharex=True, width_ratios=(4, 4, 2.4))
    losses = {name: curve for name, curve in curves.items() if name.startswith("train/")}
    _draw(loss, "training loss", losses, dict(zip(losses, _LOSS * len(losses), strict=False)))
    _draw(accuracy, "validation AP", {name: curves[name] for name in _AP if name in curves}, _AP)
    accuracy.set_ylim(0, 1)
    _draw(rate, "learning rate", {name: curve for name, curve in curves.items() if name.startswith("lr")}, {})
    picture = io.BytesIO()
    figure.savefig(picture, format=out_path.suffix.lower()[1:])
    save_bytes(out_path, picture.getvalue())


def read_curves(csv_path: Path) -> dict[str, Curve]:
    """Each column against ``epoch``, without its blank cells; columns that are all blank are left out.

    Raises:
        RunError: If the file is not there, holds no epochs, or holds something that is no number.
    """
    try:
        with csv_path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise RunError(f"{csv_path}: cannot read the run's results ({error.strerror}); did an epoch end?") from error
    if not rows or "epoch" not in rows[0]:
        raise RunError(f"{csv_path}: no epochs found; expected a header line with 'epoch' and a line for each epoch")
    problems: list[str] = []
    curves: dict[str, Curve] = {}
    for line, row in enumerate(rows, start=2):
        values = {name: _number(cell, f"line {line}, {name}", problems) for name, cell in row.items() if name}
        epoch = values.pop("epoch")
        for name, value in values.items():
            if epoch is not None and value is not None:
                epochs, points = curves.setdefault(name, ([], []))
                epochs.append(epoch)
                points.append(value)
    if problems:
        raise RunError(listing(str(csv_path), problems, "cell that is no number"))
    return {name: curves[name] for name in rows[0] if name in curves}


def _number(cell: Any, where: str, problems: list[str]) -> float | None:
    if cell is None or not str(cell).strip():
        return None
    try:
        return float(cell)
    except ValueError:
        problems.append(f"{where}: {cell!r}")
        return None


def _draw(axes: Axes, title: str, curves: Mapping[str, Curve], colours: Mapping[str, str]) -> None:
    """One panel: a line per curve, with points where there are few enough to tell apart."""
    axes.set_title(title, loc="left", fontsize=10, color=_GREY)
    for name, (epochs, values) in curves.items():
        axes.plot(
            epochs,
            values,
            label=name.rpartition("/")[2],
            color=colours.get(name, _GREY),
            linewidth=1.6,
            marker="o" if len(epochs) <= _FEW else None,
            markersize=3,
        )
    _tidy(axes)
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize=8, labelcolor=_GREY)


def _tidy(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch", fontsize=8, color=_GREY)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
    axes.tick_params(labelsize=8, colors=_GREY)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#bbbbbb")
