"""Plot the ablation: for each block the losses over the steps, and AP50 by policy and seed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from scripts.experiments.init_ablation.report import BASELINE, BLOCKS, Result, group_by_policy
from yolofuse.viz.axes import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    "kaiming": "#1b5e8c",
    "kaiming_fan_out": "#6aaed6",
    "xavier": "#e07b39",
    "xavier_gain": "#d9a520",
    "ultralytics": "#3f9b56",
    "resnet": "#7a9a01",
    "vgg": "#00a0a0",
    "orthogonal": "#8a5fbf",
    "trunc_normal": "#d46fb0",
    "zeros": "#8a8a8a",
    "constant": "#8c564b",
    "article": "#c22f2f",
    "kaiming@naive": "#c22f2f",
}
_GREY = "#555555"
_MAX_LOSS_RATIO = 3.0
"""Losses are clipped at this multiple of the highest first loss: one diverging run must not flatten the others."""


def save_plot(results: Sequence[Result], path: Path) -> None:
    """Draw the runs and write the plot: a row of two panels for each block."""
    blocks = [block for block in BLOCKS if any(result.block == block for result in results)]
    runs = [group_by_policy([result for result in results if result.block == block]) for block in blocks]
    heights = [max(2.6, 0.9 + 0.32 * len(policies)) for policies in runs]
    figure = new_figure(11, sum(heights) + 0.4, dpi=150)
    panels = figure.subplots(len(blocks), 2, squeeze=False, height_ratios=heights, width_ratios=(5, 4))
    width = max(max((len(run.curve) for run in results), default=0) // 60, 1) | 1
    for (losses, accuracy), block, policies in zip(panels, blocks, runs, strict=True):
        losses.set_title(BLOCKS[block], loc="left", fontsize=11, fontweight="bold", color="#333333")
        losses.set_title("training loss", loc="right", fontsize=9, color=_GREY)
        accuracy.set_title("AP50 on val, mean at the right", loc="right", fontsize=9, color=_GREY)
        _draw_losses(losses, policies, width)
        _draw_accuracy(accuracy, policies)
    figure.supxlabel(_caption(width, any(run.nan_step is not None for run in results)), fontsize=8, color=_GREY)
    save_figure(figure, path)


def _caption(width: int, has_broken: bool) -> str:
    """Explain the plot in a line or two."""
    smooth = f"mean of {width} steps, " if width > 1 else ""
    text = f"Loss: {smooth}line: mean, band: range over seeds. "
    text += f"AP50: dot: a seed, bar: mean, dotted line: {BASELINE}'s mean."
    if has_broken:
        text += "\nThin line with a cross: the loss of this run became non-finite (clipped at "
        text += f"{_MAX_LOSS_RATIO:g} times the highest first loss); its AP50 counts as 0."
    return text


def _draw_losses(axes: Axes, policies: dict[str, list[Result]], width: int) -> None:
    finite = {policy: [run for run in runs if run.nan_step is None and run.curve] for policy, runs in policies.items()}
    firsts = [run.curve[0][1] for runs in policies.values() for run in runs if run.curve]
    top = _MAX_LOSS_RATIO * max(firsts, default=1.0)
    for policy, runs in policies.items():
        colour = COLOURS.get(policy, _GREY)
        if whole := finite[policy]:
            steps = [step for step, _ in min((run.curve for run in whole), key=len)]
            table = np.minimum([_smooth(run, width)[: len(steps)] for run in whole], top)
            axes.fill_between(steps, table.min(0), table.max(0), color=colour, alpha=0.15, linewidth=0)
            axes.plot(steps, table.mean(0), color=colour, linewidth=1.8, zorder=4 if policy == BASELINE else 3)
        for run in runs:
            if run.nan_step is None or not run.curve:
                continue
            steps, totals = [step for step, _ in run.curve], np.minimum(_smooth(run, width), top)
            axes.plot(steps, totals, color=colour, linewidth=0.9, zorder=3)
            axes.plot(
                steps[-1], totals[-1], "X", color=colour, markersize=8, markeredgecolor="white", zorder=5, clip_on=False
            )
    _log_scales(axes)
    axes.set_xlabel("step", fontsize=8, color=_GREY)
    _style(axes, grid="y")


def _smooth(run: Result, width: int) -> NDArray[np.float64]:
    """Return the moving average, over a window that shrinks towards both ends: the first loss stays unchanged."""
    totals = np.array([total for _, total in run.curve])
    half = width // 2
    reach = [min(half, i, len(totals) - 1 - i) for i in range(len(totals))]
    return np.array([totals[i - r : i + r + 1].mean() for i, r in enumerate(reach)])


def _draw_accuracy(axes: Axes, policies: dict[str, list[Result]]) -> None:
    """Draw a line per policy; the coloured names are also the legend of the loss panel."""
    for place, (policy, runs) in enumerate(policies.items()):
        colour = COLOURS.get(policy, _GREY)
        values = [run.figures["AP50"] for run in runs]
        mean = statistics.fmean(values)
        if policy == BASELINE:
            axes.axvline(mean, color=colour, linewidth=1, linestyle=(0, (2, 3)), zorder=1)
        axes.plot([mean, mean], [place - 0.3, place + 0.3], color=colour, linewidth=3, solid_capstyle="butt", zorder=2)
        offsets = np.linspace(-0.16, 0.16, len(values)) if len(values) > 1 else [0.0]
        for run, value, offset in zip(runs, values, offsets, strict=True):
            broken = run.nan_step is not None
            axes.plot(
                value, place + offset, "X" if broken else "o", color=colour, markersize=7 if broken else 5.5,
                markeredgecolor="white", markeredgewidth=0.6, zorder=4, clip_on=False,
            )  # fmt: skip
        axes.annotate(
            f"{mean:.3f}", (1, place), xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=8, color=colour,
        )  # fmt: skip
    axes.set_yticks(range(len(policies)), list(policies))
    axes.set_ylim(len(policies) - 0.4, -0.6)
    highest = max((run.figures["AP50"] for runs in policies.values() for run in runs), default=0.0)
    axes.set_xlim(0, min(max(highest * 1.06, 0.05), 1.0))
    _style(axes, grid="x")
    for label, policy in zip(axes.get_yticklabels(), policies, strict=True):
        label.set_color(COLOURS.get(policy, _GREY))
        label.set_fontsize(9)
        label.set_fontweight("bold" if policy == BASELINE else "normal")
    axes.tick_params(axis="y", length=0)


def _log_scales(axes: Axes) -> None:
    """Use logarithmic axes, for the steps too: initial values matter most in the first steps."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(left=1)
    low, high = axes.get_ylim()
    many = (1.0, 2.0, 5.0) if high / low < 300 else (1.0,)
    for axis, marks in ((axes.xaxis, (1.0, 3.0)), (axes.yaxis, many)):
        axis.set_major_locator(LogLocator(subs=marks))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def _style(axes: Axes, grid: Literal["x", "y"]) -> None:
    axes.tick_params(labelsize=8, colors=_GREY, which="both")
    axes.grid(axis=grid, color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#bbbbbb")
