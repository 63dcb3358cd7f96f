"""Compute COCO metrics of a detector on a split, on one process or sharded over ranks with equal results."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from yolofuse.backends import Backend
from yolofuse.batch import PairedBatch
from yolofuse.config import Config
from yolofuse.data import PairSet
from yolofuse.distributed.ranks import Ranks
from yolofuse.engine.dataloaders import EvalLoader, build_eval_loader
from yolofuse.engine.loss import DetectionLoss
from yolofuse.engine.precision import autocast
from yolofuse.eval.coco import CocoJson, CocoMatches, CocoResult, ground_truth, prediction_rows
from yolofuse.eval.coco_backends import require_backend
from yolofuse.eval.decision_fusion import MERGES
from yolofuse.eval.postprocess import postprocess, to_detections
from yolofuse.eval.slices import evaluate_slices
from yolofuse.model import Detector
from yolofuse.model.heads import hide_kept_classes
from yolofuse.types import CHANNELS, Detections, Modality

AnyDetector = Detector | Backend
"""A model of torch, or an exported one."""


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a split and what they were computed from.

    Attributes:
        result: The COCO metrics.
        slices: The same for parts of the split, by ``tag=value``.
        ground_truth: COCO JSON of the labels.
        predictions: COCO JSON of the detections.
        detections: The same as arrays, in the order of the split.
        blanked: The metrics with the images of one camera black.
        losses: The loss terms per pair, by name, where they were computed.
        ms_per_pair: Mean time of model and post-processing for one pair, in ms; loading and scoring left out.
    """

    result: CocoResult
    slices: dict[str, CocoResult]
    ground_truth: CocoJson
    predictions: list[dict[str, Any]]
    detections: list[Detections]
    ms_per_pair: float
    blanked: dict[Modality, CocoResult] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)


def predict_batch(
    detector: AnyDetector,
    batch: PairedBatch,
    config: Config,
    blank: Modality | None = None,
    on_raw: Callable[[dict[str, Any], PairedBatch], object] = lambda raw, batch: None,
    classes: Collection[int] | None = None,
) -> list[Detections]:
    """Detect objects in a batch (on the detector's device, pixels 0..1); boxes are in original pixels.

    The detector must be in eval mode.

    Args:
        detector: The model; an exported one has no raw outputs.
        batch: The pairs.
        config: The run.
        blank: The modality whose images are replaced by black ones.
        on_raw: Called with the heads' outputs before they are decoded, as in training mode.
        classes: Class ids to look for; None: all.
    """
    val = config.val
    if isinstance(detector, Backend):
        detector.check_limits(val.conf, val.iou, val.max_det)
    if blank is not None:
        batch = replace(batch, pixels=batch.pixels.clone())
        batch.pixels[:, CHANNELS[blank]] = 0
    with torch.inference_mode(), autocast(batch.pixels.device, val.precision):
        heads = detector.heads
        found = detector(batch.rgb, batch.ir)
        outputs = {name: hide_kept_classes(heads[name], output[0].float()) for name, output in found.items()}
        if classes is not None:
            outputs = {name: _keep_classes(output, classes, detector.end2end) for name, output in outputs.items()}
    with torch.inference_mode():
        on_raw({name: output[1] for name, output in found.items()}, batch)
    limits: dict[str, Any] = {
        "conf": val.conf, "iou": val.iou, "max_det": val.max_det, "end2end": detector.end2end,
    }  # fmt: skip
    if len(outputs) == 2:
        rows = MERGES[config.model.merge](outputs["rgb"], outputs["ir"], **limits)
    else:
        rows = postprocess(next(iter(outputs.values())), **limits)
    return [
        to_detections(
            found,
            image_id=int(batch.image_ids[i]),
            size_hw=(int(batch.sizes_hw[i, 0]), int(batch.sizes_hw[i, 1])),
            letterbox=(float(batch.letterboxes[i, 0]), float(batch.letterboxes[i, 1]), float(batch.letterboxes[i, 2])),
        )
        for i, found in enumerate(rows)
    ]


def _keep_classes(predictions: Tensor, classes: Collection[int], end2end: bool) -> Tensor:
    """Return a head's predictions with a score of 0 for other classes, so that they compete for no place.

    Shapes:
        predictions: (B, 4 + nc, A), or (B, K, 6) when ``end2end``.
    """
    predictions = predictions.clone()
    if end2end:
        predictions[..., 4][~torch.isin(predictions[..., 5], torch.tensor([*classes]).to(predictions))] = 0
    else:
        others = [class_id for class_id in range(predictions.shape[1] - 4) if class_id not in classes]
        predictions[:, [4 + class_id for class_id in others]] = 0
    return predictions


