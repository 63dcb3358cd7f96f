"""Read text annotations of Piotr Dollar's toolbox, bbGt version 3: ``label x y w h occ vx vy vw vh ignore angle``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from yolofuse.convert.conversion_plan import Corners
from yolofuse.convert.source_folder import SourceFolder

_HEAD = "% bbGt version=3"
_NUM_FIELDS = 12


@dataclass(frozen=True, slots=True)
class BbgtLine:
    """One object; ``occlusion`` is 0 none, 1 partial, 2 heavy."""

    label: str
    xyxy: Corners
    occlusion: int
    ignore: bool
    where: str


def read_bbgt(source: SourceFolder, path: Path) -> list[BbgtLine]:
    """Return the objects of one file; its errors become problems of the source."""
    lines = source.lines(path)
    if not lines or lines[0].strip().lower() != _HEAD.lower():
        found = lines[0][:40] if lines else "an empty file"
        source.problems.append(f"{path}:1: expected {_HEAD!r} (got {found!r})")
        return []
    objects = []
    for number, line in enumerate(lines[1:], start=2):
        fields = line.split()
        if not fields:
            continue
        where = f"{path}:{number}"
        try:
            values = [float(value) for value in fields[1:]]
        except ValueError:
            values = [math.nan]
        if len(fields) != _NUM_FIELDS or not all(map(math.isfinite, values)):
            source.problems.append(f"{where}: expected a label and {_NUM_FIELDS - 1} numbers (got {line[:60]!r})")
            continue
        x, y, width, height = values[:4]
        box = (x, y, x + width, y + height)
        objects.append(BbgtLine(fields[0].lower(), box, int(values[4]), values[9] != 0, where))
    return objects
