"""Plot precision over recall, and the confusion matrix, of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from yolofuse.viz.axes import SERIES, add_legend, new_figure, save_figure, style_axes

_MOST_NAMED = 8
"""Classes in a legend; of more, all lines are grey."""
_MOST_NUMBERS = 12
"""Classes up to which the matrix has numbers."""


def save_evaluation_plot(
    curves: Mapping[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]],
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
    colours = SERIES * len(curves) if len(curves) <= _MOST_NAMED else ("#9aa3ad",) * len(curves)
    for (name, (precision, recall)), colour in zip(curves.items(), colours, strict=False):
        left.plot([0, *recall], [1, *precision], color=colour, label=name, linewidth=1.6)
    left.set_xlim(0, 1)
    left.set_ylim(0, 1.02)
    style_axes(left, "precision over recall, IoU 0.5", xlabel="recall", ylabel="precision")
    if 0 < len(curves) <= _MOST_NAMED:
        add_legend(left, loc="best")
    shares = confusion / np.maximum(confusion.sum(axis=0, keepdims=True), 1)
    right.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(names) + 1)
    right.set_xticks(ticks, [*names, "nothing"], rotation=45, ha="right")
    right.set_yticks(ticks, [*names, "nothing"])
    style_axes(right, title, xlabel="labelled as (colour: share of the column)", ylabel="found as", grid=False)
    if len(names) <= _MOST_NUMBERS:
        for (row, column), count in np.ndenumerate(confusion):
            colour = "white" if shares[row, column] > 0.45 else "black"
            right.text(column, row, str(count) if count else "", ha="center", va="center", color=colour, fontsize=8)
    save_figure(figure, path)
