"""Build the sections about an evaluation: metrics, operating points, cameras, pairs, heat maps."""

from __future__ import annotations

from yolofuse.data import EvalDataset
from yolofuse.engine.dataloaders import build_eval_loader
from yolofuse.engine.evaluate_split import compute_metrics, predict_split
from yolofuse.errors import RunError, plural
from yolofuse.eval.coco import CocoResult
from yolofuse.eval.report import digits, point_cells, report_tables
from yolofuse.reports.heat_maps import draw_heat_maps
from yolofuse.reports.outcomes import LEGEND, choose_best, choose_worst, count_outcomes, draw_pair
from yolofuse.reports.run_files import CPU, RunFiles
from yolofuse.reports.sections import Rows, Section, chart
from yolofuse.types import CHANNELS, Modality
from yolofuse.viz.evaluation import plot_confusion, plot_precision

_NUM_DRAWN = 4
_NUM_HEAT_MAPS = 2
_SIZES = (("small, below 32 x 32 px", "s"), ("medium, below 96 x 96 px", "m"), ("large", "l"))


def metrics_section(run: RunFiles) -> Section:
    """Show the metrics in all, by class, size and tag."""
    report = run.report
    tables = report_tables(report)
    result = report.result
    sizes = [[name, *(digits(getattr(result, f"{kind}{size}")) for kind in ("AP", "AR"))] for name, size in _SIZES]
    whole = ("AP", "AP50", "AP75", "AR1", "AR10", "AR100")
    shown: list[tuple[str, Rows]] = [
        ("", [whole, [digits(getattr(result, name)) for name in whole]]),
        ("By size of the box, in original pixels", [["size", "AP", "AR"], *sizes]),
    ]
    captions = {"slices": "By tag", "extra": "Further metrics"}
    shown += [(caption, tables[name]) for name, caption in captions.items() if name in tables]
    notes = [
        "AP is cocoapi's, the mean over IoU 0.50 to 0.95; AR is the recall with 1, 10 or 100 detections per image. "
        f"- stands for nothing to find. {plural(result.num_images, 'pair')}, {plural(result.num_boxes, 'box')}."
    ]
    notes += [f"Warning: {text}." for text in report.limits]
    settings = [[name, "" if value is None else str(value)] for name, value in report.settings.items()]
    return Section(
        "", "", notes=notes, tables=shown, more=("Settings of the evaluation", [["setting", "value"], *settings])
    )


def classes_section(run: RunFiles) -> Section:
    """Show each class: AP, the best F1 and from which score, precision over recall, confusions."""
    points = run.points
    rows = [["class", "AP", "AP50", "precision", "recall", "best F1", "from score"]]
    result = run.report.result
    if points.mean is not None:
        rows.append(["all classes", *map(digits, (result.AP, result.AP50)), *point_cells(points.mean)])
    rows += [[name, *map(digits, both), *point_cells(points.best.get(name))] for name, both in result.per_class.items()]
    size = min(max(3.2, 0.42 * (len(points.names) + 1) + 1.4), 9.0)
    title = f"what was found, from score {run.confidence:.3f} on"
    return Section(
        "",
        "",
        notes=["Precision, recall and F1 are at an IoU of 0.5, line by line from the score on that gives the best F1."],
        tables=[("", rows)],
        charts=[
            chart("Precision over recall", lambda axes: plot_precision(axes, points.curves)),
            chart(
                "Confusion matrix",
                lambda axes: plot_confusion(axes, points.confusion, points.names, title),
                height=size,
            ),
        ],
    )


def cameras_section(run: RunFiles, *, may_run: bool) -> Section:
    """Show AP with the images of one camera black: what the detector loses without it."""
    streams = run.config.model.streams
    if streams != "both":
        raise RunError(f"the model has the {streams} camera alone")
    blanked = dict(run.report.blanked)
    missing = [name for name in CHANNELS if name not in blanked]
    if missing and not may_run:
        raise RunError("not measured; leave out --quick, or evaluate with val.blank=[rgb,ir]")
    blanked |= {name: _evaluate_blanked(run, name) for name in missing}
    whole = run.report.result
    rows = [["images", "AP", "AP50", "AP75", "AP lost"]]
    shown: list[tuple[str, CocoResult]] = [("both cameras", whole)]
    shown += [(f"{'IR' if name == 'rgb' else 'RGB'} alone ({name.upper()} black)", blanked[name]) for name in CHANNELS]
    for name, result in shown:
        lost = "" if result is whole else digits(whole.AP - result.AP)
        rows.append([name, *map(digits, (result.AP, result.AP50, result.AP75)), lost])
    return Section(
        "", "", notes=["The same weights, with the images of one camera replaced by black ones."], tables=[("", rows)]
    )


def _evaluate_blanked(run: RunFiles, blank: Modality) -> CocoResult:
    """Evaluate with the images of one camera black."""
    loaded = run.detector
    loader = build_eval_loader(run.pairs, loaded.config, loaded.detector.stride, CPU)
    found = compute_metrics(
        predict_split(loaded.detector, loader, loaded.config, CPU, blank=blank),
        run.pairs,
        loaded.config,
        CPU,
        with_slices=False,
    )
    assert found is not None
    return found.result


def pairs_section(run: RunFiles) -> Section:
    """Draw the pairs with most errors, and pairs in which all was found."""
    outcomes = count_outcomes(run.pairs, run.detections, run.confidence)
    groups = []
    for heading, chosen in (
        ("Most errors", choose_worst(outcomes, _NUM_DRAWN)),
        ("All found, and nothing else", choose_best(outcomes, _NUM_DRAWN)),
    ):
        if chosen:
            groups.append((heading, [draw_pair(run.pairs, i, run.detections, run.confidence) for i in chosen]))
    return Section(
        "",
        "",
        notes=[
            f"Detections from score {run.confidence:.3f} on, which gives the best mean F1. {LEGEND}",
        ],
        pairs=groups,
    )


def heat_section(run: RunFiles, *, may_run: bool) -> Section:
    """Draw where the streams of the detector look in some of those pairs."""
    if not may_run:
        raise RunError("left out by --quick")
    loaded, pairs = run.detector, run.pairs
    outcomes = count_outcomes(pairs, run.detections, run.confidence)
    worst, best = choose_worst(outcomes, _NUM_HEAT_MAPS), choose_best(outcomes, _NUM_HEAT_MAPS)
    chosen = list(dict.fromkeys([*best, *worst])) or list(range(min(len(pairs), 1)))
    config = loaded.config
    dataset = EvalDataset(
        pairs, config.val_imgsz, letterbox=config.val.letterbox, stride=max(loaded.detector.stride, 32)
    )
    drawn = [draw_heat_maps(loaded, dataset, index) for index in chosen]
    note = (
        "Where the features of each stream raise the best scores of the pair: activation times gradient, both cameras "
        "on one scale. It shows what the scores react to, not why."
    )
    return Section("", "", notes=[note], pairs=[("", drawn)])
