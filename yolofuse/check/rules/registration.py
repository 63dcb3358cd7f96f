"""Check registration: pairs whose IR is shifted or turned against RGB, and whether their objects are shifted too."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt
from tqdm.contrib.concurrent import thread_map

from yolofuse.boxes import xywhn_to_xyxy
from yolofuse.check.finding_images import draw_shift
from yolofuse.check.findings import Finding, ReportImage, Severity, first_examples
from yolofuse.check.measure_shift import WORK_SIDE, Shift, estimate_shift, shift_at_peak, shift_surface
from yolofuse.check.pair_stats import Split
from yolofuse.data.images.header import turned
from yolofuse.data.images.read_pair import fitted_hw, luma_and_ir, read_thumbnail
from yolofuse.errors import DataError, plural
from yolofuse.spacing import evenly_spaced
from yolofuse.types import ByteArray, FloatArray

_log = logging.getLogger(__name__)

_TOLERANCE_PX, _TOLERANCE = 6.0, 0.012
"""A shift is reported beyond this many pixels, or this share of the longest side, whichever is more."""
_MANY = 0.1
_MIN_MEASURABLE = 0.5
_BOX_MARGIN, _BOX_MARGIN_PX = 0.15, 3.0
_DRAWN = 4
_TURNS = {  # by EXIF's number; 5 and 7, a quarter turn of a mirrored image, were measured in one straight pair of 257
    2: "mirrored left to right",
    3: "turned by 180 degrees",
    4: "mirrored top to bottom",
    6: "turned by 90 degrees",
    8: "turned by 90 degrees",
}


@dataclass(frozen=True, slots=True)
class MeasuredShift:
    """The shift of one pair of a split, and the tolerance for it in pixels of the frame."""

    index: int
    shift: Shift
    tolerance: float
    turn: int = 1  # of an IR image that fits only when it is turned by this, EXIF's number; 1: tried in vain, or not

    @property
    def is_far(self) -> bool:
        """Whether the shift is certain and beyond the tolerance."""
        return self.shift.is_measured and self.shift.length > self.tolerance


def measure_shifts(split: Split, sample: int, workers: int) -> list[MeasuredShift]:
    """Measure the shifts of up to ``sample`` pairs, evenly spaced over the split."""
    chosen = [index for index in evenly_spaced(len(split.pairs), sample) if split.stats[index] is not None]
    bar, measure = f"aligning {split.name}", partial(_measure, split)
    shifts = thread_map(measure, chosen, max_workers=workers, desc=bar, unit="pair", delay=3, disable=None)
    return [measured for measured in shifts if measured is not None]


def _measure(split: Split, index: int) -> MeasuredShift | None:
    images = _read_images(split, index)
    if images is None:
        return None
    luma, ir = images
    size_hw = split.pairs.size_hw(index)
    shift = estimate_shift(luma, ir, max(size_hw) / max(luma.shape))
    turn = 1 if shift.is_measured else next((turn for turn in _TURNS if _fits_turned(luma, ir, turn)), 1)
    return MeasuredShift(index, shift, max(_TOLERANCE_PX, _TOLERANCE * max(size_hw)), turn)


def _fits_turned(luma: ByteArray, ir: ByteArray, turn: int) -> bool:
    height, width = luma.shape
    fitted = cv2.resize(turned(ir, turn), (width, height), interpolation=cv2.INTER_AREA)
    return estimate_shift(luma, np.asarray(fitted, np.uint8)).is_measured


def _read_images(split: Split, index: int) -> tuple[ByteArray, ByteArray] | None:
    """Read brightness and thermal image of a pair at the measured size; None, and a warning, if they can't be read."""
    try:
        return luma_and_ir(read_thumbnail(split.pairs.records[index], WORK_SIDE))
    except DataError as error:  # the files could be read a moment ago
        _log.warning("not aligned: %s", error)
        return None


def check_registration(split: Split, shifts: Sequence[MeasuredShift]) -> list[Finding]:
    """Report the measured shifts of a split, and find pairs that are not registered."""
    if not shifts:
        return []
    certain = [measured for measured in shifts if measured.shift.is_measured]
    findings = [_summary(split, shifts, certain)]
    turns = Counter(measured.turn for measured in shifts if measured.turn > 1)
    for turn, count in turns.items():
        if count >= max(2, _MANY * len(shifts)):
            findings.append(_turned(split, [measured for measured in shifts if measured.turn == turn], len(shifts)))
    if len(certain) + turns.total() < _MIN_MEASURABLE * len(shifts):
        text = (
            f"the shift of {plural(len(shifts) - len(certain), 'pair')} of {len(shifts)} could not be measured: "
            "both images have too few edges in common"
        )
        advice = "look at some pairs: unregistered, of different scenes, or with little contrast"
        count = len(shifts) - len(certain)
        findings.append(Finding("not-measurable", "warning", split.name, text, advice, count, len(shifts)))
    misaligned: list[MeasuredShift] = []
    parallax: list[MeasuredShift] = []
    for group in _groups([measured for measured in certain if measured.is_far]):
        (parallax if _objects_are_registered(split, group) else misaligned).extend(group)
    if misaligned:
        findings.append(_misaligned(split, misaligned, len(certain)))
    if parallax:
        findings.append(_parallax(split, parallax, len(certain)))
    return findings


