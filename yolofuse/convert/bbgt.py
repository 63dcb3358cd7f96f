"""Read text annotations of Piotr Dollar's toolbox, bbGt version 3: ``label x y w h occ vx vy vw vh ignore angle``."""

from __future__ import annotations

import math
from pathlib import Path

from yolofuse.convert.conversion_plan import SourceObject
from yolofuse.convert.source_folder import SourceFolder

_HEAD = "% bbGt version=3"
_NUM_FIELDS = 12


def read_bbgt(source: SourceFolder, path: Path) -> list[SourceObject]:
    """Return the objects of one file, names in small letters; its errors become problems of the source."""
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
        objects.append(SourceObject(fields[0].lower(), box, where, ignore=values[9] != 0, occlusion=int(values[4])))
    return objects
