"""Plot a data set: boxes of each class, sizes of boxes, day and night, shifts between RGB and IR."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from yolofuse.check.findings import ReportImage
from yolofuse.check.pair_stats import Split
from yolofuse.check.rules.boxes import flat_boxes
from yolofuse.check.rules.class_balance import class_counts, count_light
from yolofuse.check.rules.registration import MeasuredShift
from yolofuse.viz.axes import SERIES, TEXT, add_legend, figure_to_image, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DAY, _NIGHT = "#e8b54a", "#33415c"
_MAX_CLASSES = 30


def draw_charts(
    splits: Sequence[Split], shifts: Mapping[str, Sequence[MeasuredShift]], imgsz: int
) -> tuple[ReportImage, ...]:
    """Draw all charts that have data."""
    sizes_title = f"Shorter side of the boxes at imgsz {imgsz}, never enlarged, px"
    light_height = 0.7 + 0.65 * len(splits)
    charts = [
        _chart("classes", "Boxes of each class", lambda axes: plot_classes(axes, splits)),
        _chart("box-sizes", sizes_title, lambda axes: plot_sizes(axes, splits, imgsz), ylabel="% of boxes"),
        _chart("light", "Day and night", lambda axes: _plot_light(axes, splits), height=light_height, grid=False),
    ]
    if any(measured.shift.is_measured for of_split in shifts.values() for measured in of_split):
        title = "Shift of IR against RGB, px of the frame"
        style: dict[str, Any] = {"xlabel": "to the right", "ylabel": "down", "grid": False}
        charts.append(_chart("shifts", title, lambda axes: _plot_shifts(axes, shifts), **style))
    return tuple(charts)


def _chart(name: str, title: str, plot: Callable[[Axes], None], *, height: float = 3.0, **style: Any) -> ReportImage:
    """Draw one chart; ``style`` is passed on to :func:`style_axes`."""
    figure = new_figure(6.4, height, dpi=110)
    axes = figure.subplots()
    style_axes(axes, title, **style)
    plot(axes)
    return ReportImage(name, title, figure_to_image(figure))


def plot_classes(axes: Axes, splits: Sequence[Split]) -> None:
    """Draw the boxes of each class in each split."""
    names = splits[0].pairs.names
    counts = [class_counts(split) for split in splits]
    order = np.argsort(-np.sum(counts, axis=0), kind="stable")[:_MAX_CLASSES]
    thickness = 0.8 / len(splits)
    for number, (split, of_split) in enumerate(zip(splits, counts, strict=True)):
        places = np.arange(len(order)) + (number - (len(splits) - 1) / 2) * thickness
        bars = axes.bar(places, of_split[order], thickness, label=split.name, color=SERIES[number % len(SERIES)])
        axes.bar_label(bars, fontsize=7, color=TEXT)
    axes.set_xticks(np.arange(len(order)), [names[index] for index in order], rotation=30 if len(order) > 6 else 0)
    axes.margins(x=max(0.02, 0.6 / len(order)))
    add_legend(axes)


def plot_sizes(axes: Axes, splits: Sequence[Split], imgsz: int) -> None:
    """Draw how large the boxes of each split are at the training size, px."""
    bins = np.geomspace(1, imgsz, 40).tolist()
    for number, split in enumerate(splits):
        boxes, pair_of = flat_boxes(split)
        sizes_wh = split.pairs.sizes_hw[pair_of][:, ::-1]
        sides = (boxes[:, 2:] * sizes_wh).min(axis=1) * np.minimum(imgsz / sizes_wh.max(axis=1), 1.0)
        percent = np.full(len(sides), 100 / max(len(sides), 1))
        colour = SERIES[number % len(SERIES)]
        axes.hist(sides.clip(1, imgsz), bins, weights=percent, histtype="step", color=colour, label=split.name, lw=1.5)
    axes.set_xscale("log")
    ticks = [side for side in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024) if side <= imgsz]
    axes.set_xticks(ticks, [str(side) for side in ticks])
    axes.minorticks_off()
    add_legend(axes)


def _plot_light(axes: Axes, splits: Sequence[Split]) -> None:
    labels = []
    for row, split in enumerate(splits):
        light = count_light(split)
        labels.append(f"{split.name}\n({'tags' if light.tagged else 'estimated'})")
        total = max(light.counts.total(), 1)
        left = 0.0
        for name, colour, ink in (("day", _DAY, "black"), ("night", _NIGHT, "white")):
            share = light.counts[name] / total
            axes.barh(row, share, left=left, color=colour, height=0.6)
            if share > 0.04:
                text = f"{name} {light.counts[name]}"
                axes.text(left + share / 2, row, text, ha="center", va="center", color=ink, fontsize=8)
            left += share
    axes.set_yticks(range(len(splits)), labels)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.spines[["bottom", "left"]].set_visible(False)


def _plot_shifts(axes: Axes, shifts: Mapping[str, Sequence[MeasuredShift]]) -> None:
    for number, (name, of_split) in enumerate(shifts.items()):
        certain = [measured.shift for measured in of_split if measured.shift.is_measured]
        label = f"{name} ({len(of_split) - len(certain)} not measurable)"
        across, down = [shift.dx for shift in certain], [shift.dy for shift in certain]
        axes.scatter(across, down, s=10, alpha=0.6, color=SERIES[number % len(SERIES)], label=label)
    limit = max(10.0, *(abs(edge) for edge in (*axes.get_xlim(), *axes.get_ylim())))
    axes.set_xlim(-limit, limit)
    axes.set_ylim(limit, -limit)
    axes.set_aspect("equal")
    axes.axhline(0, lw=0.5, color="#999999")
    axes.axvline(0, lw=0.5, color="#999999")
    add_legend(axes, loc="center left", bbox_to_anchor=(1.0, 0.5))
