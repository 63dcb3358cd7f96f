"""Build the sections about a run's training: config, environment, weights, curves, data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from yolofuse.check.charts import plot_classes, plot_sizes
from yolofuse.check.check import count_rows
from yolofuse.check.pair_stats import Split
from yolofuse.config.load import flat_options, validate_config
from yolofuse.errors import RunError
from yolofuse.eval.report import DAMAGED
from yolofuse.files import read_regular
from yolofuse.reports.run_files import RunFiles
from yolofuse.reports.sections import Chart, Section, chart
from yolofuse.run.records import read_events
from yolofuse.run.status_summary import summarise_run
from yolofuse.viz.axes import style_axes
from yolofuse.viz.curves import collect_curves, plot_accuracy, plot_curves, plot_losses
from yolofuse.weights import load_checkpoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MAX_BYTES = 1 << 26
_STATUSES = ("loaded", "inflated", "partial", "initialised", "constructor", "fixed")
_REQUIRED = ("data.descriptor", "train.run")  # options without a default
_MAX_TAGS = 20
_MAX_EVENTS = 20


def config_section(run: RunFiles) -> Section:
    """List the options that differ from their defaults; the rest is folded."""
    options = flat_options(run.config)
    defaults = default_options(run)
    changed = [
        [name, plain(value), "-" if name in _REQUIRED else plain(defaults[name])]
        for name, value in options.items()
        if value != defaults[name]
    ]
    rest = [[name, plain(value)] for name, value in options.items() if value == defaults[name]]
    return Section(
        "",
        "",
        tables=[("Options that differ from their defaults", [["option", "value", "default"], *changed])],
        more=(f"{len(rest)} options with their default values", [["option", "value"], *rest]),
    )


def default_options(run: RunFiles) -> dict[str, Any]:
    """Return the default of each option; those without one are None."""
    where = {"data": {"descriptor": run.config.data.descriptor}, "train": {"run": run.config.train.run}}
    defaults = flat_options(validate_config(where, where="defaults"))
    return {name: None if name in _REQUIRED else defaults.get(name) for name in flat_options(run.config)}


def plain(value: Any) -> str:
    """Write the value of an option as a config does, in one line."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def environment_section(run: RunFiles) -> Section:
    """Say where, when and with what the run was trained and evaluated."""
    facts: list[tuple[str, str]] = []
    events, damaged = read_events(run.folder.path)
    summary = summarise_run(run.folder.path)
    for event in events[:1]:
        facts += [("begun", f"{event.time:%Y-%m-%d %H:%M} UTC"), ("host", event.host)]
    if summary.status is not None:
        facts += [
            ("last sign of life", f"{summary.status.updated:%Y-%m-%d %H:%M} UTC"),
            ("ranks", str(summary.status.world)),
        ]
    if run.folder.best.exists():
        content = load_checkpoint(run.folder.best)
        machine = content.get("machine", {})
        of_training = {**content.get("code", {}), **machine.get("versions", {}), "threads": machine.get("threads")}
        facts += [(f"trained with {name}", str(value)) for name, value in of_training.items()]
    rows = [
        [
            f"{event.time:%Y-%m-%d %H:%M:%S}",
            event.event,
            "" if event.epoch is None else str(event.epoch),
            _facts(event.facts),
        ]
        for event in events[-_MAX_EVENTS:]
    ]
    notes = [f"{damaged} lines of the events could not be read."] if damaged else []
    if not facts and not rows:
        raise RunError("the folder has no status, events or weights")
    return Section("", "", notes=notes, facts=facts, more=("Events", [["time (UTC)", "event", "epoch", ""], *rows]))


