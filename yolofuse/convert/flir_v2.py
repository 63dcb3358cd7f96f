"""Read FLIR ADAS v2: thermal and visible frames of driving cars; only the video test part is paired frame to frame.

Layout: ``{images_thermal,images_rgb}_{train,val}`` and ``video_{thermal,rgb}_test``, each with ``coco.json`` and
``data/``; ``rgb_to_thermal_vid_map.json`` maps file names of the video part. Names are
``video-<id>-frame-<n>-<hash>.jpg``: train and val frames are paired where video and frame number agree and are unique;
the rest is left out and counted.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from yolofuse.convert.classes import ClassChoice, ClassTable
from yolofuse.convert.coco_json import read_coco, read_json
from yolofuse.convert.conversion_plan import ImageLabels, LabelSet, Plan, SourcePair
from yolofuse.convert.source_folder import SourceFolder

NAMES = (
    *("person", "bike", "car", "motor", "bus", "train", "truck", "light", "hydrant", "sign"),
    *("dog", "skateboard", "stroller", "scooter", "other vehicle"),
)
_FRAME = re.compile(r"video-(?P<video>.+)-frame-(?P<frame>\d+)-[^-]+$")
_MAP = "rgb_to_thermal_vid_map.json"
_COMMENTS = (
    "Teledyne FLIR ADAS Dataset v2, 2022; its terms forbid redistribution.",
    "Boxes are those of the thermal images. The visible image is larger, sees another field from another place and is",
    "only stretched over the thermal one here: objects do not lie on each other. Register the pairs before you trust",
    "a fusion result. Splits are FLIR's folders; test is the video part, 30 frames a second: neighbours are alike.",
)


def plan_flir_v2(source: SourceFolder, choice: ClassChoice) -> Plan:
    """Return the pairs of FLIR ADAS v2 with thermal labels; 15 classes by default, deer are dropped."""
    table = ClassTable(source, choice, NAMES, drop=("deer",))
    pairs = []
    for split in ("train", "val"):
        pairs += _images_part(source, table, split)
    pairs += _video_part(source, table)
    table.report_unknown()
    for split in ("train", "val", "test"):
        if not any(pair.split == split for pair in pairs):
            source.warnings.append(f"no pairs for the split {split}: it is left out")
    return Plan(table.names, pairs, (LabelSet(frame="ir"),), stretch=True, comments=_COMMENTS)


class _Part:
    """One folder of the set: its images and their annotations, by file name."""

    def __init__(self, source: SourceFolder, name: str, annotated: bool) -> None:
        self.folder = source.find_folder(f"{name}/data")
        self.images: dict[str, Path] = {}
        self.records: dict[str, ImageLabels] = {}
        if self.folder is None:
            return
        self.images = source.images(self.folder)
        file = source.find_file(f"{name}/coco.json") if annotated else None
        if file is not None:
            for image in read_coco(source, file).images:
                if self.records.setdefault(image.stem, image) is not image:
                    source.problems.append(f"{file}: two records are named {image.stem}; keep one")


def _parts(source: SourceFolder, rgb: str, thermal: str) -> tuple[_Part, _Part] | None:
    if not (source.root / rgb).is_dir() and not (source.root / thermal).is_dir():
        return None
    return _Part(source, rgb, annotated=False), _Part(source, thermal, annotated=True)


def _images_part(source: SourceFolder, table: ClassTable, split: str) -> list[SourcePair]:
    parts = _parts(source, f"images_rgb_{split}", f"images_thermal_{split}")
    if parts is None:
        return []
    rgb, thermal = (_by_frame(source, part.images) for part in parts)
    pairs = []
    for frame, stems in sorted(thermal.items()):
        partners = rgb.get(frame, [])
        if len(stems) == 1 and len(partners) == 1:
            pairs += _pair(source, table, split, parts, partners[0], stems[0])
            continue
        reason = "thermal frames with several candidates" if partners else "thermal frames without a visible partner"
        for stem in stems:
            source.leave_out(reason, f"{split}/{stem}")
    for frame in sorted(rgb.keys() - thermal.keys()):
        for stem in rgb[frame]:
            source.leave_out("visible frames without a thermal partner", f"{split}/{stem}")
    return pairs


def _by_frame(source: SourceFolder, images: Mapping[str, Path]) -> dict[tuple[str, int], list[str]]:
    frames: dict[tuple[str, int], list[str]] = defaultdict(list)
    for stem, path in images.items():
        match = _FRAME.match(stem)
        if match is None:
            source.problems.append(f"{path}: expected a name like video-<id>-frame-<n>-<hash>")
        else:
            frames[match["video"], int(match["frame"])].append(stem)
    return dict(frames)


def _video_part(source: SourceFolder, table: ClassTable) -> list[SourcePair]:
    parts = _parts(source, "video_rgb_test", "video_thermal_test")
    if parts is None:
        return []
    file = source.find_file(_MAP)
    mapping = read_json(source, file) if file else {}
    if not isinstance(mapping, dict) or not all(isinstance(name, str) for name in mapping.values()):
        source.problems.append(f"{file}: expected {{visible file name: thermal file name}}")
        return []
    pairs = []
    seen: dict[str, str] = {}
    for rgb_name, thermal_name in sorted(mapping.items()):
        rgb, thermal = PurePosixPath(rgb_name).stem, PurePosixPath(thermal_name).stem
        if seen.setdefault(thermal, rgb) != rgb:
            source.problems.append(f"{file}: {thermal_name} is the partner of two visible frames")
            continue
        missing = [part.folder for part, stem in zip(parts, (rgb, thermal), strict=True) if stem not in part.images]
        if missing:
            source.problems.append(f"{file}: {rgb_name} -> {thermal_name}: not in {missing[0]}; unpack it again")
            continue
        pairs += _pair(source, table, "test", parts, rgb, thermal)
    return pairs


def _pair(
    source: SourceFolder, table: ClassTable, split: str, parts: tuple[_Part, _Part], rgb: str, thermal: str
) -> list[SourcePair]:
    """Return the pair, named after its thermal frame; none without a record, which does not make it background."""
    record = parts[1].records.get(thermal)
    if record is None:
        source.leave_out("pairs without a record in coco.json", f"{split}/{thermal}")
        return []
    originals, boxes = (parts[0].images[rgb], parts[1].images[thermal]), table.boxes(record.objects)
    return [SourcePair(split, thermal, *originals, (boxes,), annotated_wh=record.size_wh)]