def _groups(far: Sequence[MeasuredShift]) -> Iterator[list[MeasuredShift]]:
    """Group pairs with about the same shift: probably one camera at one place."""
    left = list(far)
    while left:
        first = left[0]
        group = [
            other for other in left
            if np.hypot(other.shift.dx - first.shift.dx, other.shift.dy - first.shift.dy) <= first.tolerance / 2
        ]  # fmt: skip
        yield group
        left = [other for other in left if other not in group]


def _objects_are_registered(split: Split, group: Sequence[MeasuredShift]) -> bool:
    """Return whether the labelled objects are at the same place in both images although most of the frame is not.

    Then something close to the cameras, such as branches, fills the frame and is shifted by parallax.
    """
    total: FloatArray | None = None
    for measured in group:
        surface = _object_surface(split, measured.index)
        if surface is not None and (total is None or total.shape == surface.shape):
            total = surface if total is None else total + surface
    if total is None:
        return False
    size_hw = split.pairs.size_hw(group[0].index)
    shift = shift_at_peak(total, max(size_hw) / max(fitted_hw(size_hw, WORK_SIDE)))
    return shift.is_measured and shift.length <= group[0].tolerance


def _object_surface(split: Split, index: int) -> FloatArray | None:
    """Compute the shift surface of the pixels in and around the boxes; None without boxes or readable images."""
    boxes_xywhn, _ = split.pairs.labels(index)
    if not len(boxes_xywhn):
        return None
    images = _read_images(split, index)
    if images is None:
        return None
    luma, ir = images
    height, width = luma.shape
    inside: npt.NDArray[np.bool_] = np.zeros((height, width), np.bool_)
    for x1, y1, x2, y2 in xywhn_to_xyxy(boxes_xywhn, (height, width)).tolist():
        margin_x, margin_y = (max(_BOX_MARGIN * side, _BOX_MARGIN_PX) for side in (x2 - x1, y2 - y1))
        rows = slice(max(int(y1 - margin_y), 0), int(y2 + margin_y) + 1)
        columns = slice(max(int(x1 - margin_x), 0), int(x2 + margin_x) + 1)
        inside[rows, columns] = True
    return shift_surface(luma, ir, inside)


def _summary(split: Split, shifts: Sequence[MeasuredShift], certain: Sequence[MeasuredShift]) -> Finding:
    text = f"measured {len(certain)} of {plural(len(shifts), 'pair')} in the sample ({len(split.pairs)} in all)"
    if certain:
        across, down = (float(np.median([getattr(m.shift, axis) for m in certain])) for axis in ("dx", "dy"))
        lengths = np.array([measured.shift.length for measured in certain])
        text += (
            f"; IR lies {across:+.1f} px across, {down:+.1f} px down of RGB (medians); "
            f"95 of 100 are shifted by less than {np.percentile(lengths, 95):.1f} px"
        )
    text += f"; {len(shifts) - len(certain)} not measurable"
    return Finding("alignment", "note", split.name, text, "", len(certain), len(shifts))


def _turned(split: Split, found: Sequence[MeasuredShift], num_measured: int) -> Finding:
    text = f"{plural(len(found), 'pair')} of {num_measured} whose IR looks {_TURNS[found[0].turn]} against RGB"
    advice = "turn the files of that camera, or store how they are turned in their EXIF orientation"
    examples = first_examples([split.pairs.records[measured.index].key for measured in found])
    return Finding("turned", "error", split.name, text, advice, len(found), num_measured, examples)


def _misaligned(split: Split, far: Sequence[MeasuredShift], num_certain: int) -> Finding:
    worst = sorted(far, key=lambda measured: -measured.shift.length)
    across, down = (np.array([getattr(m.shift, axis) for m in far]) for axis in ("dx", "dy"))
    is_constant = len(far) >= _MANY * num_certain and max(np.std(across), np.std(down)) < worst[0].tolerance / 2
    advice = "register such pairs again, or remove them; a box fits one of the two images at most"
    if is_constant and len(far) > 2:
        advice = f"all have the same shift: move IR by {-np.median(across):+.0f}, {-np.median(down):+.0f} px"
    severity: Severity = "error" if len(far) >= _MANY * num_certain else "warning"
    text = (
        f"{plural(len(far), 'pair')} of {num_certain} measured ones whose IR is shifted by more than "
        f"{worst[-1].tolerance:.0f} px against RGB (by {worst[0].shift.length:.0f} px at worst)"
    )
    examples, images = _shown(split, worst, _DRAWN)
    return Finding("misaligned", severity, split.name, text, advice, len(far), num_certain, examples, images)


def _parallax(split: Split, far: Sequence[MeasuredShift], num_certain: int) -> Finding:
    worst = sorted(far, key=lambda measured: -measured.shift.length)
    text = (
        f"{plural(len(far), 'pair')} of {num_certain} measured ones in which most of the frame is shifted by up to "
        f"{worst[0].shift.length:.0f} px, but the labelled objects fit: something near the cameras fills the view"
    )
    examples, images = _shown(split, worst, 1)
    return Finding("parallax", "note", split.name, text, "", len(far), num_certain, examples, images)


def _shown(
    split: Split, worst: Sequence[MeasuredShift], num_drawn: int
) -> tuple[tuple[str, ...], tuple[ReportImage, ...]]:
    records = split.pairs.records
    texts = [f"{records[m.index].key} ({m.shift.dx:+.0f}, {m.shift.dy:+.0f} px)" for m in worst]
    images = [draw_shift(records[m.index], m.shift) for m in worst[:num_drawn]]
    return first_examples(texts), tuple(images)
