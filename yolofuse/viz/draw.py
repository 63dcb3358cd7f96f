"""Draw on uint8 BGR images: boxes with captions that do not overlap, title and legend bands, sheets of panels."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from yolofuse.errors import RunError
from yolofuse.files import save_bytes
from yolofuse.types import ByteArray

Colour = tuple[int, int, int]
"""Blue, green, red."""

Rect = tuple[int, int, int, int]
"""Left, top, right, bottom."""

PAPER: Colour = (24, 22, 20)
INK: Colour = (236, 236, 236)
FAINT: Colour = (160, 156, 152)
GAP = 6
"""Pixels between panels."""
TEXT = 8
"""Height of a capital letter in pixels."""

_CLASS_COLOURS: tuple[Colour, ...] = (
    (92, 132, 255),
    (255, 210, 84),
    (96, 236, 176),
    (84, 214, 255),
    (255, 128, 190),
    (230, 230, 120),
    (150, 170, 255),
    (120, 255, 240),
)
_GOLDEN = 0.618034
_OVERSAMPLE = 4
_MARGIN = 3
_CHIP = 0.72
"""Opacity of a caption's background."""
_DASH = 6
_SUFFIXES = (".png", ".jpg", ".jpeg")
_MAX_JPEG = 65535


@dataclass(frozen=True, slots=True)
class Mark:
    """One box to draw: x1, y1, x2, y2 in pixels, its colour, an optional caption, solid or dashed."""

    box_xyxy: tuple[float, float, float, float]
    colour: Colour
    caption: str = ""
    dashed: bool = False


def class_colour(class_id: int) -> Colour:
    """Return the bright colour of a class; after the first few, hues a golden angle apart."""
    if class_id < len(_CLASS_COLOURS):
        return _CLASS_COLOURS[class_id]
    red, green, blue = colorsys.hsv_to_rgb(class_id * _GOLDEN % 1.0, 0.6, 1.0)
    return round(blue * 255), round(green * 255), round(red * 255)


def draw_marks(image: ByteArray, marks: Sequence[Mark], thickness: int = 1) -> None:
    """Draw boxes into ``image`` (H, W, 3), then their captions; the first marks are placed first.

    A caption that finds no free place beside its box is left out; the colour still says what the box is.
    """
    for mark in reversed(marks):
        _draw_box(image, mark, thickness)
    boxes = np.array([mark.box_xyxy for mark in marks], dtype=np.float64).reshape(-1, 4)
    taken: list[Rect] = []
    for mark in marks:
        if not mark.caption:
            continue
        mask = _text_mask(mark.caption)
        size_hw = (mask.shape[0] + 2 * _MARGIN - 1, mask.shape[1] + 2 * _MARGIN)
        place = _find_caption_place(mark.box_xyxy, size_hw, image.shape[:2], taken, boxes)
        if place is not None:
            taken.append(place)
            left, top, right, bottom = place
            patch = image[top:bottom, left:right]
            patch[:] = cv2.addWeighted(patch, 1 - _CHIP, np.full_like(patch, PAPER), _CHIP, 0)
            _blend(image, mask, left + _MARGIN, top + _MARGIN, mark.colour)


def put_text(image: ByteArray, text: str, left: int, top: int, colour: Colour = INK) -> int:
    """Write ``text`` into ``image`` with the top of its capitals at ``top``; return its right edge."""
    mask = _text_mask(text)
    _blend(image, mask, left, top, colour)
    return left + int(mask.shape[1])


def blank_band(width: int, height: int = TEXT + 2 * GAP) -> ByteArray:
    """Return an empty band for a title or a legend, (height, width, 3)."""
    return np.full((height, width, 3), PAPER, dtype=np.uint8)


def title_band(widths: Sequence[int], texts: Sequence[tuple[str, str]]) -> ByteArray:
    """Return a band with a title, and a note in fainter ink, for each panel below it."""
    band = blank_band(sum(widths) + GAP * (len(widths) - 1))
    left = 0
    for width, (title, note) in zip(widths, texts, strict=True):
        cell = band[:, left : left + width]
        end = put_text(cell, title, 1, GAP)
        put_text(cell, note, end + GAP, GAP, FAINT)
        left += width + GAP
    return band


