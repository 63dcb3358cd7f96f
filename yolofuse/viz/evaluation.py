"""Plot precision over recall, and the confusion matrix, of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from yolofuse.spacing import evenly_spaced
from yolofuse.viz.axes import SERIES, add_legend, new_figure, save_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PrecisionCurves = Mapping[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]
_MOST_NAMED = 8
"""Classes in a legend; of more, all lines are grey."""
_MOST_NUMBERS = 12
"""Classes up to which the matrix has numbers."""
_MOST_POINTS = 1000
"""Points of a curve that are drawn."""


def save_evaluation_plot(
    curves: PrecisionCurves,
    confusion: npt.NDArray[np.int64],
    names: Sequence[str],
    title: str,
    path: Path,
) -> None:
    """Draw both panels.

    Args:
        curves: Precision and recall of each class, by its name.
        confusion: (classes + 1, classes + 1): rows are what was found, columns what was there; the last are nothing.
        names: Of the classes.
        title: Of the confusion matrix.
        path: PNG, JPEG, PDF or SVG.
    """
    figure = new_figure(9.6, 4, dpi=150)
    left, right = figure.subplots(1, 2, width_ratios=(5, 4.6))
    plot_precision(left, curves)
    plot_confusion(right, confusion, names, title)
    save_figure(figure, path)


def plot_precision(axes: Axes, curves: PrecisionCurves) -> None:
    """Draw precision over recall; arguments as of :func:`save_evaluation_plot`."""
    colours = SERIES * len(curves) if len(curves) <= _MOST_NAMED else ("#9aa3ad",) * len(curves)
    for (name, (precision, recall)), colour in zip(curves.items(), colours, strict=False):
        kept = evenly_spaced(len(precision), _MOST_POINTS)
        axes.plot([0, *recall[kept]], [1, *precision[kept]], color=colour, label=name, linewidth=1.6)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    style_axes(axes, "precision over recall, IoU 0.5", xlabel="recall", ylabel="precision")
    if 0 < len(curves) <= _MOST_NAMED:
        add_legend(axes, loc="best")


def plot_confusion(axes: Axes, confusion: npt.NDArray[np.int64], names: Sequence[str], title: str) -> None:
    """Draw the confusion matrix; arguments as of :func:`save_evaluation_plot`."""
    shares = confusion / np.maximum(confusion.sum(axis=0, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(names) + 1)
    axes.set_xticks(ticks, [*names, "nothing"], rotation=45, ha="right")
    axes.set_yticks(ticks, [*names, "nothing"])
    style_axes(axes, title, xlabel="labelled as (colour: share of the column)", ylabel="found as", grid=False)
    if len(names) <= _MOST_NUMBERS:
        for (row, column), count in np.ndenumerate(confusion):
            colour = "white" if shares[row, column] > 0.45 else "black"
            axes.text(column, row, str(count) if count else "", ha="center", va="center", color=colour, fontsize=8)
