"""Read FLIR ADAS v1 (1.3): thermal frames of a driving car with their visible counterparts, which are NOT aligned.

Layout: ``{train,val,video}/RGB/FLIR_00001.jpg``, ``thermal_8_bit/FLIR_00001.jpeg``, ``thermal_16_bit/FLIR_00001.tiff``
and ``thermal_annotations.json``. Boxes are in thermal pixels (640x512).
"""

from __future__ import annotations

from yolofuse.convert.classes import ClassChoice, ClassTable
from yolofuse.convert.coco_json import read_coco
from yolofuse.convert.conversion_plan import Json, LabelSet, Plan, SourcePair
from yolofuse.convert.source_folder import SourceFolder

_PARTS = ("train", "val", "video")
_COMMENTS = (
    "FLIR ADAS Dataset, July 2018; FLIR ADAS Image License (no redistribution).",
    "Boxes are in thermal pixels. The visible image is larger, sees a WIDER field from another place and is only",
    "stretched over the thermal one here: objects do not lie on each other. Register the pairs first, or use the",
    "set 'flir-aligned'; check before you trust a fusion result.",
    "Splits are FLIR's folders. Dogs and other vehicles are dropped, as is usual.",
)


def plan_flir_v1(source: SourceFolder, choice: ClassChoice, *, thermal: int = 8) -> Plan:
    """Return the pairs of FLIR ADAS v1. Its many thermal frames without a visible file are left out.

    ``thermal`` is 8 for the processed JPEGs, 16 for the raw counts.
    """
    table = ClassTable(source, choice, ("person", "bicycle", "car"), drop=("dog", "other vehicle"))
    pairs = [pair for part in _PARTS for pair in _part(source, table, part, thermal)]
    table.report_unknown()
    window: dict[str, Json] = {"percentiles": [0.5, 99.5]}  # of the whole train split
    return Plan(
        table.names,
        pairs,
        (LabelSet(frame="ir"),),
        stretch=True,
        ir_window=window if thermal == 16 else None,
        comments=_COMMENTS,
    )


def _part(source: SourceFolder, table: ClassTable, part: str, thermal: int) -> list[SourcePair]:
    if not (source.root / part).is_dir():
        source.warnings.append(f"no folder {part}: the split is left out")
        return []
    file = source.find_file(f"{part}/thermal_annotations.json")
    ir_folder = source.find_folder(f"{part}/thermal_{thermal}_bit")
    rgb_folder = source.find_folder(f"{part}/RGB", f"{part}/rgb")
    if file is None or ir_folder is None or rgb_folder is None:
        return []
    rgb, ir = source.images(rgb_folder), source.images(ir_folder)
    pairs = []
    annotated = set()
    for image in sorted(read_coco(source, file).images, key=lambda image: image.stem):
        annotated.add(image.stem)
        if image.stem not in ir:
            source.problems.append(f"{file}: {image.file_name} is not in {ir_folder}; unpack the data set again")
        elif image.stem not in rgb:
            source.leave_out("thermal frames without a visible image", f"{part}/{image.stem}")
        else:
            boxes = table.boxes(image.objects)
            originals = (rgb[image.stem], ir[image.stem])
            pairs.append(SourcePair(part, image.stem, *originals, (boxes,), annotated_wh=image.size_wh))
    for stem in sorted(ir.keys() - annotated):
        source.leave_out(f"thermal frames without a record in {file.name}", f"{part}/{stem}")
    return pairs
