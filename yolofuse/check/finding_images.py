"""Draw the images beside findings: edge overlays of a pair, pairs with boxes, two pairs that look the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from yolofuse.check.findings import ReportImage
from yolofuse.check.measure_shift import Shift
from yolofuse.data.images.read_pair import read_thumbnail
from yolofuse.types import ByteArray, FloatArray, IntArray, PairRecord
from yolofuse.viz.draw import Mark, add_margin, class_colour, draw_marks, side_by_side, stacked, title_band

_PANEL = 480
"""Longest side of one panel in pixels."""
_EDGE_BLUR = 1.0
_FULL_PERCENTILE = 97
"""Percentile of edge strength that is drawn at full brightness."""


def draw_shift(record: PairRecord, shift: Shift) -> ReportImage:
    """Draw edges of RGB in green and of IR in red, yellow where they coincide: as stored, and with the shift undone."""
    rgb, ir = _load_bgr(record)
    scale = max(rgb.shape[:2]) / max(record.size_hw)
    back = np.array([[1, 0, -shift.dx * scale], [0, 1, -shift.dy * scale]], np.float32)
    moved = cv2.warpAffine(ir, back, rgb.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    panels = [_overlay_edges(rgb, ir), _overlay_edges(rgb, cast(ByteArray, moved))]
    heads = [("as stored", "RGB green, IR red"), ("IR moved back", f"by {-shift.dx:+.0f}, {-shift.dy:+.0f} px")]
    caption = f"{record.key}: IR lies {shift.dx:+.1f} px across and {shift.dy:+.1f} px down of RGB"
    return _sheet(caption, _row(panels, heads))


def draw_pair(record: PairRecord, caption: str) -> ReportImage:
    """Draw both images of a pair side by side."""
    row = _row(_load_bgr(record), [("file of RGB", ""), ("file of IR", "")])
    return _sheet(f"{record.key}: {caption}", row)


def draw_duplicates(one: tuple[str, PairRecord], other: tuple[str, PairRecord], caption: str) -> ReportImage:
    """Draw two pairs, each named by its split, one above the other."""
    rows = [_row(_load_bgr(record), [(f"{split}: {record.key}", ""), ("IR", "")]) for split, record in (one, other)]
    return _sheet(caption, *rows)


def draw_boxes(
    record: PairRecord, boxes_xywhn: FloatArray, class_ids: IntArray, names: Sequence[str], caption: str
) -> ReportImage:
    """Draw both images of a pair with some of its boxes."""
    panels = _load_bgr(record)
    for panel in panels:
        height, width = panel.shape[:2]
        marks = []
        for (x, y, w, h), class_id in zip(boxes_xywhn.tolist(), class_ids.tolist(), strict=True):
            box = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
            marks.append(Mark(box, class_colour(class_id), names[class_id]))
        draw_marks(panel, marks)
    return _sheet(f"{record.key}: {caption}", _row(panels, [("RGB", ""), ("IR", "")]))


def _load_bgr(record: PairRecord) -> tuple[ByteArray, ByteArray]:
    """Read both images of a pair, reduced to one panel, as BGR (h, w, 3)."""
    pixels = read_thumbnail(record, _PANEL)
    bgr = np.ascontiguousarray(pixels[..., 2::-1])
    return bgr, cast(ByteArray, cv2.cvtColor(np.ascontiguousarray(pixels[..., 3]), cv2.COLOR_GRAY2BGR))


def _overlay_edges(rgb: ByteArray, ir: ByteArray) -> ByteArray:
    green, red = _edge_strength(rgb), _edge_strength(ir)
    return cast(ByteArray, cv2.merge([np.zeros_like(green), green, red]))


def _edge_strength(bgr: ByteArray) -> ByteArray:
    grey = cv2.GaussianBlur(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY).astype(np.float32), (0, 0), _EDGE_BLUR)
    strength: npt.NDArray[np.float32] = np.hypot(
        cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    ).astype(np.float32)
    full = max(float(np.percentile(strength, _FULL_PERCENTILE)), 1.0)
    return (strength * (255 / full)).clip(0, 255).astype(np.uint8)


def _sheet(caption: str, *rows: ByteArray) -> ReportImage:
    return ReportImage("", caption, add_margin(stacked(rows)))


def _row(images: Sequence[ByteArray], heads: Sequence[tuple[str, str]]) -> ByteArray:
    panels = [_enlarge(image) for image in images]
    return stacked([title_band([panel.shape[1] for panel in panels], heads), side_by_side(panels)])


def _enlarge(panel: ByteArray) -> ByteArray:
    """Enlarge an image that is smaller than a panel."""
    factor = _PANEL / max(panel.shape[:2])
    if factor <= 1.0:
        return panel
    size_wh = (round(panel.shape[1] * factor), round(panel.shape[0] * factor))
    mode = cv2.INTER_NEAREST if factor > 3 else cv2.INTER_CUBIC
    return cast(ByteArray, cv2.resize(panel, size_wh, interpolation=mode))
