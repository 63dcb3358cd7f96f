"""Measure the images of a plan and clip its boxes to them, so that bad data is found here and not in epoch 37."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm.contrib.concurrent import thread_map

from yolofuse.convert.conversion_plan import Corners, Frame, Plan, SourceBox, SourcePair
from yolofuse.convert.source_folder import SourceFolder
from yolofuse.data.images.decode import inspect_image
from yolofuse.errors import DataError

_NUM_THREADS = 8
EMPTY_BOX = "boxes that are empty inside the image"
SizeHW = tuple[int, int]
Sizes = tuple[SizeHW, SizeHW]  # of the visible and of the thermal image


@dataclass(frozen=True, slots=True)
class KeptPair:
    """A pair with its boxes clipped, none empty: one list for each label set. ``size_hw``: the frame's, as written."""

    source: SourcePair
    size_hw: SizeHW
    boxes: tuple[list[SourceBox], ...]
    is_cropped: bool = False

    def file_name(self, original: Path) -> str:
        """Return the name of one of the images below its split's folder; cropped images are written as JPEG."""
        return f"{self.source.key}{'.jpg' if self.is_cropped else original.suffix}"


def clip_plan(source: SourceFolder, plan: Plan, any_size: bool = False) -> tuple[list[KeptPair], int]:
    """Return all pairs with their boxes clipped, and how many boxes became smaller by it.

    Boxes that are empty after clipping are recorded as left out. Images that can't be measured and sizes that do not
    match become problems of the source; with ``any_size`` the annotations may give another size than the image has.
    """
    bar = "measuring images"
    found = thread_map(_measure, plan.pairs, max_workers=_NUM_THREADS, desc=bar, unit="pair", delay=1, disable=None)
    kept: list[KeptPair] = []
    num_clipped = 0
    for pair, sizes in zip(plan.pairs, found, strict=True):
        if isinstance(sizes, str):
            source.problems.append(sizes)
            continue
        if problem := _size_problem(plan, pair, sizes, any_size):
            source.problems.append(problem)
            continue
        lists: list[list[SourceBox]] = []
        written = [_frame_size(sizes, label_set.frame, plan.border) for label_set in plan.label_sets]
        for size_hw, boxes in zip(written, pair.boxes, strict=True):
            inside, num_smaller = _clip_all(source, boxes, size_hw, plan.border)
            lists.append(inside)
            num_clipped += num_smaller
        kept.append(KeptPair(pair, written[0], tuple(lists), is_cropped=plan.border > 0))
    return kept, num_clipped


def _measure(pair: SourcePair) -> Sizes | str:
    """Return the sizes of both images, or the error message of the first that can't be read."""
    rgb, ir = image_size(pair.rgb), image_size(pair.ir)
    return rgb if isinstance(rgb, str) else ir if isinstance(ir, str) else (rgb, ir)


def image_size(path: Path) -> SizeHW | str:
    """Return height and width of the upright image from the file's header, or an error message."""
    try:
        return inspect_image(path, verify=False)[:2]
    except DataError as error:
        return str(error)


def _size_problem(plan: Plan, pair: SourcePair, sizes: Sizes, any_size: bool) -> str | None:
    rgb, ir = sizes
    if rgb != ir and not plan.stretch:
        both = f"rgb {rgb[1]}x{rgb[0]}, ir {ir[1]}x{ir[0]}"
        return f"{pair.rgb}: sizes of the pair differ ({both}); register it to one size, or see --resize stretch"
    if plan.border and min(*rgb, *ir) <= 2 * plan.border:
        return f"{pair.rgb}: {rgb[1]}x{rgb[0]} is too small for a border of {plan.border} px; is it cropped already?"
    frame = plan.label_sets[0].frame
    height, width = _frame_size(sizes, frame)
    if pair.annotated_wh not in (None, (width, height)) and not any_size:
        annotated = "x".join(map(str, pair.annotated_wh or ()))
        image = pair.rgb if frame == "rgb" else pair.ir
        return (
            f"{image}: is {width}x{height}, but its annotations are for {annotated}; use the images they were made "
            "for, or --any-size if only their size entry is wrong"
        )
    return None


def _frame_size(sizes: Sizes, frame: Frame, border: int = 0) -> SizeHW:
    """Return the size of one image without its border."""
    height, width = sizes[0] if frame == "rgb" else sizes[1]
    return height - 2 * border, width - 2 * border


def _clip_all(
    source: SourceFolder, boxes: Sequence[SourceBox], size_hw: SizeHW, border: int
) -> tuple[list[SourceBox], int]:
    kept: list[SourceBox] = []
    num_clipped = 0
    for box in boxes:
        moved = tuple(value - border for value in box.xyxy)
        xyxy = clip_box(moved, size_hw)
        if not all(map(math.isfinite, box.xyxy)):
            source.problems.append(f"{box.where}: a box must be finite (got {box.xyxy})")
        elif xyxy[0] >= xyxy[2] or xyxy[1] >= xyxy[3]:
            source.leave_out(EMPTY_BOX, f"{box.where} ({', '.join(f'{value:g}' for value in box.xyxy)})")
        else:
            num_clipped += xyxy != moved
            kept.append(replace(box, xyxy=xyxy))
    return kept, num_clipped


def clip_box(xyxy: Sequence[float], size_hw: SizeHW) -> Corners:
    """Return the part of a box inside an image."""
    height, width = size_hw
    x0, y0, x1, y1 = xyxy
    return max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
