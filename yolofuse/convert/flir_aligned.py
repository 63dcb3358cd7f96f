"""Read FLIR aligned: 5142 pairs of FLIR ADAS v1, the visible image registered to the thermal one, 640x512.

Layout: ``JPEGImages/FLIR_00002_RGB.jpg``, ``JPEGImages/FLIR_00002_PreviewData.jpeg``,
``Annotations/FLIR_00002_PreviewData.xml``, and the lists ``align_train.txt`` and ``align_validation.txt`` (also found
below ``ImageSets/Main``), a line being ``FLIR_00002_PreviewData``.

Reference:
    Multispectral Fusion for Object Detection with Cyclic Fuse-and-Refine Blocks, arXiv:2009.12664. Its practice keeps
    person, bicycle and car; the few dogs are dropped, and counted here.
"""

from __future__ import annotations

from yolofuse.convert.classes import ClassChoice, ClassTable
from yolofuse.convert.conversion_plan import Plan, SourcePair
from yolofuse.convert.source_folder import SourceFolder
from yolofuse.convert.voc import read_voc

_THERMAL = "_PreviewData"
_VISIBLE = "_RGB"
_LISTS = {"train": "align_train.txt", "val": "align_validation.txt"}
_COMMENTS = (
    "Zhang et al., arXiv:2009.12664; frames and boxes are FLIR's (FLIR ADAS licence, no redistribution).",
    "train and val are the published lists; there is no test part, so val is what papers report on.",
    "Boxes were drawn on the thermal image; the visible one was warped onto it. Dogs are dropped, as is usual.",
)


def plan_flir_aligned(source: SourceFolder, choice: ClassChoice) -> Plan:
    """Return the pairs of FLIR aligned that its two lists name."""
    table = ClassTable(source, choice, ("person", "bicycle", "car"), drop=("dog",))
    images = source.find_folder("JPEGImages")
    annotations = source.find_folder("Annotations")
    if images is None or annotations is None:
        return Plan(table.names, [])
    found = source.images(images)
    files = source.labels(annotations, ".xml")
    pairs = []
    for split, name in _LISTS.items():
        file = source.find_file(name, f"ImageSets/Main/{name}")
        for number, line in enumerate(source.lines(file) if file else [], start=1):
            stem = line.strip().removesuffix(_THERMAL)
            if not stem:
                continue
            rgb, ir = found.get(f"{stem}{_VISIBLE}"), found.get(f"{stem}{_THERMAL}")
            xml = files.get(f"{stem}{_THERMAL}")
            if rgb is None or ir is None or xml is None:
                parts = ((rgb, "visible image"), (ir, "thermal image"), (xml, "annotation"))
                missing = ", ".join(what for path, what in parts if path is None)
                source.problems.append(f"{file}:{number}: {stem} has no {missing}; unpack the data set again")
                continue
            voc = read_voc(source, xml)
            boxes = table.boxes(voc.objects)
            pairs.append(SourcePair(split, stem, rgb, ir, (boxes,), annotated_wh=voc.size_wh))
    table.report_unknown()
    return Plan(table.names, pairs, comments=_COMMENTS)
