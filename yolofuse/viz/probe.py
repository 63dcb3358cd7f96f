"""Plot the result of an initialisation probe: output std and gradient by layer, and the first loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from yolofuse.viz.axes import (
    ALARM,
    BLUE,
    GREEN,
    NEUTRAL,
    ORANGE,
    PURPLE,
    TEXT,
    add_legend,
    new_figure,
    save_figure,
    style_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PART_COLOURS = {"rgb": ORANGE, "ir": PURPLE, "fusion": GREEN, "trunk": BLUE}
_STD_BOUNDS = (1e-3, 1e3)
_FLOOR = 1e-12
"""Where a value of zero is drawn on a log axis."""


@dataclass(frozen=True)
class LayerPoint:
    """One layer of the plot."""

    name: str
    part: str  # rgb, ir, fusion or trunk
    std: float | None  # standard deviation of its output; None where a norm follows directly
    eval_std: float | None  # the same in eval mode
    grad_rms: float | None  # RMS of its weight's gradient; None where it has none
    std_alarm: bool = False  # whether its output is out of range
    gradient_alarm: bool = False  # whether its gradient is out of range


def save_probe_plot(
    points: Sequence[LayerPoint],
    first: Mapping[str, float],
    predicted: Mapping[str, float],
    title: str,
    health: str,
    out_path: Path,
) -> None:
    """Plot a probe as PNG, JPEG, PDF or SVG.

    ``points`` are in the order the layers are computed, ``first`` has the terms of the first loss, ``predicted`` the
    same with the head at its prior. ``health`` is ``healthy``, or says in a few words what is wrong.
    """
    figure = new_figure(12, 7.2, dpi=130)
    colour = GREEN if health == "healthy" else ALARM
    figure.suptitle(f"{title}: {health}", x=0.03, ha="left", fontsize=13, color=colour)
    grid = figure.add_gridspec(2, 2, width_ratios=(3.4, 1))
    std = figure.add_subplot(grid[0, 0])
    gradient = figure.add_subplot(grid[1, 0], sharex=std)
    loss = figure.add_subplot(grid[:, 1])
    _plot_layers(std, points, lambda p: p.std, lambda p: p.std_alarm)
    style_axes(std, "std of the output (line: training mode, faint: eval mode)")
    _plot_eval_std(std, points)
    for bound in _STD_BOUNDS:
        std.axhline(bound, color=ALARM, linewidth=0.8, linestyle=":")
    add_legend(std, ncols=5, loc="lower right", bbox_to_anchor=(1, 0.98))
    _plot_layers(gradient, points, lambda p: p.grad_rms, lambda p: p.gradient_alarm)
    style_axes(gradient, "gradient of the weight (RMS)", xlabel="layers in the order they are computed")
    gradient.tick_params(labelbottom=True)
    _plot_losses(loss, first, predicted)
    save_figure(figure, out_path)


def _plot_layers(
    axes: Axes,
    points: Sequence[LayerPoint],
    value_of: Callable[[LayerPoint], float | None],
    is_alarmed: Callable[[LayerPoint], bool],
) -> None:
    axes.set_yscale("log")
    for part, colour in _PART_COLOURS.items():
        xs, ys = _curve(points, part, value_of)
        if xs:
            axes.plot(xs, ys, color=colour, linewidth=1.2, marker="o", markersize=3, label=part)
    alarmed = [
        (x, _log_safe(value)) for x, p in enumerate(points) if is_alarmed(p) and (value := value_of(p)) is not None
    ]
    if alarmed:
        xs, ys = [x for x, _ in alarmed], [y for _, y in alarmed]
        axes.scatter(xs, ys, s=34, linewidths=1, facecolors="none", edgecolors=ALARM, label="alarm", zorder=3)


def _plot_eval_std(axes: Axes, points: Sequence[LayerPoint]) -> None:
    for part, colour in _PART_COLOURS.items():
        axes.plot(*_curve(points, part, lambda p: p.eval_std if p.std is not None else None), color=colour, alpha=0.3)


def _curve(
    points: Sequence[LayerPoint], part: str, value_of: Callable[[LayerPoint], float | None]
) -> tuple[list[int], list[float]]:
    pairs = [(x, _log_safe(v)) for x, p in enumerate(points) if p.part == part and (v := value_of(p)) is not None]
    return [x for x, _ in pairs], [y for _, y in pairs]


def _log_safe(value: float) -> float:
    """Return the value as a log axis can show it: zero at the floor, and a gap where it is not finite."""
    return max(value, _FLOOR) if math.isfinite(value) else math.nan


def _plot_losses(axes: Axes, first: Mapping[str, float], predicted: Mapping[str, float]) -> None:
    names = [*first, "total"]
    highest = 0.0
    bars = ((-0.2, "right", predicted, NEUTRAL, "at the prior"), (0.2, "left", first, BLUE, "first"))
    for offset, side, terms, colour, label in bars:
        values = [*(terms.get(name, 0.0) for name in first), sum(terms.values())]
        finite = [value if math.isfinite(value) else 0.0 for value in values]
        highest = max(highest, *finite)
        axes.bar([i + offset for i in range(len(names))], finite, width=0.38, color=colour, label=label)
        for i, value in enumerate(values):
            text = f"{value:.3g}"
            axes.annotate(text, (i + offset / 10, finite[i]), ha=side, va="bottom", fontsize=7.5, color=TEXT)
    axes.set_ylim(0, 1.12 * highest or 1)
    axes.set_xticks(range(len(names)), names)
    style_axes(axes, "first loss per pair")
    add_legend(axes, loc="upper left")
