"""Show which places of each image a detector's scores depend on: gradient times activation, for each stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.hooks import RemovableHandle

from yolofuse.batch import PairedBatch
from yolofuse.config.schema import Streams
from yolofuse.data import EvalDataset, collate
from yolofuse.engine.evaluate_checkpoint import view_pair
from yolofuse.engine.loaded_detector import LoadedDetector
from yolofuse.html.render import jpeg_uri
from yolofuse.model.detectors import Detector, DualStreamDetector
from yolofuse.model.heads import hide_kept_classes
from yolofuse.reports.sections import Chart, PairFigure
from yolofuse.types import CHANNELS, ByteArray, Modality

_NUM_SCORES = 20
"""Best scores of a pair that are explained together."""
_PANEL = 480
_OPACITY = 0.6
_FULL_PERCENTILE = 99.5
"""Percentile of the heat that is drawn at full brightness."""

Maps = dict[Modality, npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class HeatMaps:
    """Heat of one pair, on the canvas of the detector's input.

    Attributes:
        maps: (H, W) of each camera that the detector has, from 0 on, all in one unit.
        shares: Of each camera in the sum of all heat, 0..1.
    """

    maps: Maps
    shares: dict[Modality, float]


def compute_heat_maps(detector: Detector, batch: PairedBatch, streams: Streams = "both") -> HeatMaps:
    """Compute the heat of one pair: where the features of each stream raise the detector's best scores.

    Of every map that the streams hand on, activation times gradient is summed over the channels, and what is positive
    is added up at the size of the input. Where both images are stacked before the first layer those maps are the
    images; a model of one camera, and each of two that are merged at the end, has the maps that its head reads.

    Reference:
        Use HiResCAM instead of Grad-CAM, arXiv:2011.08891; several maps and streams at once are ours.

    Args:
        detector: In eval mode.
        batch: One pair on the detector's device, pixels 0..1.
        streams: Of the model: ``both``, or the one camera that it reads.
    """
    _forget_anchors(detector)
    with torch.enable_grad(), _captured(detector, streams) as features:
        images: dict[Modality, Tensor] = {name: batch.pixels[:, CHANNELS[name]].clone() for name in CHANNELS}
        rgb, ir = (image.requires_grad_() for image in images.values())
        outputs = detector(rgb, ir)
        features = features or [*images.items()]  # both cameras in one stream: no map belongs to one of them
        scores = [_scores(detector.heads[name], output[0].float()) for name, output in outputs.items()]
        best = torch.cat(scores).topk(min(_NUM_SCORES, sum(map(len, scores)))).values.sum()
        gradients = torch.autograd.grad(best, [tensor for _, tensor in features], allow_unused=True)
    _forget_anchors(detector)
    size_hw = batch.pixels.shape[2:]
    heat: Maps = {}
    for (camera, tensor), gradient in zip(features, gradients, strict=True):
        if gradient is None:
            continue
        for name, product in _by_camera(camera, (tensor.detach() * gradient).sum(1, keepdim=True).relu()):
            enlarged = interpolate(product, size_hw, mode="bilinear", align_corners=False)[0, 0].cpu().numpy()
            heat[name] = heat.get(name, np.zeros(size_hw, np.float32)) + enlarged
    total = sum(float(of_camera.sum()) for of_camera in heat.values())
    return HeatMaps(heat, {name: float(of_camera.sum()) / total if total else 0.0 for name, of_camera in heat.items()})


def draw_heat_maps(loaded: LoadedDetector, dataset: EvalDataset, index: int) -> PairFigure:
    """Draw the heat of a pair on both of its images; both have one scale."""
    sample = dataset[index]
    detector = loaded.detector
    if not isinstance(detector, Detector):
        raise TypeError("heat maps need gradients, which an exported detector has not")
    found = compute_heat_maps(detector, collate([sample]).to(detector.device), loaded.config.model.streams)
    highest = max((float(np.percentile(heat, _FULL_PERCENTILE)) for heat in found.maps.values()), default=0.0) or 1.0
    gain, left, top = sample.letterbox
    height, width = (max(round(side * gain), 1) for side in sample.size_hw)
    inside = slice(round(top), round(top) + height), slice(round(left), round(left) + width)
    view = view_pair(dataset.pairs, index)
    panels = [
        Chart(
            f"{name.upper()}: {found.shares[name]:.0%} of the heat",
            jpeg_uri(_overlay(view.image, name, heat[inside] / highest)),
        )
        for name, heat in found.maps.items()
    ]
    return PairFigure(view.caption, "", panels)


def _overlay(pixels: ByteArray, modality: Modality, heat: npt.NDArray[np.float32]) -> ByteArray:
    """Blend a heat map (h, w), 0..1, over one modality of a pair (H, W, 4), where it is hot."""
    factor = _PANEL / pixels.shape[1]
    size_wh = (_PANEL, max(round(pixels.shape[0] * factor), 1))
    channels = pixels[..., CHANNELS[modality]]
    grey = channels[..., ::-1] if modality == "rgb" else channels.repeat(3, axis=2)
    image = cv2.resize(np.ascontiguousarray(grey, np.uint8), size_wh, interpolation=cv2.INTER_CUBIC)
    warmth = cv2.resize(np.ascontiguousarray(heat), size_wh, interpolation=cv2.INTER_LINEAR).clip(0, 1)
    colours = cv2.applyColorMap((warmth * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    weight = (np.sqrt(warmth) * _OPACITY)[..., None]
    return np.asarray(image * (1 - weight) + colours * weight, np.uint8)


def _forget_anchors(detector: Detector) -> None:
    """Let heads compute their anchors anew: those of an inference without gradients cannot take part in one with."""
    for head in detector.heads.values():
        if hasattr(head, "shape"):
            head.shape = None


def _scores(head: nn.Module, decoded: Tensor) -> Tensor:
    """Return the best score of every place of one pair, (N,)."""
    kept = hide_kept_classes(head, decoded)[0]
    return kept[:, 4] if getattr(head, "end2end", False) else kept[4:].amax(0)


@contextmanager
def _captured(detector: Detector, streams: Streams) -> Iterator[list[tuple[Modality | None, Tensor]]]:
    """Collect the maps that streams hand on, or that heads read where no trunk follows, each with its camera.

    None stands for both cameras, one after the other in the batch: the streams share their weights.
    """
    features: list[tuple[Modality | None, Tensor]] = []
    handles = []
    parts = {name: detector.parts[name] for name in CHANNELS if name in detector.parts}

    def camera(name: str) -> Modality | None:
        if streams != "both":
            return streams
        return None if len(parts) < len(CHANNELS) else "rgb" if name == "rgb" else "ir"

    def watch(name: str, module: nn.Module, taps: Sequence[int]) -> RemovableHandle:
        def keep(module: nn.Module, read: Any, output: dict[int, Tensor]) -> None:
            features.extend((camera(name), output[tap]) for tap in taps)

        return module.register_forward_hook(keep)

    def watch_head(name: str, head: nn.Module) -> RemovableHandle:
        def keep(module: nn.Module, read: tuple[Sequence[Tensor], ...]) -> None:
            features.extend((camera(name), tensor) for tensor in read[0])

        return head.register_forward_pre_hook(keep)

    if isinstance(detector, DualStreamDetector):
        handles = [watch(name, part, detector.taps) for name, part in parts.items()]
    elif streams != "both" or parts:
        once = {id(head): (name, head) for name, head in detector.heads.items()}
        handles = [watch_head(name, head) for name, head in once.values()]
    try:
        yield features
    finally:
        for handle in handles:
            handle.remove()


def _by_camera(camera: Modality | None, tensor: Tensor) -> Iterator[tuple[Modality, Tensor]]:
    """Yield a map with its camera; the halves of a doubled batch one by one."""
    if camera is not None:
        yield camera, tensor
    else:
        yield from zip(CHANNELS, tensor.chunk(2), strict=True)
