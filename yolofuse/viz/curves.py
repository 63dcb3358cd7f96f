"""Plot losses, AP and learning rate over the epochs of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from yolofuse.viz.axes import (
    BLUE,
    LIGHT_BLUE,
    ORANGE,
    SERIES,
    TEXT,
    add_legend,
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


def save_curves(history: Sequence[Mapping[str, float | None]], out_path: Path) -> None:
    """Plot the losses, AP and learning rate of a run.

    Args:
        history: A row per epoch: ``epoch``, ``train/...``, ``val/AP``, ``val/AP50``, ``val/AP75``, ``lr``, and
            ``val/...`` of the loss, which is dashed; there is no point where a value is None or missing.
        out_path: PNG, JPEG, PDF or SVG.

    Raises:
        RunError: If the suffix is not supported.
    """
    curves = collect_curves(history)
    figure = new_figure(11, 3.4, dpi=150)
    loss, accuracy, rate = figure.subplots(1, 3, sharex=True, width_ratios=(4, 4, 2.4))
    plot_losses(loss, curves)
    plot_accuracy(accuracy, curves)
    plot_curves(rate, "learning rate", {name: curve for name, curve in curves.items() if name.startswith("lr")})
    save_figure(figure, out_path)


def plot_losses(axes: Axes, curves: Mapping[str, Curve]) -> None:
    """Draw the loss terms of training, and dashed those of validation."""
    losses = {name: curve for name, curve in curves.items() if name.startswith("train/")}
    colours = dict(zip(losses, SERIES * len(losses), strict=False))
    of_val = {val: curves[val] for name in losses if (val := name.replace("train/", "val/")) in curves}
    colours |= {val: colours[val.replace("val/", "train/")] for val in of_val}
    plot_curves(axes, "loss (dashed: validation)" if of_val else "training loss", losses | of_val, colours)


def plot_accuracy(axes: Axes, curves: Mapping[str, Curve]) -> None:
    """Draw AP, AP50 and AP75 of the validation split."""
    shown = {name: curves[name] for name in _AP_COLOURS if name in curves}
    plot_curves(axes, "validation AP", shown, _AP_COLOURS)
    highest = max((value for _, values in shown.values() for value in values), default=1.0)
    axes.set_ylim(0, min(max(1.2 * highest, 0.05), 1))


def collect_curves(history: Sequence[Mapping[str, float | None]]) -> dict[str, Curve]:
    """Collect the values of each column against ``epoch``; the start, epoch 0, has no losses."""
    curves: dict[str, Curve] = {}
    for row in history:
        for name, value in row.items():
            if value is not None:
                epochs, values = curves.setdefault(name, ([], []))
                epochs.append(row["epoch"] or 0.0)
                values.append(value)
    return curves


def plot_curves(axes: Axes, title: str, curves: Mapping[str, Curve], colours: Mapping[str, str] | None = None) -> None:
    """Draw one panel: a line per curve, with markers where there are few points; the name is that after the ``/``."""
    from matplotlib.ticker import MaxNLocator

    for name, (epochs, values) in curves.items():
        is_dashed = name.startswith("val/") and name not in _AP_COLOURS
        axes.plot(
            epochs,
            values,
            label=None if is_dashed else name.rpartition("/")[2],
            color=(colours or {}).get(name, TEXT),
            linestyle="--" if is_dashed else "-",
            linewidth=1.6,
            marker="o" if len(epochs) <= _MAX_MARKED else None,
            markersize=3,
        )
    style_axes(axes, title, xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    if len(curves) > 1:
        add_legend(axes)
