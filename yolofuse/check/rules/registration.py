"""Findings about registration: pairs whose IR lies elsewhere than RGB, and whether their objects do too."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from yolofuse.boxes import xywhn_to_xyxy
from yolofuse.check.findings import Finding, plural, some
from yolofuse.check.pictures import draw_shift
from yolofuse.check.registration import WORK_SIDE, Shift, estimate_shift, shift_at_peak, shift_surface
from yolofuse.check.split_data import Split, evenly
from yolofuse.data.images.read_pair import fitted_hw, luma_and_ir, read_thumbnail
from yolofuse.errors import DataError
from yolofuse.types import ByteArray, FloatArray

_log = logging.getLogger(__name__)

_TOLERANCE_PX, _TOLERANCE = 6.0, 0.012
"""A shift beyond this many pixels, or this share of the longest side, is told."""
_MANY = 0.1
_BLIND = 0.5
_AROUND, _AROUND_PX = 0.15, 3.0
_DRAWN = 4


@dataclass(frozen=True, slots=True)
class Measured:
    """The shift of one pair of a split."""

    index: int
    shift: Shift
    tolerance: float

    @property
    def is_far(self) -> bool:
        """Whether the frame is certainly off by more than the tolerance."""
        return self.shift.is_measured and self.shift.length > self.tolerance


def measure_shifts(split: Split, sample: int, workers: int) -> list[Measured]:
    """The shifts of up to ``sample`` pairs, spread evenly over the split."""
    chosen = [index for index in evenly(len(split.pairs), sample) if split.facts[index] is not None]
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        results = pool.map(partial(_measure, split), chosen)
        found = list(tqdm(results, f"aligning {split.name}", len(chosen), unit="pair", delay=3, disable=None))
    return [measured for measured in found if measured is not None]


def _measure(split: Split, index: int) -> Measured | None:
    try:
        luma, ir = _images(split, index)
    except DataError as error:  # it was whole a moment ago
        _log.warning("not aligned: %s", error)
        return None
    size_hw = split.pairs.size_hw(index)
    shift = estimate_shift(luma, ir, max(size_hw) / max(luma.shape))
    return Measured(index, shift, max(_TOLERANCE_PX, _TOLERANCE * max(size_hw)))


def _images(split: Split, index: int) -> tuple[ByteArray, ByteArray]:
    record = split.pairs.records[index]
    return luma_and_ir(read_thumbnail(record, WORK_SIDE))


def judge_alignment(split: Split, shifts: Sequence[Measured]) -> list[Finding]:
    """What the shifts of a split's pairs say."""
    if not shifts:
        return []
    certain = [measured for measured in shifts if measured.shift.is_measured]
    found = [_summary(split, shifts, certain)]
    if len(certain) < _BLIND * len(shifts):
        text = (
            f"the shift of {plural(len(shifts) - len(certain), 'pair')} of {len(shifts)} could not be measured: "
            "both images have too few edges in common"
        )
        advice = "look at some pairs: unregistered, of different scenes, or with little contrast"
        count = len(shifts) - len(certain)
        found.append(Finding("not-measurable", "warning", split.name, text, advice, count, len(shifts)))
    wrong: list[Measured] = []
    near: list[Measured] = []
    for group in _groups([measured for measured in certain if measured.is_far]):
        (near if _objects_fit(split, group) else wrong).extend(group)
    if wrong:
        found.append(_misaligned(split, wrong, len(certain)))
    if near:
        found.append(_parallax(split, near, len(certain)))
    return found


def _groups(far: Sequence[Measured]) -> Iterator[list[Measured]]:
    """Pairs with about the same shift: probably one camera at one place."""
    left = list(far)
    while left:
        lead = left[0]
        group = [
            other for other in left
            if np.hypot(other.shift.dx - lead.shift.dx, other.shift.dy - lead.shift.dy) <= lead.tolerance / 2
        ]  # fmt: skip
        yield group
        left = [other for other in left if other not in group]


def _objects_fit(split: Split, group: Sequence[Measured]) -> bool:
    """Whether the labelled objects lie at one place in both images although most of the frame does not.

    Then something close to the cameras, such as branches, fills the frame and is moved by parallax.
    """
    total: FloatArray | None = None
    for measured in group:
        surface = _object_surface(split, measured.index)
        if surface is not None and (total is None or total.shape == surface.shape):
            total = surface if total is None else total + surface
    if total is None:
        return False
    lead = group[0]
    scale = max(split.pairs.size_hw(lead.index)) / max(fitted_hw(split.pairs.size_hw(lead.index), WORK_SIDE))
    shift = shift_at_peak(total, scale)
    return shift.is_measured and shift.length <= lead.tolerance


