"""Charts of a data set: boxes of each class, sizes of boxes, day and night, shifts."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from yolofuse.check.findings import Picture
from yolofuse.check.rules.boxes import flat_boxes
from yolofuse.check.rules.class_balance import class_counts, lights
from yolofuse.check.rules.registration import Measured
from yolofuse.check.split_data import Split
from yolofuse.types import ByteArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = ("#1b5e8c", "#e07b39", "#5aa469", "#9467bd", "#8c564b")
_DAY, _NIGHT = "#e8b54a", "#33415c"
_MAX_CLASSES = 30


def draw_charts(splits: Sequence[Split], shifts: Mapping[str, Sequence[Measured]], imgsz: int) -> tuple[Picture, ...]:
    """All charts that have something to show."""
    charts = [
        _chart("classes", "Boxes of each class", lambda axes: _classes(axes, splits)),
        _chart(
            "box-sizes",
            f"Shorter side of the boxes at imgsz {imgsz}, never enlarged, px",
            lambda axes: _sizes(axes, splits, imgsz),
        ),
        _chart("light", "Day and night", lambda axes: _light(axes, splits), height=0.7 + 0.65 * len(splits)),
    ]
    if any(measured.shift.is_measured for found in shifts.values() for measured in found):
        charts.append(_chart("shifts", "Where IR lies beside RGB, px of the frame", lambda axes: _shifts(axes, shifts)))
    return tuple(charts)


def _chart(name: str, title: str, draw: Callable[[Axes], None], height: float = 3.0) -> Picture:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # a second of importing, only for who draws
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_title(title, fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    draw(axes)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    decoded = cv2.imdecode(np.frombuffer(content.getvalue(), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return Picture(name, title, cast(ByteArray, decoded))


def _classes(axes: Axes, splits: Sequence[Split]) -> None:
    names = splits[0].pairs.names
    counts = [class_counts(split) for split in splits]
    order = np.argsort(-np.sum(counts, axis=0), kind="stable")[:_MAX_CLASSES]
    thickness = 0.8 / len(splits)
    for number, (split, of_split) in enumerate(zip(splits, counts, strict=True)):
        places = np.arange(len(order)) + (number - (len(splits) - 1) / 2) * thickness
        bars = axes.bar(places, of_split[order], thickness, label=split.name, color=_COLOURS[number % len(_COLOURS)])
        axes.bar_label(bars, fontsize=7)
    axes.set_xticks(np.arange(len(order)), [names[index] for index in order], rotation=30 if len(order) > 6 else 0)
    axes.margins(x=max(0.02, 0.6 / len(order)))
    axes.legend(fontsize=8, frameon=False)


def _sizes(axes: Axes, splits: Sequence[Split], imgsz: int) -> None:
    bins = np.geomspace(1, imgsz, 40)
    for number, split in enumerate(splits):
        boxes, pair_of = flat_boxes(split)
        sizes_wh = split.pairs.sizes_hw[pair_of][:, ::-1]
        sides = (boxes[:, 2:] * sizes_wh).min(axis=1) * np.minimum(imgsz / sizes_wh.max(axis=1), 1.0)
        colour = _COLOURS[number % len(_COLOURS)]
        weights = np.full(len(sides), 100 / max(len(sides), 1))
        axes.hist(
            sides.clip(1, imgsz),
            bins.tolist(),
            weights=weights,
            histtype="step",
            color=colour,
            label=split.name,
            lw=1.5,
        )
    axes.set_xscale("log")
    ticks = [side for side in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024) if side <= imgsz]
    axes.set_xticks(ticks, [str(side) for side in ticks])
    axes.minorticks_off()
    axes.set_ylabel("% of boxes", fontsize=8)
    axes.legend(fontsize=8, frameon=False)


def _light(axes: Axes, splits: Sequence[Split]) -> None:
    for row, split in enumerate(splits):
        tagged, estimated, _ = lights(split)
        counts = tagged or estimated
        total = max(counts.total(), 1)
        left = 0.0
        for word, colour, ink in (("day", _DAY, "black"), ("night", _NIGHT, "white")):
            share = counts[word] / total
            axes.barh(row, share, left=left, color=colour, height=0.6)
            if share > 0.04:
                axes.text(
                    left + share / 2, row, f"{word} {counts[word]}", ha="center", va="center", color=ink, fontsize=8
                )
            left += share
    labels = [f"{split.name}\n({'tags' if lights(split)[0] else 'estimated'})" for split in splits]
    axes.set_yticks(range(len(splits)), labels)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.spines[["bottom", "left"]].set_visible(False)


def _shifts(axes: Axes, shifts: Mapping[str, Sequence[Measured]]) -> None:
    for number, (name, found) in enumerate(shifts.items()):
        certain = [measured.shift for measured in found if measured.shift.is_measured]
        label = f"{name} ({len(found) - len(certain)} not measurable)"
        across, down = [shift.dx for shift in certain], [shift.dy for shift in certain]
        axes.scatter(across, down, s=10, alpha=0.6, color=_COLOURS[number % len(_COLOURS)], label=label)
    limit = max(10.0, *(abs(edge) for edge in (*axes.get_xlim(), *axes.get_ylim())))
    axes.set_xlim(-limit, limit)
    axes.set_ylim(limit, -limit)
    axes.set_aspect("equal")
    axes.axhline(0, lw=0.5, color="#999999")
    axes.axvline(0, lw=0.5, color="#999999")
    axes.set_xlabel("to the right", fontsize=8)
    axes.set_ylabel("down", fontsize=8)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