def evaluate_split(
    detector: AnyDetector, pairs: PairSet, config: Config, ranks: Ranks, *, with_slices: bool = True
) -> Evaluation | None:
    """Evaluate a detector, in eval mode, on a split; None on every rank but 0.

    A batch's content never depends on the number of ranks, so neither do the metrics.

    Raises:
        ConfigError: If the package of ``val.backend`` is missing.
    """
    require_backend(config.val.backend)
    loader = build_eval_loader(pairs, config, detector.stride, ranks)
    found = predict_split(detector, loader, config, ranks)
    evaluation = compute_metrics(found, pairs, config, ranks, with_slices=with_slices)
    for modality in config.val.blank:
        found = predict_split(detector, loader, config, ranks, blank=modality)
        without = compute_metrics(found, pairs, config, ranks, with_slices=False)
        if evaluation is not None and without is not None:
            evaluation.blanked[modality] = without.result
    return evaluation


@dataclass(frozen=True)
class SplitPredictions:
    """Detections of this rank, in the split's order, the seconds they took, and sums of loss terms of each batch."""

    detections: list[Detections]
    seconds: float
    losses: list[dict[str, float]] = field(default_factory=list)


def predict_split(
    detector: AnyDetector,
    loader: EvalLoader,
    config: Config,
    ranks: Ranks,
    on_batch_end: Callable[[], object] = lambda: None,
    criterion: DetectionLoss | None = None,
    blank: Modality | None = None,
) -> SplitPredictions:
    """Detect objects in this rank's part of a split.

    Args:
        detector: The model, in eval mode.
        loader: The split's batches.
        config: The run.
        ranks: This process among the run's.
        on_batch_end: Called after each batch, equally often on every rank; it may raise to stop.
        criterion: The loss of this detector, if it is wanted too.
        blank: The modality whose images are replaced by black ones.
    """
    losses: list[dict[str, float]] = []

    def add_loss(raw: dict[str, Any], batch: PairedBatch) -> None:
        if criterion is not None:
            terms = criterion(raw, batch).terms
            losses.append({name: float(value) * len(batch) for name, value in terms.items()})

    for head in detector.heads.values():
        head.max_det = config.val.max_det  # end-to-end heads select their best boxes themselves
    found: list[Detections] = []
    seconds = 0.0
    loader.prefetcher.start()
    batches = iter(loader.prefetcher)
    hidden = None if ranks.is_main else True  # None: silent when stderr is no terminal
    for _ in tqdm(range(loader.num_steps), desc="validate", leave=False, disable=hidden, unit="batch"):
        if (batch := next(batches, None)) is not None:
            started = time.perf_counter()
            # It ends on the CPU, so the clock sees finished work.
            found += predict_batch(detector, batch, config, blank, add_loss)
            seconds += time.perf_counter() - started
        on_batch_end()
    return SplitPredictions(found, seconds, losses)


def compute_metrics(
    predictions: SplitPredictions, pairs: PairSet, config: Config, ranks: Ranks, *, with_slices: bool = True
) -> Evaluation | None:
    """Compute the COCO metrics of what all ranks detected; None on every rank but 0."""
    gathered = ranks.gather(predictions)
    if not ranks.is_main:
        return None
    detections = sorted((d for part in gathered for d in part.detections), key=lambda d: d.image_id)
    truth = ground_truth(pairs.records, pairs.labels, pairs.names, pairs.ignored)
    rows = prediction_rows(detections)
    matches = CocoMatches(truth, rows, config.val.backend)
    return Evaluation(
        result=matches.result(),
        slices=evaluate_slices(matches, pairs.records) if with_slices else {},
        ground_truth=truth,
        predictions=rows,
        detections=detections,
        ms_per_pair=1000 * sum(part.seconds for part in gathered) / max(len(detections), 1),
        losses=_mean_losses([terms for part in gathered for terms in part.losses], len(detections)),
    )


def _mean_losses(batches: Sequence[Mapping[str, float]], num_pairs: int) -> dict[str, float]:
    """Return the mean of each term over all pairs, the same for any division of the batches among ranks."""
    names = batches[0] if batches else ()
    return {name: math.fsum(terms[name] for terms in batches) / num_pairs for name in names}
