"""A probe's figures as one picture: spread and gradient by layer, and the first loss beside its prediction."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from yolofuse.files import save_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PARTS = {"rgb": "#e07b39", "ir": "#7b4fa3", "fusion": "#2f9e6e", "trunk": "#1b5e8c"}
_GREY, _FAINT, _ALARM = "#555555", "#e6e6e6", "#d62728"
_SPREAD_BOUNDS = (1e-3, 1e3)
_FLOOR = 1e-12
"""Where a figure of zero is drawn."""


@dataclass(frozen=True)
class LayerPoint:
    """One layer of the picture.

    Attributes:
        name: Of the layer.
        part: rgb, ir, fusion or trunk.
        std: Spread of its output; None where a norm comes right after it.
        eval_std: The same in eval mode.
        grad_rms: Of its weight's gradient; None where it has none.
        spread_alarm: Whether something is wrong with its output.
        gradient_alarm: Whether something is wrong with its gradient.
    """

    name: str
    part: str
    std: float | None
    eval_std: float | None
    grad_rms: float | None
    spread_alarm: bool = False
    gradient_alarm: bool = False


def save_probe_picture(
    points: Sequence[LayerPoint],
    first: Mapping[str, float],
    predicted: Mapping[str, float],
    title: str,
    verdict: str,
    out_path: Path,
) -> None:
    """Draw a probe as PNG.

    Args:
        points: In the order the layers are computed.
        first: Terms of the first loss.
        predicted: The same with the head at its prior.
        title: What was probed.
        verdict: In a few words.
        out_path: The file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # a second of importing, only for who draws
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7.2), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    healthy = verdict == "healthy"
    figure.suptitle(f"{title}: {verdict}", x=0.03, ha="left", fontsize=13, color="#2f9e6e" if healthy else _ALARM)
    grid = figure.add_gridspec(2, 2, width_ratios=(3.4, 1))
    spread = figure.add_subplot(grid[0, 0])
    gradient = figure.add_subplot(grid[1, 0], sharex=spread)
    loss = figure.add_subplot(grid[:, 1])
    _draw_layers(
        spread,
        "spread of the output (line: training mode, faint: eval mode)",
        points,
        lambda p: p.std,
        lambda p: p.spread_alarm,
    )
    _draw_faint(spread, points)
    for bound in _SPREAD_BOUNDS:
        spread.axhline(bound, color=_ALARM, linewidth=0.8, linestyle=":")
    _draw_layers(gradient, "gradient of the weight (RMS)", points, lambda p: p.grad_rms, lambda p: p.gradient_alarm)
    gradient.set_xlabel("layers in the order they are computed", fontsize=9, color=_GREY)
    gradient.tick_params(labelbottom=True)
    spread.legend(frameon=False, fontsize=9, labelcolor=_GREY, ncols=5, loc="lower right", bbox_to_anchor=(1, 0.98))
    _draw_losses(loss, first, predicted)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    save_bytes(out_path, picture.getvalue())


def _draw_layers(
    axes: Axes,
    title: str,
    points: Sequence[LayerPoint],
    figure_of: Callable[[LayerPoint], float | None],
    is_alarmed: Callable[[LayerPoint], bool],
) -> None:
    axes.set_title(title, loc="left", fontsize=10, color=_GREY)
    axes.set_yscale("log")
    for part, colour in _PARTS.items():
        xs, ys = _curve(points, part, figure_of)
        if xs:
            axes.plot(xs, ys, color=colour, linewidth=1.2, marker="o", markersize=3, label=part)
    alarmed = [
        (x, _shown(value)) for x, p in enumerate(points) if is_alarmed(p) and (value := figure_of(p)) is not None
    ]
    if alarmed:
        xs, ys = [x for x, _ in alarmed], [y for _, y in alarmed]
        axes.scatter(xs, ys, s=34, linewidths=1, facecolors="none", edgecolors=_ALARM, label="alarm", zorder=3)
    _tidy(axes)


def _draw_faint(axes: Axes, points: Sequence[LayerPoint]) -> None:
    for part, colour in _PARTS.items():
        axes.plot(*_curve(points, part, lambda p: p.eval_std if p.std is not None else None), color=colour, alpha=0.3)


def _curve(
    points: Sequence[LayerPoint], part: str, figure_of: Callable[[LayerPoint], float | None]
) -> tuple[list[int], list[float]]:
    pairs = [(x, _shown(v)) for x, p in enumerate(points) if p.part == part and (v := figure_of(p)) is not None]
    return [x for x, _ in pairs], [y for _, y in pairs]


def _shown(value: float) -> float:
    """The value as a log axis can show it: zero at the floor, and a gap where it is not finite."""
    return max(value, _FLOOR) if math.isfinite(value) else math.nan


def _draw_losses(axes: Axes, first: Mapping[str, float], predicted: Mapping[str, float]) -> None:
    names = [*first, "total"]
    axes.set_title("first loss per pair", loc="left", fontsize=10, color=_GREY)
    highest = 0.0
    bars = ((-0.2, "right", predicted, "#c4c9cf", "at the prior"), (0.2, "left", first, "#1b5e8c", "first"))
    for offset, side, terms, colour, label in bars:
        values = [*(terms.get(name, 0.0) for name in first), sum(terms.values())]
        finite = [value if math.isfinite(value) else 0.0 for value in values]
        highest = max(highest, *finite)
        axes.bar([i + offset for i in range(len(names))], finite, width=0.38, color=colour, label=label)
        for i, value in enumerate(values):
            text = f"{value:.3g}"
            axes.annotate(text, (i + offset / 10, finite[i]), ha=side, va="bottom", fontsize=7.5, color=_GREY)
    axes.set_ylim(0, 1.12 * highest or 1)
    axes.set_xticks(range(len(names)), names)
    _tidy(axes)
    axes.legend(frameon=False, fontsize=9, labelcolor=_GREY, loc="upper left")


def _tidy(axes: Axes) -> None:
    axes.tick_params(labelsize=8, colors=_GREY)
    axes.tick_params(which="minor", length=0)
    axes.grid(axis="y", color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#bbbbbb")