def legend_band(width: int, entries: Sequence[tuple[str, Colour, bool]], note: str = "") -> ByteArray:
    """Return a band that explains colours: (name, colour, dashed), then a note; as many lines as needed."""
    line, swatch = TEXT + 2 * GAP, 2 * TEXT
    items = [*((name, colour, dashed, swatch + GAP) for name, colour, dashed in entries), (note, PAPER, False, 0)]
    places: list[tuple[int, int]] = []
    left, top = 1, 0
    for name, _, _, indent in items:
        length = indent + _text_mask(name).shape[1]
        if left > 1 and left + length > width:
            left, top = 1, top + line
        places.append((left, top))
        left += length + 3 * GAP
    band = blank_band(width, top + line)
    for (name, colour, dashed, indent), (left, top) in zip(items, places, strict=True):
        if indent:
            _draw_box(band, Mark((left, top + GAP - 1, left + swatch, top + GAP + TEXT), colour, dashed=dashed), 1)
        put_text(band, name, left + indent, top + GAP, FAINT)
    return band


def side_by_side(panels: Sequence[ByteArray]) -> ByteArray:
    """Place panels from left to right on one sheet, aligned at the top."""
    turned = stacked([panel.swapaxes(0, 1) for panel in panels], GAP)
    return np.ascontiguousarray(turned.swapaxes(0, 1))


def stacked(bands: Sequence[ByteArray], gap: int = 0) -> ByteArray:
    """Place bands from top to bottom on one sheet, aligned at the left."""
    sheet = blank_band(max(band.shape[1] for band in bands), sum(b.shape[0] for b in bands) + gap * (len(bands) - 1))
    top = 0
    for band in bands:
        sheet[top : top + band.shape[0], : band.shape[1]] = band
        top += band.shape[0] + gap
    return sheet


def add_margin(sheet: ByteArray) -> ByteArray:
    """Return the sheet with a margin on all sides."""
    sides = (2 * GAP,) * 4
    return cv2.copyMakeBorder(sheet, *sides, cv2.BORDER_CONSTANT, value=PAPER).astype(np.uint8)


def resize(image: ByteArray, factor: float) -> ByteArray:
    """Return the image enlarged or shrunk: done before boxes are drawn, so that lines and letters stay fine."""
    height, width = image.shape[:2]
    size_wh = (max(round(width * factor), 1), max(round(height * factor), 1))
    mode = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, size_wh, interpolation=mode).astype(np.uint8)


def fitted(image: ByteArray, size_hw: tuple[int, int]) -> ByteArray:
    """Return the image on a sheet of a size, shrunk if it is larger, and centred."""
    height, width = image.shape[:2]
    if (height, width) == size_hw:
        return image
    image = resize(image, min(1.0, size_hw[0] / height, size_hw[1] / width))
    sheet = blank_band(size_hw[1], size_hw[0])
    top, left = (size_hw[0] - image.shape[0]) // 2, (size_hw[1] - image.shape[1]) // 2
    sheet[top : top + image.shape[0], left : left + image.shape[1]] = image
    return sheet


