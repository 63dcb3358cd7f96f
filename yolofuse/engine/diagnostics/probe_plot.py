"""Plot the result of an initialisation probe: output std and gradient by layer, and the first loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from yolofuse.engine.diagnostics.init_probe import Probe
from yolofuse.engine.diagnostics.thresholds import LayerStats, Losses
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


def save_probe_plot(result: Probe, title: str, out_path: Path) -> None:
    """Plot a probe as PNG, JPEG, PDF or SVG."""
    layers, health = result.layers, result.verdict
    std_alarms, gradient_alarms = (
        {name for finding in result.findings if finding.of_gradient == of_gradient for name in finding.layers}
        for of_gradient in (False, True)
    )
    figure = new_figure(12, 7.2, dpi=130)
    colour = GREEN if health == "healthy" else ALARM
    figure.suptitle(f"{title}: {health}", x=0.03, ha="left", fontsize=13, color=colour)
    grid = figure.add_gridspec(2, 2, width_ratios=(3.4, 1))
    std = figure.add_subplot(grid[0, 0])
    gradient = figure.add_subplot(grid[1, 0], sharex=std)
    loss = figure.add_subplot(grid[:, 1])
    _plot_layers(std, layers, lambda layer: layer.std if layer.judged else None, std_alarms)
    style_axes(std, "std of the output (line: training mode, faint: eval mode)")
    _plot_eval_std(std, layers)
    for bound in _STD_BOUNDS:
        std.axhline(bound, color=ALARM, linewidth=0.8, linestyle=":")
    add_legend(std, ncols=5, loc="lower right", bbox_to_anchor=(1, 0.98))
    _plot_layers(gradient, layers, lambda layer: layer.grad_rms, gradient_alarms)
    style_axes(gradient, "gradient of the weight (RMS)", xlabel="layers in the order they are computed")
    gradient.tick_params(labelbottom=True)
    _plot_losses(loss, result.losses)
    save_figure(figure, out_path)


def _plot_layers(
    axes: Axes,
    layers: Sequence[LayerStats],
    value_of: Callable[[LayerStats], float | None],
    alarms: Collection[str],
) -> None:
    axes.set_yscale("log")
    for part, colour in _PART_COLOURS.items():
        xs, ys = _curve(layers, part, value_of)
        if xs:
            axes.plot(xs, ys, color=colour, linewidth=1.2, marker="o", markersize=3, label=part)
    alarmed = [
        (x, _log_safe(value))
        for x, layer in enumerate(layers)
        if layer.name in alarms and (value := value_of(layer)) is not None
    ]
    if alarmed:
        xs, ys = [x for x, _ in alarmed], [y for _, y in alarmed]
        axes.scatter(xs, ys, s=34, linewidths=1, facecolors="none", edgecolors=ALARM, label="alarm", zorder=3)


def _plot_eval_std(axes: Axes, layers: Sequence[LayerStats]) -> None:
    for part, colour in _PART_COLOURS.items():
        xs, ys = _curve(layers, part, lambda layer: layer.eval_std if layer.judged else None)
        axes.plot(xs, ys, color=colour, alpha=0.3)


def _curve(
    layers: Sequence[LayerStats], part: str, value_of: Callable[[LayerStats], float | None]
) -> tuple[list[int], list[float]]:
    pairs = [(x, _log_safe(v)) for x, p in enumerate(layers) if p.part == part and (v := value_of(p)) is not None]
    return [x for x, _ in pairs], [y for _, y in pairs]


def _log_safe(value: float) -> float:
    """Return the value as a log axis can show it: zero at the floor, and a gap where it is not finite."""
    return max(value, _FLOOR) if math.isfinite(value) else math.nan


def _plot_losses(axes: Axes, losses: Losses) -> None:
    first = losses.first
    names = [*first, "total"]
    highest = 0.0
    bars = ((-0.2, "right", losses.predicted, NEUTRAL, "at the prior"), (0.2, "left", first, BLUE, "first"))
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