def _facts(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def weights_section(run: RunFiles) -> Section:
    """Count per part how many tensors were loaded and how many initialised."""
    path = run.folder.weights_report
    try:
        content = json.loads(read_regular(path, _MAX_BYTES))
        parts = {str(part): {s: int(counts.get(s, 0)) for s in _STATUSES} for part, counts in content["parts"].items()}
        share, policy = float(content["share_loaded"]), str(content["policy"])
        sources = [
            (str(part), f"{source['file']} ({source['base']}, sha256 {str(source['sha256'])[:12]})")
            for part, source in content["sources"].items()
        ]
        classes = [
            [str(name), str(match["from"] or "new"), str(match["by"] or "")]
            for name, match in content["classes"].items()
        ]
        warnings = [f"Warning: {text}" for text in content["warnings"]]
    except FileNotFoundError:
        raise RunError("weights_report.json is missing: the run was never started from its weights here") from None
    except (OSError, RecursionError, *DAMAGED) as error:
        raise RunError(f"{path}: not a report of weights ({error!r})") from error
    used = [status for status in _STATUSES if any(counts[status] for counts in parts.values())]
    rows = [["part", *used], *([part, *(str(counts[s]) for s in used)] for part, counts in parts.items())]
    tables = [("Tensors by what they started from", rows)]
    if classes:
        tables.append(
            ("Classes, and those of the weights whose rows they started from", [["class", "from", "by"], *classes])
        )
    said = f"{share:.1%} of backbone and neck were loaded; the rest was initialised by the policy {policy}."
    return Section(
        "", "", notes=[said, *warnings], facts=[(f"weights of {p}", text) for p, text in sources], tables=tables
    )


def curves_section(run: RunFiles) -> Section:
    """Plot loss terms, AP, learning rate, and what an epoch took."""
    curves = collect_curves(run.folder.read_results())
    if not curves:
        raise RunError("results.csv is missing or empty: no epoch is finished")
    rates = {name: curve for name, curve in curves.items() if name.startswith("lr")}
    charts = []
    if any(name.startswith("train/") for name in curves):
        charts.append(chart("Loss terms of each epoch", lambda axes: plot_losses(axes, curves)))
    if "val/AP" in curves:
        charts.append(
            chart(
                "AP on the validation split; epoch 0 is the model before training",
                lambda axes: plot_accuracy(axes, curves),
            )
        )
    if rates:
        charts.append(
            chart("Learning rate at the end of each epoch", lambda axes: plot_curves(axes, "learning rate", rates))
        )
    for name, title, caption in (
        ("seconds", "seconds per epoch", "Time of each epoch, without its evaluation"),
        ("data_wait", "share of time waited for data", "Share of each epoch in which the device waited for data"),
        ("memory_gib", "peak memory, GiB", "Highest memory of the device in each epoch"),
    ):
        if name in curves:
            charts.append(_one_curve(name, title, caption, curves))
    return Section("", "", charts=charts)


def _one_curve(name: str, title: str, caption: str, curves: Mapping[str, Any]) -> Chart:
    def plot(axes: Any) -> None:
        plot_curves(axes, title, {name: curves[name]})
        axes.set_ylim(bottom=0)

    return chart(caption, plot)


def data_section(run: RunFiles) -> Section:
    """Describe the data set: pairs, boxes, classes, sizes and tags of both splits."""
    loaded = {run.config.data.train_split: run.train_pairs, run.split: run.val_pairs}
    splits = [Split(name, pairs, [None] * len(pairs), (), ()) for name, pairs in loaded.items()]
    imgsz = run.config.train.imgsz
    rows = [["", *loaded], *(row for row in count_rows(splits) if row[0] != "file problems")]
    tags = _tag_rows(splits)

    def draw_classes(axes: Axes) -> None:
        style_axes(axes, "boxes of each class")
        plot_classes(axes, splits)

    def draw_sizes(axes: Axes) -> None:
        style_axes(axes, f"shorter side of the boxes at imgsz {imgsz}, px", ylabel="% of boxes")
        plot_sizes(axes, splits, imgsz)

    return Section(
        "",
        "",
        facts=[
            ("descriptor", str(run.config.data.descriptor)),
            ("frame of the boxes", run.val_pairs.formats[0].frame),
            *((f"image sizes of {split.name}, px", _sizes(split)) for split in splits),
        ],
        tables=[("Contents", rows), *([("Pairs by tag", tags)] if len(tags) > 1 else [])],
        charts=[chart("Boxes of each class", draw_classes), chart("Sizes of the boxes", draw_sizes)],
    )


def _sizes(split: Split) -> str:
    found = sorted({(int(width), int(height)) for height, width in split.pairs.sizes_hw})
    return ", ".join(f"{width}x{height}" for width, height in found[:3]) + (
        f" and {len(found) - 3} more" if len(found) > 3 else ""
    )


def _tag_rows(splits: Sequence[Split]) -> list[list[str]]:
    """Count the pairs of each split by tag; a tag with many values, such as a frame number, is left out."""
    counts: dict[tuple[str, str], list[int]] = {}
    for column, split in enumerate(splits):
        for record in split.pairs.records:
            for tag, value in record.tags.items():
                counts.setdefault((tag, value), [0] * len(splits))[column] += 1
    values = {tag: sum(name == tag for name, _ in counts) for tag, _ in counts}
    rows = [
        [f"{tag}={value}", *map(str, row)] for (tag, value), row in sorted(counts.items()) if values[tag] <= _MAX_TAGS
    ]
    return [["tag", *(split.name for split in splits)], *rows]
