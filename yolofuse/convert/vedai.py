"""Read VEDAI: vehicles from the air, visible and NEAR infrared of one camera, so registered to the pixel.

Layout: ``Vehicules1024/00000000_co.png`` and ``00000000_ir.png``, ``Annotations1024/00000000.txt`` (also 512), folds
``fold01.txt`` and ``fold01test.txt`` with image ids, among the annotations, in ``folds/`` or beside them. A line of an
image's file is ``xc yc orientation class contained occluded x1 x2 x3 x4 y1 y2 y3 y4``; the older single file
``annotation1024.txt`` has ``id xc yc orientation x1 x2 x3 x4 y1 y2 y3 y4 class contained occluded``.

Reference:
    Vehicle Detection in Aerial Imagery: A small target detection benchmark (Razakarivony and Jurie, 2016). Practice
    drops motorcycle and bus, of which there are hardly any, and keeps nine classes. Boxes are the upright hulls.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from yolofuse.convert.classes import ClassChoice, ClassTable
from yolofuse.convert.conversion_plan import Corners, Plan, SourceObject, SourcePair
from yolofuse.convert.source_folder import SourceFolder

NAMES = ("car", "truck", "pickup", "tractor", "camper", "boat", "van", "plane", "vehicle")
_CLASSES = {
    1: "car",
    2: "truck",
    4: "tractor",
    5: "camper",
    7: "motorcycle",
    8: "bus",
    9: "van",
    10: "vehicle",
    11: "pickup",
    23: "boat",
    31: "plane",
}
_NUM_FIELDS, _NUM_FIELDS_SINGLE, _NUM_FIELDS_POINT = 14, 15, 5
_NO_CORNERS = "pairs whose annotations have no corners"
Objects = list[tuple[str, list[str]]]  # where, fields: class id, then the corners' x and y


def plan_vedai(source: SourceFolder, choice: ClassChoice, *, fold: int = 1, size: int = 1024) -> Plan:
    """Return the pairs of one fold of VEDAI's cross validation: train and test (called val here).

    ``fold`` is 1 to 10; the published results are means over all ten. ``size`` is 1024 or 512, the images' in pixels.
    """
    table = ClassTable(source, choice, NAMES, drop=("motorcycle", "bus"))
    images = source.find_folder(f"Vehicules{size}", f"Vehicles{size}")
    annotations = source.find_folder(f"Annotations{size}")
    if not 1 <= fold <= 10:
        source.problems.append(f"--fold: must be 1 to 10 (got {fold})")
    if images is None or annotations is None or source.problems:
        return Plan(table.names, [])
    found = source.images(images)
    objects = _read_all(source, annotations, size)
    pairs = []
    split_of: dict[str, str] = {}
    for split, name in (("train", f"fold{fold:02d}.txt"), ("val", f"fold{fold:02d}test.txt")):
        places = (f"Annotations{size}", "folds", "Folds", ".")
        file = source.find_file(*(f"{place}/{name}" for place in places))
        for number, line in enumerate(source.lines(file) if file else [], start=1):
            key = line.strip()
            if not key:
                continue
            if split_of.setdefault(key, split) != split:
                source.problems.append(f"{file}:{number}: {key} is in train, too")
                continue
            where = f"{file}:{number}"
            pairs += _pair(source, table, (split, key, where), found, objects.get(key))
    table.report_unknown()
    comments = (
        "Razakarivony and Jurie 2016; for research. The second image is NEAR infrared, not thermal.",
        f"Fold {fold} of 10, its test part is val; papers give the mean over folds.",
        "Boxes are upright hulls of oriented ones. motorcycle and bus are dropped, as is usual.",
    )
    return Plan(table.names, pairs, comments=comments)


def _pair(
    source: SourceFolder,
    table: ClassTable,
    entry: tuple[str, str, str],
    found: dict[str, Path],
    objects: Objects | None,
) -> list[SourcePair]:
    split, key, where = entry
    rgb, ir = found.get(f"{key}_co"), found.get(f"{key}_ir")
    if rgb is None or ir is None:
        source.problems.append(f"{where}: no {key}_{'co' if rgb is None else 'ir'} image; unpack the images again")
        return []
    if objects is None:
        source.leave_out("pairs without an annotation file", f"{split}/{key}")
        return []
    if any(len(fields) == 1 for _, fields in objects):  # a few published files give only centres
        source.leave_out(_NO_CORNERS, f"{split}/{key}")
        return []
    named = (_object(source, place, fields) for place, fields in objects)
    return [SourcePair(split, key, rgb, ir, (table.boxes(obj for obj in named if obj),))]


def _object(source: SourceFolder, where: str, fields: list[str]) -> SourceObject | None:
    try:
        number, *corners = map(float, fields)
    except ValueError:
        number, corners = math.nan, []
    if not all(map(math.isfinite, (number, *corners))):
        source.problems.append(f"{where}: expected numbers (got {' '.join(fields)[:60]!r})")
        return None
    name = _CLASSES.get(int(number), f"id {number:g}") if number.is_integer() else f"id {number:g}"
    xs, ys = corners[:4], corners[4:]
    hull: Corners = (min(xs), min(ys), max(xs), max(ys))
    return SourceObject(name, hull, where)


def _read_all(source: SourceFolder, folder: Path, size: int) -> dict[str, Objects]:
    """Return the objects by image id, from one file an image, or else from the single file."""
    files = {key: path for key, path in source.files(folder, (".txt",)).items() if re.fullmatch(r"\d{8}", key)}
    if files:
        return {key: _read(source, path) for key, path in files.items()}
    single = source.find_file(f"{folder.name}/annotation{size}.txt")
    return _read_single(source, single) if single else {}


def _read(source: SourceFolder, path: Path) -> Objects:
    found = _fields(source, path, (_NUM_FIELDS, _NUM_FIELDS_POINT))
    return [(at, [row[2]] if len(row) == _NUM_FIELDS_POINT else [row[3], *row[6:]]) for at, row in found]


def _read_single(source: SourceFolder, path: Path) -> dict[str, Objects]:
    objects: dict[str, Objects] = defaultdict(list)
    for where, fields in _fields(source, path, (_NUM_FIELDS_SINGLE,)):
        objects[fields[0].zfill(8)].append((where, [fields[12], *fields[4:12]]))
    return dict(objects)


def _fields(source: SourceFolder, path: Path, allowed: tuple[int, ...]) -> Iterator[tuple[str, list[str]]]:
    """Yield the place and the fields of each line; another number of fields than the allowed ones is a problem."""
    for number, line in enumerate(source.lines(path), start=1):
        fields = line.split()
        if len(fields) in allowed:
            yield f"{path}:{number}", fields
        elif fields:
            source.problems.append(f"{path}:{number}: expected {allowed[0]} fields (got {len(fields)})")
