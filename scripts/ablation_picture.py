"""The picture of scripts/ablate_init.py: for each block the losses over the steps, and AP50 by policy and seed."""

from __future__ import annotations

import io
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from ablation_report import BASELINE, BLOCKS, Result, by_policy
from numpy.typing import NDArray

from yolofuse.eval.files import save_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

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
_ROOM = 3.0
"""Losses above this many times the highest first loss are drawn at the edge: one run that breaks flattens no other."""


def save_picture(results: Sequence[Result], path: Path) -> None:
    """Draw the runs as a PNG: a row of two panels for each block."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # a second of importing, only for who draws
    from matplotlib.figure import Figure

    blocks = [block for block in BLOCKS if any(result.block == block for result in results)]
    runs = [by_policy([result for result in results if result.block == block]) for block in blocks]
    heights = [max(3.0, 1.3 + 0.3 * len(policies)) for policies in runs]
    figure = Figure(figsize=(11, sum(heights)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subfigures(len(blocks), 1, squeeze=False, height_ratios=heights)[:, 0]
    for row, block, policies in zip(rows, blocks, runs, strict=True):
        _draw_block(row, BLOCKS[block], policies)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    save_bytes(path, picture.getvalue())


def _draw_block(row: SubFigure, title: str, policies: dict[str, list[Result]]) -> None:
    losses, accuracy = row.subplots(1, 2, width_ratios=(5, 4))
    longest = max((len(run.curve) for runs in policies.values() for run in runs), default=0)
    width = max(longest // 60, 1)
    smooth = f", mean of {width} steps" if width > 1 else ""
    losses.set_title(f"{title}: training loss{smooth}; band from least to most over seeds", **_TITLE)
    accuracy.set_title("AP50 on val; dot: a seed, bar: mean, cross: NaN, counted as 0", **_TITLE)
    _draw_losses(losses, policies, width)
    _draw_accuracy(accuracy, policies)


_TITLE = {"loc": "left", "fontsize": 9.5, "color": _GREY}


def _draw_losses(axes: Axes, policies: dict[str, list[Result]], width: int) -> None:
    curves = {policy: [_smooth(run, width) for run in runs if run.curve] for policy, runs in policies.items()}
    top = _ROOM * max((float(curve[0]) for lines in curves.values() for curve in lines), default=1.0)
    for policy, lines in curves.items():
        runs = [run for run in policies[policy] if run.curve]
        if not runs:
            continue
        steps = np.array([step for step, _ in max((run.curve for run in runs), key=len)])
        table = np.full((len(lines), len(steps)), np.nan)
        for line, curve in zip(table, lines, strict=True):
            line[: len(curve)] = np.minimum(curve, top)
        colour = COLOURS.get(policy, _GREY)
        axes.fill_between(steps, np.nanmin(table, 0), np.nanmax(table, 0), color=colour, alpha=0.13, linewidth=0)
        axes.plot(steps, np.nanmean(table, 0), color=colour, linewidth=1.7, zorder=4 if policy == BASELINE else 3)
        for run, curve in zip(runs, lines, strict=True):
            if run.nan_step is not None:
                axes.plot(
                    run.curve[-1][0], min(curve[-1], top), "X", color=colour, markersize=8, markeredgecolor="white",
                    zorder=5, clip_on=False,
                )  # fmt: skip
    _log_scale(axes)
    axes.set_xlabel("step", fontsize=8, color=_GREY)
    _tidy(axes, grid="y")


def _smooth(run: Result, width: int) -> NDArray[np.float64]:
    """Mean over a window that shrinks towards both ends, so that the first loss stays the first loss."""
    totals = np.array([total for _, total in run.curve])
    half = width // 2
    reach = [min(half, i, len(totals) - 1 - i) for i in range(len(totals))]
    return np.array([totals[i - r : i + r + 1].mean() for i, r in enumerate(reach)])


def _draw_accuracy(axes: Axes, policies: dict[str, list[Result]]) -> None:
    """A line per policy; the coloured names are also the legend of the losses beside it."""
    for place, (policy, runs) in enumerate(policies.items()):
        colour = COLOURS.get(policy, _GREY)
        values = [run.figures["AP50"] for run in runs]
        mean = statistics.fmean(values)
        if policy == BASELINE:
            axes.axvline(mean, color=colour, linewidth=1, linestyle=(0, (2, 3)), zorder=1)
        axes.plot([mean, mean], [place - 0.3, place + 0.3], color=colour, linewidth=3, solid_capstyle="butt", zorder=2)
        spread = np.linspace(-0.16, 0.16, len(values)) if len(values) > 1 else [0.0]
        for run, value, offset in zip(runs, values, spread, strict=True):
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
    _tidy(axes, grid="x")
    for label, policy in zip(axes.get_yticklabels(), policies, strict=True):
        label.set_color(COLOURS.get(policy, _GREY))
        label.set_fontsize(9)
        label.set_fontweight("bold" if policy == BASELINE else "normal")
    axes.tick_params(axis="y", length=0)


def _log_scale(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    few = high / low > 300
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if few else (1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _tidy(axes: Axes, grid: Literal["x", "y"]) -> None:
    axes.tick_params(labelsize=8, colors=_GREY, which="both")
    axes.grid(axis=grid, color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#bbbbbb")
