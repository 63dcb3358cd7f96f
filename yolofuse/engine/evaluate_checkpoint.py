"""Evaluate a checkpoint or a run on a split and write the report, as ``val_dual.py`` does."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from yolofuse.backends import Backend
from yolofuse.boxes import xywhn_to_xyxy
from yolofuse.config import Config
from yolofuse.config.parts import check_name
from yolofuse.data import PairSet
from yolofuse.data.images.read_pair import read_pair, to_bytes
from yolofuse.data.index.thermal_window import compare_depths
from yolofuse.data.pair_formats import unusual_rules
from yolofuse.distributed.ranks import Ranks, join_ranks
from yolofuse.engine.anchor_fit import with_fitted_anchors
from yolofuse.engine.build import build_start, log_model
from yolofuse.engine.dataloaders import load_split
from yolofuse.engine.evaluate_split import Evaluation, evaluate_split
from yolofuse.engine.loaded_detector import LoadedDetector, load_detector, warn_of_other_reading
from yolofuse.engine.origin_run import (
    OTHER_DATA,
    difference_to_run,
    name_config,
    report_folder,
    trained_windows,
    warn_of_other_origin,
)
from yolofuse.engine.precision import resolve_precision, warn_of_emulation
from yolofuse.errors import DataError, RunError, listing
from yolofuse.eval.coco_backends import backend_version
from yolofuse.eval.extra_metrics import METRICS
from yolofuse.eval.limits import score_limits
from yolofuse.eval.operating_point import OperatingPoints, operating_points
from yolofuse.eval.provenance import environment
from yolofuse.eval.report import REPORT_NAME, SIGN, EvalReport, Scalar, format_table, write_report
from yolofuse.files import check_output_folder, file_sha256
from yolofuse.run.best_weights import own_best
from yolofuse.spacing import evenly_spaced
from yolofuse.viz.axes import drawing
from yolofuse.viz.evaluation import save_evaluation_plot
from yolofuse.viz.pairs import Boxes, PairView, save_prediction_image

log = logging.getLogger("yolofuse")

_DRAWN = 8


@dataclass(frozen=True)
class EvalOutcome:
    """A report and the evaluation behind it."""

    report: EvalReport
    evaluation: Evaluation


def evaluate_run(
    run: Path, overrides: Sequence[str] = (), *, split: str | None = None, out: Path | None = None
) -> EvalOutcome | None:
    """Evaluate the best weights of a run; None on every rank but 0."""
    return evaluate_checkpoint(own_best(run), overrides, split=split, out=out)


def evaluate_start(config: Config, *, split: str | None = None, out: Path | None = None) -> EvalOutcome | None:
    """Evaluate the model of a config as it is built and loaded, before any training; None on every rank but 0.

    Args:
        config: The run that would be trained; its folder is not touched.
        split: Name of the split; by default the config's validation split.
        out: Folder of the report; by default ``RUN-untrained/eval-SPLIT`` beside the run's folder.
    """
    split = split or config.data.val_split
    folder = out or Path(f"{config.run_dir}-untrained") / f"eval-{split}"
    with join_ranks(config.train.device) as ranks:
        _check_output(ranks, folder, out)
        train_pairs = load_split(config, config.data.train_split, ranks)
        pairs = load_split(config, split, ranks, train_pairs.ir_windows)
        if problems := compare_depths(train_pairs.window_bits, pairs.window_bits):
            raise DataError(listing(config.data.descriptor, problems))
        start = build_start(with_fitted_anchors(config, train_pairs), train_pairs.names)
        if ranks.is_main:
            log_model(start.config, start.detector, start.report, len(start.frozen))
            warn_of_other_origin(config, start.report.sources, split, pairs)
        source = next((source.path for source in start.report.sources.values()), None)
        loaded = LoadedDetector(
            start.detector.eval(),
            start.config,
            train_pairs.names,
            {"epoch": 0, "data_hash": train_pairs.fingerprint},
            train_pairs.formats,
        )
        return _evaluate(loaded, pairs, source, "as given", split, folder, ranks)


def evaluate_checkpoint(
    weights: Path,
    overrides: Sequence[str] = (),
    *,
    split: str | None = None,
    out: Path | None = None,
    trust: bool = False,
) -> EvalOutcome | None:
    """Evaluate a checkpoint on a split, log the metrics and write the report; None on every rank but 0.

    Args:
        weights: A yolofuse checkpoint, or an exported detector.
        overrides: Changes of the config it was trained with, such as ``val.conf=0.01``.
        split: Name of the split; by default the config's validation split.
        out: Folder of the report; by default ``eval-SPLIT`` in the run's folder.
        trust: Load exported files that are programs too.
    """
    loaded = load_detector(weights, overrides, trust=trust)
    config = loaded.config
    split = split or config.data.val_split
    with join_ranks(config.train.device) as ranks:
        pairs = load_split(config, split, ranks, trained_windows(loaded, config.data.descriptor))
        difference = difference_to_run(loaded, split, pairs)
        folder = out or report_folder(weights, split, loaded, is_foreign=bool(difference))
        _check_output(ranks, folder, out)
        if pairs.names != loaded.names:
            raise DataError(
                f"{config.data.descriptor}: its classes are {', '.join(pairs.names)}, but {weights} knows "
                f"{', '.join(loaded.names)}; give both the same names in the same order"
            )
        if ranks.is_main:
            where = f"{config.data.descriptor} [{split}]"
            if difference and difference != OTHER_DATA:
                log.warning("warning: %s: changed since the run was trained: %s; its metrics differ", where, difference)
            warn_of_other_reading(loaded, pairs, where)
        return _evaluate(loaded, pairs, weights, name_config(weights), split, folder, ranks)


def _check_output(ranks: Ranks, folder: Path, given: Path | None) -> None:
    """Check before minutes of evaluation that the folder holds nothing else than a report, and stays in its run."""

    def check() -> None:
        if given is None and folder.is_symlink():  # in a run that somebody sent
            raise RunError(f"{folder}: a link out of the run; remove it, or name a folder with --out")
        check_output_folder(folder, REPORT_NAME, SIGN)

    ranks.run_on_main(check)


def _evaluate(
    loaded: LoadedDetector,
    pairs: PairSet,
    weights: Path | None,
    config_name: str,
    split: str,
    folder: Path,
    ranks: Ranks,
) -> EvalOutcome | None:
    """Evaluate, log the metrics and write the report; None on every rank but 0."""
    if ranks.is_main:
        warn_of_emulation(ranks.device, {"val.precision": loaded.config.val.precision})
    for name in loaded.config.val.metrics:
        check_name("val.metrics", name, METRICS)
    evaluation = evaluate_split(loaded.detector.to(ranks.device), pairs, loaded.config, ranks)
    if evaluation is None:
        return None
    settings = _settings(loaded, weights, config_name, split, pairs, ranks)
    coco = evaluation.ground_truth, evaluation.predictions
    points = operating_points(*coco)
    report = EvalReport(
        evaluation.result,
        evaluation.slices,
        settings,
        evaluation.ms_per_pair,
        evaluation.blanked,
        points,
        extra={name: float(METRICS[name](*coco)) for name in loaded.config.val.metrics},
        limits=score_limits(pairs, loaded.config.val.max_det, loaded.config.val.conf),
    )
    log.info("%s\n", format_table(report))
    try:
        write_report(folder, report, evaluation.ground_truth, evaluation.predictions)
    except OSError as error:
        raise RunError(
            f"{folder}: the report cannot be written ({error.strerror}); its metrics are printed above; write it "
            "elsewhere with --out FOLDER"
        ) from error
    _draw(pairs, evaluation, points, folder)
    log.info("report in %s", folder)
    return EvalOutcome(report, evaluation)


def _draw(pairs: PairSet, evaluation: Evaluation, points: OperatingPoints, folder: Path) -> None:
    """Draw the curves, and some pairs with what was found in them."""
    confidence = points.mean.confidence if points.mean else 0.0
    title = f"what was found, from score {confidence:.3f} on"
    with drawing(folder / "curves.png"):
        save_evaluation_plot(points.curves, points.confusion, points.names, title, folder / "curves.png")
    drawn = evenly_spaced(len(pairs), _DRAWN)
    with drawing(folder / "predictions.jpg"):
        save_prediction_image(
            [view_pair(pairs, i) for i in drawn],
            [evaluation.detections[i] for i in drawn],
            pairs.names,
            folder / "predictions.jpg",
        )


def boxes_of_pair(pairs: PairSet, index: int) -> tuple[Boxes, Boxes]:
    """Return the boxes to detect in a pair and the regions to ignore: corners in its pixels (N, 4), class ids (N,)."""
    found, ignored = (
        (xywhn_to_xyxy(boxes_xywhn, pairs.records[index].size_hw), class_ids)
        for boxes_xywhn, class_ids in (pairs.labels(index), pairs.ignored(index))
    )
    return found, ignored


def view_pair(pairs: PairSet, index: int) -> PairView:
    """Read a pair of a split with its labels, to be drawn at its original size."""
    record = pairs.records[index]
    (boxes, class_ids), ignored = boxes_of_pair(pairs, index)
    tags = ", ".join(record.tags.values())
    caption = f"{record.key} ({tags})" if tags else record.key
    return PairView(to_bytes(read_pair(record)), boxes, class_ids, caption, ignored)


def _settings(
    loaded: LoadedDetector, weights: Path | None, config_name: str, split: str, pairs: PairSet, ranks: Ranks
) -> dict[str, Scalar]:
    config, detector = loaded.config, loaded.detector
    merged = config.model.merge if len(detector.heads) == 2 else None
    nms, precision = f"IoU {config.val.iou}", resolve_precision(ranks.device, config.val.precision)
    exported: dict[str, Scalar] = {}
    if isinstance(detector, Backend):
        nms = f"{nms}, inside the file" if detector.metadata.nms else nms
        precision = detector.precision
        exported = {"backend": detector.runtime, "exported from sha256": detector.metadata.weights_sha256}
    return {
        "config": config_name,
        "weights": None if weights is None else str(weights),
        "weights_sha256": None if weights is None else file_sha256(weights),
        "epoch": loaded.content["epoch"],
        "model": config.model.base,
        "streams": config.model.streams,
        "cut": config.model.cut if config.model.streams == "both" else None,
        "fusion": config.model.fusion_label if config.model.streams == "both" else None,
        "merge": merged,
        "pretrained": config.weights.pretrained,
        "seed": config.train.seed,
        "data": config.data.descriptor,
        "root": config.data.root,
        "split": split,
        "data_hash": pairs.fingerprint,
        **{f"pairs without {modality}": number for modality, number in pairs.num_missing.items()},
        "train_data_hash": loaded.content["data_hash"],
        **unusual_rules(pairs.formats),
        "imgsz": config.val_imgsz,
        "letterbox": config.val.letterbox,
        "conf": config.val.conf,
        "nms": "none (end-to-end head)" if detector.end2end and "inside" not in nms else nms,
        "max_det": config.val.max_det,
        "precision": precision,
        **exported,
        "coco backend": backend_version(config.val.backend),
        "device": str(ranks.device),
        "ranks": ranks.world,
        **environment(),
    }
