"""Read DroneVehicle: vehicles from a drone by day and night, each modality with its own labels.

Layout, for each of train, val and test: ``train/trainimg/00001.jpg`` (visible), ``train/trainimgr/00001.jpg``
(thermal), ``train/trainlabel/00001.xml`` and ``train/trainlabelr/00001.xml``. Images are 840x712 with a white border of
100 px; they are cropped to 640x512. Objects have a ``<polygon>`` of four corners or a ``<bndbox>``; a polygon becomes
its upright hull.

Reference:
    Drone-based RGB-Infrared Cross-Modality Vehicle Detection via Uncertainty-Aware Learning, arXiv:2003.02437.
    Practice merges the misspelt names and drops the few objects named ``*`` or without a box; they are counted here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from yolofuse.convert.classes import ClassChoice, ClassTable
from yolofuse.convert.conversion_plan import LabelSet, Plan, SourceBox, SourcePair
from yolofuse.convert.source_folder import SourceFolder, pair_folders
from yolofuse.convert.voc import read_voc

NAMES = ("car", "truck", "bus", "van", "freight car")
_ALIASES = {
    **dict.fromkeys(("feright car", "freight", "feright", "freightcar", "ferightcar"), "freight car"),
    "truvk": "truck",
}
_JUNK = ("*", "")
_BORDER = 100
_SIZE_WH = (840, 712)
_SETS = (LabelSet("", "ir"), LabelSet("_rgb", "rgb"))
_FOLDERS = ("labelr", "label")  # of the label sets, in their order
_COMMENTS = (
    "Sun et al., arXiv:2003.02437; for academic use.",
    "Each modality has labels of its own: data.yaml takes the thermal ones (the visible ones miss most vehicles at",
    "night; papers use the thermal ones), data_rgb.yaml the visible ones. Boxes are upright hulls of oriented ones.",
    "The white border of 100 px was cut off and the images written anew as JPEG, quality 95.",
)


def plan_dronevehicle(source: SourceFolder, choice: ClassChoice) -> Plan:
    """Return the pairs of DroneVehicle with two label sets: thermal (the default) and visible."""
    table = ClassTable(source, choice, NAMES, drop=_JUNK, aliases=_ALIASES)
    pairs: list[SourcePair] = []
    for split in ("train", "val", "test"):
        if not (source.root / split).is_dir():
            source.warnings.append(f"no folder {split}: the split is left out")
            continue
        pairs += _split(source, table, split)
    table.report_unknown()
    return Plan(table.names, pairs, _SETS, border=_BORDER, comments=_COMMENTS)


def _split(source: SourceFolder, table: ClassTable, split: str) -> list[SourcePair]:
    rgb, ir = (source.find_folder(f"{split}/{split}{part}") for part in ("img", "imgr"))
    labels = [source.find_folder(f"{split}/{split}{part}") for part in _FOLDERS]
    if rgb is None or ir is None or None in labels:
        return []
    files = [source.labels(folder, ".xml") for folder in labels if folder is not None]
    pairs = []
    for pair in pair_folders(source, rgb, ir):
        missing = [folder for folder, found in zip(labels, files, strict=True) if pair.key not in found]
        if missing:
            source.problems.append(f"{pair.rgb}: no {missing[0]}/{pair.key}.xml; unpack the labels again")
            continue
        boxes = tuple(_boxes(source, table, found[pair.key]) for found in files)
        pairs.append(SourcePair(split, pair.key, pair.rgb, pair.ir, boxes, annotated_wh=_SIZE_WH))
    return pairs


def _boxes(source: SourceFolder, table: ClassTable, path: Path) -> list[SourceBox]:
    objects = []
    for obj in read_voc(source, path).objects:
        name = " ".join(obj.name.lower().replace("_", " ").replace("-", " ").split())
        objects.append(replace(obj, name=name))
    return table.boxes(objects, boxless="objects without a polygon or a box")
