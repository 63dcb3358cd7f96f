"""Plot losses, AP and learning rate over the epochs of a run."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolofuse.errors import RunError, listing
from yolofuse.viz.axes import (
    BLUE,
    LIGHT_BLUE,
    ORANGE,
    SERIES,
    TEXT,
    add_legend,
    check_plot_suffix,
    new_figure,
    save_figure,
    style_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve = tuple[list[float], list[float]]
"""Epochs and values."""

_AP_COLOURS = {"val/AP": BLUE, "val/AP50": LIGHT_BLUE, "val/AP75": ORANGE}
_MAX_MARKED = 40
"""A curve of up to this many points gets a marker at each."""


def save_curves(csv_path: Path, out_path: Path) -> None:
    """Plot the losses, AP and learning rate of a run's results.csv.

    Args:
        csv_path: Columns ``epoch``, ``train/...``, ``val/AP``, ``val/AP50``, ``val/AP75``, ``lr``; a blank cell is an
            epoch without that value.
        out_path: PNG, JPEG, PDF or SVG.

    Raises:
        RunError: If the file holds no epochs or a cell that is not a number, or the suffix is not supported.
    """
    check_plot_suffix(out_path)
    curves = read_curves(csv_path)
    figure = new_figure(11, 3.4, dpi=150)
    loss, accuracy, rate = figure.subplots(1, 3, sharex=True, width_ratios=(4, 4, 2.4))
    losses = {name: curve for name, curve in curves.items() if name.startswith("train/")}
    _plot(loss, "training loss", losses, dict(zip(losses, SERIES * len(losses), strict=False)))
    _plot(accuracy, "validation AP", {name: curves[name] for name in _AP_COLOURS if name in curves}, _AP_COLOURS)
    accuracy.set_ylim(0, 1)
    _plot(rate, "learning rate", {name: curve for name, curve in curves.items() if name.startswith("lr")}, {})
    save_figure(figure, out_path)


def read_curves(csv_path: Path) -> dict[str, Curve]:
    """Read each column against ``epoch``, without blank cells; columns that are all blank are left out.

    Raises:
        RunError: If the file is missing, holds no epochs, or holds a cell that is not a number.
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
        values = {name: _parse_cell(cell, f"line {line}, {name}", problems) for name, cell in row.items() if name}
        epoch = values.pop("epoch")
        for name, value in values.items():
            if epoch is not None and value is not None:
                epochs, points = curves.setdefault(name, ([], []))
                epochs.append(epoch)
                points.append(value)
    if problems:
        raise RunError(listing(str(csv_path), problems, "cell that is no number"))
    return {name: curves[name] for name in rows[0] if name in curves}


def _parse_cell(cell: Any, where: str, problems: list[str]) -> float | None:
    if cell is None or not str(cell).strip():
        return None
    try:
        return float(cell)
    except ValueError:
        problems.append(f"{where}: {cell!r}")
        return None


def _plot(axes: Axes, title: str, curves: Mapping[str, Curve], colours: Mapping[str, str]) -> None:
    """Draw one panel: a line per curve, with markers where there are few points."""
    from matplotlib.ticker import MaxNLocator

    for name, (epochs, values) in curves.items():
        axes.plot(
            epochs,
            values,
            label=name.rpartition("/")[2],
            color=colours.get(name, TEXT),
            linewidth=1.6,
            marker="o" if len(epochs) <= _MAX_MARKED else None,
            markersize=3,
        )
    style_axes(axes, title, xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
    if len(curves) > 1:
        add_legend(axes)