def save_image(path: Path, sheet: ByteArray) -> None:
    """Write a BGR image as PNG or JPEG by suffix, whole or not at all.

    Raises:
        RunError: If the suffix is another one.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise RunError(f"{path}: cannot write an image as {path.suffix!r}; use .png or .jpg")
    if max(sheet.shape[:2]) > _MAX_JPEG and path.suffix.lower() != ".png":
        raise RunError(f"{path}: a JPEG has at most {_MAX_JPEG} pixels a side (got {sheet.shape[:2]}); use .png")
    done, content = cv2.imencode(path.suffix, sheet)
    assert done
    save_bytes(path, content.tobytes())


def _draw_box(image: ByteArray, mark: Mark, thickness: int) -> None:
    height, width = image.shape[:2]
    x1, y1, x2, y2 = (round(edge) for edge in mark.box_xyxy)
    x1, x2 = max(min(x1, width - 1), 0), max(min(x2, width) - 1, 0)
    y1, y2 = max(min(y1, height - 1), 0), max(min(y2, height) - 1, 0)
    if not mark.dashed:
        cv2.rectangle(image, (x1, y1), (x2, y2), mark.colour, thickness, cv2.LINE_8)
        return
    for left in range(x1, x2 + 1, 2 * _DASH):
        right = min(left + _DASH - 1, x2)
        for y in (y1, y2):
            cv2.line(image, (left, y), (right, y), mark.colour, thickness, cv2.LINE_8)
    for top in range(y1, y2 + 1, 2 * _DASH):
        bottom = min(top + _DASH - 1, y2)
        for x in (x1, x2):
            cv2.line(image, (x, top), (x, bottom), mark.colour, thickness, cv2.LINE_8)


@lru_cache(maxsize=4096)
def _text_mask(text: str) -> npt.NDArray[np.float32]:
    """Return the coverage 0..1 of ``text``, (height, width, 1); drawn large and shrunk for smooth edges."""
    font, weight = cv2.FONT_HERSHEY_SIMPLEX, _OVERSAMPLE
    (_, unit), _ = cv2.getTextSize("H", font, 1.0, 1)
    scale = TEXT * _OVERSAMPLE / unit
    (width, _), descent = cv2.getTextSize(text, font, scale, weight)
    columns = -(-width // _OVERSAMPLE) + 1
    rows = TEXT + -(-descent // _OVERSAMPLE)
    large = np.zeros((rows * _OVERSAMPLE, columns * _OVERSAMPLE), dtype=np.uint8)
    cv2.putText(large, text, (weight // 2, TEXT * _OVERSAMPLE), font, scale, 255, weight, cv2.LINE_AA)
    small = cv2.resize(large, (columns, rows), interpolation=cv2.INTER_AREA)
    return small.reshape(rows, columns, 1).astype(np.float32) / np.float32(255)


def _blend(image: ByteArray, mask: npt.NDArray[np.float32], left: int, top: int, colour: Colour) -> None:
    """Blend ``colour`` into ``image`` by the coverage of ``mask``, clipped to the image."""
    patch = image[top : top + mask.shape[0], left : left + mask.shape[1]]
    cover = mask[: patch.shape[0], : patch.shape[1]]
    patch[:] = np.rint(patch * (1 - cover) + np.array(colour, dtype=np.float32) * cover).astype(np.uint8)


def _find_caption_place(
    box_xyxy: tuple[float, float, float, float],
    size_hw: tuple[int, int],
    canvas_hw: tuple[int, ...],
    taken: Sequence[Rect],
    boxes: npt.NDArray[np.float64],
) -> Rect | None:
    """Return where at the box's edges a caption covers least of all boxes (N, 4); None if every place is taken."""
    height, width = size_hw
    if height > canvas_hw[0] or width > canvas_hw[1]:
        return None
    x1, y1, x2, y2 = (round(edge) for edge in box_xyxy)
    best, least = None, float("inf")
    for top in (y1 - height, y2, y1, y2 - height):  # above, below, inside
        for left in (x1, x2 - width):
            left = max(min(left, canvas_hw[1] - width), 0)
            place = (left, top, left + width, top + height)
            if top < 0 or place[3] > canvas_hw[0] or _overlap_area(place, np.array(taken).reshape(-1, 4)):
                continue
            covered = _overlap_area(place, boxes)
            if covered < least:
                best, least = place, covered
    return best


def _overlap_area(place: Rect, boxes: npt.NDArray[np.generic]) -> float:
    """Return the area of boxes (N, 4) under ``place``, in pixels."""
    left, top, right, bottom = place
    widths = np.minimum(boxes[:, 2], right) - np.maximum(boxes[:, 0], left)
    heights = np.minimum(boxes[:, 3], bottom) - np.maximum(boxes[:, 1], top)
    return float((widths.clip(min=0) * heights.clip(min=0)).sum())
