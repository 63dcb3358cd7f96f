"""Find a camera that hung: its images are the same but for noise and compression, while the scene has changed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torchvision.ops import box_iou
from tqdm import tqdm

from yolofuse.boxes import xywhn_to_xyxy
from yolofuse.check.finding_images import draw_duplicates
from yolofuse.check.findings import Finding, first_examples
from yolofuse.check.near_duplicates import nearest
from yolofuse.check.pair_stats import Split
from yolofuse.check.verify_duplicate import Likeness, compare_cameras
from yolofuse.data.index.pair_set import PairSet
from yolofuse.errors import DataError, plural
from yolofuse.spacing import evenly_spaced

_CAMERAS = ("RGB", "IR")
_CANDIDATE_SCORE = 0.97
_SAME_CORRELATION, _SAME_RESIDUAL = 0.97, 0.15
"""Copies with noise of 6 levels, saved as JPEG of quality 50, have .994 and .037; frames of a fixed camera, 0.5."""
_OTHER_CORRELATION = 0.85
_SMALLEST = 0.05  # of the image: a smaller object would not show in the images that are compared
_SAME_PLACE = 0.3  # IoU
_DRAWN = 3


def find_frozen(split: Split, sample: int) -> list[Finding]:
    """Compare each image of at most ``sample`` pairs with the most similar one of the same camera.

    The scene has changed if the other camera shows another one, or, for IR, if labelled objects are elsewhere: at
    night RGB need not show them. Equal files are found elsewhere.
    """
    positions, features = split.features()
    if len(positions) < 2:
        return []
    rows = np.array(evenly_spaced(len(positions), sample), np.int64)
    halves = np.split(features * np.float32(np.sqrt(2)), 2, axis=1)
    found = []
    for camera, own in enumerate(halves):
        match = nearest(own[rows], own, rows)
        alike = np.flatnonzero((match.score >= _CANDIDATE_SCORE) & (match.flipped == 0)).tolist()
        near = [(int(positions[rows[row]]), int(positions[match.index[row]])) for row in alike]
        bar = tqdm(near, f"looking for a hung camera in {split.name}", unit="pair", delay=3, disable=None)
        hung = [(one, other) for one, other in bar if _is_hung(split, one, other, camera)]
        found += [*_describe(split, hung, camera, len(rows))]
    return found


def _is_hung(split: Split, one: int, other: int, camera: int) -> bool:
    first, second = split.stats[one], split.stats[other]
    if first is None or second is None:
        return False
    digests = [(stats.rgb_digest, stats.ir_digest)[camera] for stats in (first, second)]
    if digests[0] == digests[1]:
        return False
    try:
        cameras = compare_cameras(split.pairs.records[one], split.pairs.records[other])
    except DataError:  # the file could be read a moment ago; told where all pairs are compared
        return False
    image, opposite = cameras[camera], cameras[1 - camera]
    if image is None or not _is_same(image):
        return False
    is_other_scene = opposite is not None and opposite.correlation < _OTHER_CORRELATION
    return is_other_scene or (_CAMERAS[camera] == "IR" and _has_moved(split.pairs, one, other))


def _is_same(image: Likeness) -> bool:
    return image.correlation >= _SAME_CORRELATION and image.residual <= _SAME_RESIDUAL


def _has_moved(pairs: PairSet, one: int, other: int) -> bool:
    """Return whether a labelled object of one pair is at no object's place in the other."""
    boxes = [torch.from_numpy(xywhn_to_xyxy(pairs.labels(index)[0], (1, 1))) for index in (one, other)]
    for own, others in (boxes, boxes[::-1]):
        large = own[(own[:, 2:] - own[:, :2]).amin(dim=1) >= _SMALLEST]
        if len(large) and not (len(others) and (box_iou(large, others).amax(dim=1) >= _SAME_PLACE).all()):
            return True
    return False


def _describe(split: Split, hung: list[tuple[int, int]], camera: int, total: int) -> Iterator[Finding]:
    """Yield the finding of a camera, if there is one."""
    if not hung:
        return
    name = _CAMERAS[camera]
    text = (
        f"{plural(len(hung), 'pair')} of {total} checked whose {name} image is that of another pair but for noise and "
        "compression, while the scene has changed"
    )
    records = [(split.pairs.records[one], split.pairs.records[other]) for one, other in hung]
    shown = [f"{one.key} = {other.key}" for one, other in records]
    yield Finding(
        kind=f"frozen-{name.lower()}",
        severity="warning",
        where=split.name,
        text=text,
        advice="the camera hung, or files were mixed up: look at such pairs and remove them",
        count=len(hung),
        total=total,
        examples=first_examples(shown),
        images=tuple(
            draw_duplicates((split.name, one), (split.name, other), caption)
            for (one, other), caption in zip(records[:_DRAWN], shown, strict=False)
        ),
    )