def _object_surface(split: Split, index: int) -> FloatArray | None:
    """The agreement of edges at each shift, of what lies in and around the boxes; None without boxes."""
    boxes_xywhn, _ = split.pairs.labels(index)
    if not len(boxes_xywhn):
        return None
    try:
        luma, ir = _images(split, index)
    except DataError as error:
        _log.warning("not aligned: %s", error)
        return None
    height, width = luma.shape
    inside: npt.NDArray[np.bool_] = np.zeros((height, width), np.bool_)
    for x1, y1, x2, y2 in xywhn_to_xyxy(boxes_xywhn, (height, width)).tolist():
        wide, high = max(_AROUND * (x2 - x1), _AROUND_PX), max(_AROUND * (y2 - y1), _AROUND_PX)
        inside[max(int(y1 - high), 0) : int(y2 + high) + 1, max(int(x1 - wide), 0) : int(x2 + wide) + 1] = True
    return shift_surface(luma, ir, inside)


def _summary(split: Split, shifts: Sequence[Measured], certain: Sequence[Measured]) -> Finding:
    text = f"measured {len(certain)} of {plural(len(shifts), 'pair')} that were looked at ({len(split.pairs)} in all)"
    if certain:
        across, down = (float(np.median([getattr(m.shift, axis) for m in certain])) for axis in ("dx", "dy"))
        lengths = np.array([measured.shift.length for measured in certain])
        text += (
            f"; IR lies {across:+.1f} px across, {down:+.1f} px down of RGB (medians); "
            f"95 of 100 are off by less than {np.percentile(lengths, 95):.1f} px"
        )
    text += f"; {len(shifts) - len(certain)} not measurable"
    return Finding("alignment", "note", split.name, text, "", len(certain), len(shifts))


def _misaligned(split: Split, wrong: Sequence[Measured], num_certain: int) -> Finding:
    worst = sorted(wrong, key=lambda measured: -measured.shift.length)
    across, down = (np.array([getattr(m.shift, axis) for m in wrong]) for axis in ("dx", "dy"))
    is_constant = len(wrong) >= _MANY * num_certain and max(np.std(across), np.std(down)) < worst[0].tolerance / 2
    advice = "register these pairs anew, or remove them; a box fits one of the two images at most"
    if is_constant and len(wrong) > 2:
        advice = f"all are off alike: move IR by {-np.median(across):+.0f}, {-np.median(down):+.0f} px"
    return Finding(
        kind="misaligned",
        severity="error" if len(wrong) >= _MANY * num_certain else "warning",
        where=split.name,
        text=(
            f"{plural(len(wrong), 'pair')} of {num_certain} measured ones whose IR lies more than "
            f"{worst[-1].tolerance:.0f} px beside RGB (by {worst[0].shift.length:.0f} px at worst)"
        ),
        advice=advice,
        count=len(wrong),
        total=num_certain,
        examples=some([_name(split, measured) for measured in worst]),
        pictures=tuple(
            draw_shift(f"misaligned-{split.name}-{m.index}", split.pairs.records[m.index], m.shift)
            for m in worst[:_DRAWN]
        ),
    )


def _parallax(split: Split, near: Sequence[Measured], num_certain: int) -> Finding:
    worst = sorted(near, key=lambda measured: -measured.shift.length)
    return Finding(
        kind="parallax",
        severity="note",
        where=split.name,
        text=(
            f"{plural(len(near), 'pair')} of {num_certain} measured ones in which most of the frame is off by up to "
            f"{worst[0].shift.length:.0f} px, but the labelled objects fit: something near the cameras fills the view"
        ),
        count=len(near),
        total=num_certain,
        examples=some([_name(split, measured) for measured in worst]),
        pictures=tuple(
            draw_shift(f"parallax-{split.name}-{m.index}", split.pairs.records[m.index], m.shift) for m in worst[:1]
        ),
    )


def _name(split: Split, measured: Measured) -> str:
    shift = measured.shift
    return f"{split.pairs.records[measured.index].key} ({shift.dx:+.0f}, {shift.dy:+.0f} px)"
