"""Read one YOLO label file, strictly: a line is ``class x y w h`` or a polygon ``class x y x y ...``, in 0..1."""

from __future__ import annotations

import math
import stat
from dataclasses import dataclass, field
from pathlib import Path

from yolofuse.data.index.long_lines import LongLines
from yolofuse.data.problems import Problem, plain_float, short_repr
from yolofuse.files import decode_text

_MAX_BYTES = 4 << 20  # far more than the boxes of any image take
_MAX_BOXES = 20_000  # of one image; a thousand files full of boxes would otherwise take all memory
_MAX_PROBLEMS = 100  # reported per file

SMALLEST_SIDE = 1e-9
"""Of a box, normalised. A thinner one is refused: in single precision it would be empty."""

_BOX_FIELDS = 5
_FORMS = "'class x y w h', or a polygon 'class x y x y ...'"
_DOTA = (
    "labels of DOTA ('x1 y1 x2 y2 x3 y3 x4 y4 class difficulty', in pixels) are not read; write the box around each "
    "object as 'class x y w h' in 0..1, or all as COCO JSON for yolofuse prepare coco"
)
_MAX_FIELD = 80  # characters of a field in a message
_ROUNDING = 1e-6  # the last digit of a converter may round a value past 1


@dataclass(slots=True)
class LabelFile:
    """Boxes of one pair, with errors and warnings."""

    boxes_xywhn: list[tuple[float, ...]] = field(default_factory=list)  # (x, y, w, h), clipped to 0..1
    class_ids: list[int] = field(default_factory=list)
    crowd: list[bool] = field(default_factory=list)  # regions to ignore, where detections are neither right nor wrong
    problems: list[Problem] = field(default_factory=list)  # each with ``file:line``; training does not start with any
    warnings: list[Problem] = field(default_factory=list)  # oddities that need no fix, such as a duplicate box
    long_lines: LongLines = field(default_factory=LongLines)  # polygons that became boxes, if they are polygons

    def add(self, class_id: int, box_xywhn: tuple[float, ...], is_crowd: bool = False) -> None:
        """Append a box."""
        self.class_ids.append(class_id)
        self.boxes_xywhn.append(box_xywhn)
        self.crowd.append(is_crowd)


def read_labels(path: Path, num_classes: int) -> LabelFile:
    """Read the boxes of one label file; an empty file is a background image."""
    result = LabelFile()

    def report(text: str) -> None:
        result.problems.append(Problem("bad-label", str(path), text))

    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would block forever
            raise OSError("not a regular file")
        if status.st_size > _MAX_BYTES:
            raise OSError(f"larger than {_MAX_BYTES >> 20} MiB")
        lines = decode_text(path.read_bytes()).splitlines()
    except OSError as error:
        report(f"{path}: can't be read ({error})")
        return result
    except ValueError as error:
        report(f"{path}: {error}")
        return result
    seen: set[tuple[float, ...]] = set()
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields:
            continue
        if _is_dota(fields):
            report(f"{path}:{number}: {_DOTA}")
            break
        try:
            values = _parse(fields, num_classes)
        except ValueError as error:
            report(f"{path}:{number}: {error}")
            if len(result.problems) == _MAX_PROBLEMS:
                break
            continue
        if len(fields) > _BOX_FIELDS:
            result.long_lines.add_line([*map(float, fields[1:])], f"{path}:{number}")
        if values in seen:
            text = f"{path}:{number}: the same box is given twice; one is used"
            result.warnings.append(Problem("twin-box", str(path), text))
            continue
        if len(seen) == _MAX_BOXES:
            report(f"{path}:{number}: more than {_MAX_BOXES:,} boxes; are these the labels of one image?")
            break
        seen.add(values)
        result.add(int(values[0]), values[1:])
    return result


def _is_dota(fields: list[str]) -> bool:
    """Return whether a line is a header of DOTA, or four corners in pixels with the name of a class."""
    if fields[0].startswith(("imagesource:", "gsd:")):
        return True
    numbers = [field.replace(".", "", 1).lstrip("-").isdecimal() for field in fields]
    return len(fields) in (9, 10) and all(numbers[:8]) and not numbers[8]


def _parse(fields: list[str], num_classes: int) -> tuple[float, ...]:
    """Return class and box of a line. Raises ValueError, saying what is wrong."""
    is_polygon = len(fields) > _BOX_FIELDS + 1 and len(fields) % 2 == 1
    if len(fields) != _BOX_FIELDS and not is_polygon:
        hint = "; are these key points with a visibility? Keep the first five" if len(fields) > _BOX_FIELDS else ""
        hint = "; is the sixth a confidence? Labels have none" if len(fields) == _BOX_FIELDS + 1 else hint
        raise ValueError(f"expected 5 numbers {_FORMS} (got {len(fields)}){hint}")
    try:
        class_id, *numbers = map(plain_float, fields)
    except ValueError:
        count = "" if is_polygon else "5 "
        raise ValueError(f"expected {count}numbers {_FORMS} (got {short_repr(' '.join(fields))})") from None
    if not all(map(math.isfinite, (class_id, *numbers))):
        raise ValueError(f"numbers must be finite (got {short_repr(' '.join(fields))})")
    if not class_id.is_integer() or not 0 <= class_id < num_classes:
        raise ValueError(f"class must be 0 .. {num_classes - 1} (got {fields[0][:_MAX_FIELD]})")
    is_id = fields[-1].isdecimal() or (numbers[-1] > 1 and numbers[-1].is_integer())
    if len(fields) == _BOX_FIELDS + 2 and is_id and max(numbers[:-1]) <= 1:
        raise ValueError(
            f"expected numbers {_FORMS} (got {short_repr(' '.join(fields))}); are the sixth and seventh a confidence "
            "and a track id? Keep the first five; the corner of a triangle is written 1.0, not 1"
        )
    if min(numbers) < -_ROUNDING or max(numbers) > 1 + _ROUNDING:
        what = "x y of a polygon" if is_polygon else "x y w h"
        hint = "are these pixels, or key points with a visibility?" if is_polygon else "are these pixels?"
        raise ValueError(f"{what} must lie in 0..1 (got {' '.join(fields[1:])[:_MAX_FIELD]}); {hint}")
    box = [min(max(value, 0.0), 1.0) for value in numbers]
    if is_polygon:
        left, top, right, bottom = min(box[::2]), min(box[1::2]), max(box[::2]), max(box[1::2])
        box = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
    if min(box[2:]) < SMALLEST_SIDE:
        raise ValueError(f"width and height must be above 0 (got {' '.join(fields[3:])[:_MAX_FIELD]})")
    return (class_id, *box)
