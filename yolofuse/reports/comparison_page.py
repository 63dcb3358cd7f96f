"""Write the comparison of runs: metrics with intervals, config differences, curves, pairs in which they differ most."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from yolofuse.config.load import flat_options
from yolofuse.errors import RunError, YolofuseError
from yolofuse.eval.coco import METRICS
from yolofuse.eval.comparison import Comparison
from yolofuse.eval.report import digits
from yolofuse.files import save_text
from yolofuse.html.render import render_page
from yolofuse.reports.outcomes import LEGEND, count_outcomes, draw_pair
from yolofuse.reports.run_files import RunFiles
from yolofuse.reports.run_sections import plain
from yolofuse.reports.sections import Page, PairFigure, Section, attempt, chart
from yolofuse.viz.axes import SERIES
from yolofuse.viz.curves import Curve, collect_curves, plot_curves

log = logging.getLogger("yolofuse")

_NUM_DRAWN = 6
_OVERLAID = (
    ("val/AP", "validation AP"),
    ("val/AP50", "validation AP50"),
    ("loss", "training loss, all terms"),
    ("lr", "learning rate"),
)


def write_comparison(runs: Sequence[Path], comparisons: Sequence[Comparison], out: Path) -> Path:
    """Write the page; return its path.

    Args:
        runs: Folders of runs or evaluations, the first is the one that the others are compared with.
        comparisons: Of each other one with the first.
        out: The page; checking that it is nobody else's is the caller's task.
    """
    files = [RunFiles(run) for run in runs]
    names = unique_names(runs)
    builders: tuple[tuple[str, str, Callable[[], Section]], ...] = (
        ("metrics", "Metrics", partial(_metrics_section, names, files)),
        ("differences", "Differences", partial(_differences_section, names, comparisons)),
        ("config", "Config differences", partial(_config_section, names, files)),
        ("curves", "Training curves", partial(_curves_section, names, files)),
        ("pairs", "Pairs that differ most", partial(_pairs_section, names, files)),
    )
    sections = [attempt(key, title, build) for key, title, build in builders]
    page = Page("Comparison of", ", ".join(names), f"all compared with {names[0]}", sections=sections)
    save_text(out, render_page("yolofuse.reports", "page.html.j2", page=page))
    log.info("comparison in %s", out)
    return out


def unique_names(runs: Sequence[Path]) -> list[str]:
    """Return the shortest ends of the paths by which they differ."""
    paths = [str(run.resolve()).encode(errors="backslashreplace").decode() for run in runs]  # plots take no surrogates
    parts = [Path(path).parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(of_run[-length:]) for of_run in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{of_run[-1]} ({number})" for number, of_run in enumerate(parts, start=1)]  # one run twice


def _metrics_section(names: Sequence[str], files: Sequence[RunFiles]) -> Section:
    reports = [run.report for run in files]
    rows = [["", *names]]
    rows += [[name, *(digits(getattr(report.result, name)) for report in reports)] for name in METRICS]
    classes = dict.fromkeys(name for report in reports for name in report.result.per_class)
    rows += [
        [f"{c} AP", *(digits(report.result.per_class.get(c, (-1.0, -1.0))[0]) for report in reports)] for c in classes
    ]
    slices = dict.fromkeys(name for report in reports for name in report.slices)
    rows += [[f"{s} AP", *(digits(r.slices[s].AP) if s in r.slices else "-" for r in reports)] for s in slices]
    notes = [f"Warning: {text}." for run in files for text in run.evaluation_warnings]
    speed = ["-" if report.ms_per_pair is None else f"{report.ms_per_pair:.1f}" for report in reports]
    return Section("", "", notes=notes, tables=[("", [*rows, ["ms per pair", *speed]])])


def _differences_section(names: Sequence[str], comparisons: Sequence[Comparison]) -> Section:
    tables = [
        (f"A: {names[0]}, B: {name}; {comparison.explanation}", [[*map(_unbroken, row)] for row in comparison.table()])
        for name, comparison in zip(names[1:], comparisons, strict=True)
    ]
    note = "Intervals tell what other images would change, not other seeds."
    return Section("", "", notes=[note], tables=tables)


def _config_section(names: Sequence[str], files: Sequence[RunFiles]) -> Section:
    options = [flat_options(run.config) for run in files]
    keys = dict.fromkeys(key for of_run in options for key in of_run)
    rows = [[key, *(plain(of_run.get(key)) for of_run in options)] for key in keys]
    different = [row for row in rows if len(set(row[1:])) > 1 and row[0] != "train.run"]
    if not different:
        return Section("", "", notes=["All options are the same."])
    return Section("", "", tables=[("", [["option", *names], *different])])


def _curves_section(names: Sequence[str], files: Sequence[RunFiles]) -> Section:
    curves: dict[str, Mapping[str, Curve]] = {}
    notes = []
    for name, run in zip(names, files, strict=True):
        try:
            found = collect_curves(run.folder.read_results())
        except (YolofuseError, OSError) as error:
            notes.append(str(error))
            continue
        losses = [curve for key, curve in found.items() if key.startswith("train/")]
        if losses:
            found["loss"] = (
                losses[0][0],
                [sum(values) for values in zip(*(curve[1] for curve in losses), strict=True)],
            )
        curves[name] = found
    charts = []
    for key, title in _OVERLAID:
        shown = {name.replace("/", "\u2215"): found[key] for name, found in curves.items() if key in found}
        if shown:
            colours = dict(zip(shown, SERIES * len(shown), strict=False))
            charts.append(chart(title, partial(plot_curves, title=title, curves=shown, colours=colours)))
    if not charts:
        raise RunError("no run has finished an epoch, or their results.csv are gone")
    return Section("", "", notes=notes, charts=charts)


def _pairs_section(names: Sequence[str], files: Sequence[RunFiles]) -> Section:
    """Draw the pairs in which the numbers of errors of a run and of the first differ most."""
    pairs = files[0].pairs
    outcomes = [count_outcomes(pairs, run.detections, run.confidence) for run in files]
    spread = [max(abs(of_run[i].errors - outcomes[0][i].errors) for of_run in outcomes[1:]) for i in range(len(pairs))]
    chosen = sorted((i for i, difference in enumerate(spread) if difference), key=lambda i: -spread[i])[:_NUM_DRAWN]
    if not chosen:
        return Section("", "", notes=["In every pair all make equally many errors."])
    drawn = []
    for index in chosen:
        panels, texts = [], []
        for name, run in zip(names, files, strict=True):
            figure = draw_pair(pairs, index, run.detections, run.confidence)
            panels += [panel.labelled(f"{name}, {panel.caption}") for panel in figure.panels]
            texts.append(f"{name}: {figure.text}")
        drawn.append(PairFigure(figure.title, "; ".join(texts), panels))
    scores = ", ".join(f"{name} from score {run.confidence:.3f}" for name, run in zip(names, files, strict=True))
    note = f"Each at its best mean F1: {scores}. {LEGEND}"
    return Section("", "", notes=[note], pairs=[("", drawn)])


def _unbroken(interval: str) -> str:
    """Keep an interval on one line of a narrow page."""
    return interval.replace(" .. ", "\N{NO-BREAK SPACE}..\N{NO-BREAK SPACE}")
