"""Compare anchors with the boxes of a data set, and fit new ones to them."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import numpy.typing as npt

from yolofuse.config import Config
from yolofuse.data import PairSet
from yolofuse.engine.anchor_loss import MAX_RATIO
from yolofuse.errors import ConfigError
from yolofuse.model import Detector
from yolofuse.nn.anchor_head import AnchorDetect
from yolofuse.upstream import resolve_base

log = logging.getLogger("yolofuse")

Sides = npt.NDArray[np.float64]
PER_LEVEL = 3
_ATTEMPTS = 10
_STOP = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 200, 1e-5)
_ENOUGH = 0.98  # best possible recall below which new anchors are recommended


def box_sides(pairs: PairSet, imgsz: int) -> Sides:
    """Return width and height of every box at training size, (N, 2) in pixels; boxes without area are left out."""
    found = []
    for index in range(len(pairs)):
        boxes_xywhn, _ = pairs.labels(index)
        height, width = pairs.size_hw(index)
        found.append(boxes_xywhn[:, 2:] * np.array([width, height]) * (imgsz / max(height, width)))
    sides = np.concatenate(found or [np.zeros((0, 2))]).astype(np.float64)
    return np.asarray(sides[(sides > 0).all(axis=1)])


def best_possible_recall(anchors: Sides, sides: Sides) -> float:
    """Return the share of the boxes that some anchor is similar enough to be matched with.

    Shapes:
        anchors: (A, 2), sides: (N, 2), in pixels
    """
    if not len(sides):
        return 1.0
    ratio = sides[:, None] / anchors
    return float((np.maximum(ratio, 1 / ratio).max(axis=2) < MAX_RATIO).any(axis=1).mean())


def fit_anchors(sides: Sides, levels: int, seed: int = 0) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Fit three anchors per level to boxes: the centres of clusters of their logarithms, sorted by area.

    Args:
        sides: (N, 2) in pixels.
        levels: Number of levels.
        seed: Of the first centres.

    Raises:
        ConfigError: If there are fewer boxes than anchors.
    """
    count = PER_LEVEL * levels
    if len(np.unique(sides, axis=0)) < count:
        raise ConfigError(f"model.anchors: fit needs boxes of at least {count} different sizes; leave it out")
    cv2.setRNGSeed(seed)
    samples = np.log(sides).astype(np.float32)
    _, _, centres = cv2.kmeans(samples, count, np.empty(0, np.int32), _STOP, _ATTEMPTS, cv2.KMEANS_PP_CENTERS)
    anchors = np.exp(centres.astype(np.float64))
    anchors = anchors[np.argsort(anchors.prod(axis=1))].round(1).reshape(levels, PER_LEVEL, 2)
    return tuple(tuple((float(w), float(h)) for w, h in level) for level in anchors)


def with_fitted_anchors(config: Config, pairs: PairSet) -> Config:
    """Return the config with anchors fitted to the training boxes, where ``model.anchors`` is ``fit``.

    Raises:
        ConfigError: As of :func:`fit_anchors`.
    """
    if config.model.anchors != "fit":
        return config
    levels = resolve_base(config.model.base).num_levels
    anchors = fit_anchors(box_sides(pairs, config.train.imgsz), levels, config.train.seed)
    return config.model_copy(update={"model": config.model.model_copy(update={"anchors": anchors})})


def report_recall(detector: Detector, pairs: PairSet, imgsz: int) -> None:
    """Log how many training boxes an anchor head can match; warn if they are few."""
    head = next(iter(detector.heads.values()))
    if not isinstance(head, AnchorDetect):
        return
    anchors = (head.anchors * head.stride[:, None, None].to(head.anchors)).flatten(0, 1).double().cpu().numpy()
    sides = box_sides(pairs, imgsz)
    recall = best_possible_recall(anchors, sides)
    log.info("anchors: best possible recall %.4f of %d training boxes", recall, len(sides))
    if recall < _ENOUGH:
        log.warning("warning: anchors fit only %.1f %% of the boxes; model.anchors: fit makes new ones", 100 * recall)
