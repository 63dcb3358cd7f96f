"""Read COCO annotation files strictly, and write them with every digit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yolofuse.convert.clip import KeptPair
from yolofuse.convert.conversion_plan import WITHOUT_SIZE, Frame, ImageLabels, SourceObject
from yolofuse.convert.source_folder import MIB, SourceFolder
from yolofuse.data.index.coco_records import CocoRecords
from yolofuse.data.strict_json import parse_json

_MAX_BYTES = 1024 * MIB


@dataclass(frozen=True, slots=True)
class CocoFile:
    """Images and category names of a file, each in its order."""

    images: list[ImageLabels] = field(default_factory=list)
    names: tuple[str, ...] = ()


def read_coco(source: SourceFolder, path: Path) -> CocoFile:
    """Return the valid records of a file; ``iscrowd`` and ``ignore`` make an ignore region.

    Errors become problems of the source.
    """
    num_problems, document = len(source.problems), read_json(source, path, _MAX_BYTES)
    if len(source.problems) > num_problems:
        return CocoFile()
    try:
        records = CocoRecords(document, lambda text: source.problems.append(f"{path}: {text}"))
    except ValueError as error:
        source.problems.append(f"{path}: {error}")
        return CocoFile()
    images = {}
    for image_id, image in records.images.items():
        size_wh = (image.size_hw[1], image.size_hw[0]) if image.size_hw else None
        if size_wh is None:
            source.warn(WITHOUT_SIZE, f"{path}: {image.where}")
        images[image_id] = ImageLabels(size_wh, file_name=image.file_name)
    for image_id, box in records.boxes(images):
        if box.remark:
            source.warn(box.remark, f"{path}: {box.where}")
        x, y, width, height = box.xywh
        name, corners = records.names[box.category_id], (x, y, x + width, y + height)
        source.refuse_normalised(corners, f"{path}: {box.where}")
        images[image_id].objects.append(SourceObject(name, corners, f"{path}: {box.where}", box.is_ignored))
    return CocoFile([*images.values()], tuple(dict.fromkeys(records.names.values())))


def read_json(source: SourceFolder, path: Path, max_bytes: int = 64 * MIB) -> Any:
    """Return the content of a JSON file; None (and a problem) if it can't be read."""
    content = source.read(path, max_bytes)
    if content is None:
        return None
    try:
        return parse_json(content)
    except json.JSONDecodeError as error:
        source.problems.append(f"{path}:{error.lineno}: not valid JSON ({error.msg}, column {error.colno})")
    except ValueError as error:
        source.problems.append(f"{path}: not valid JSON ({error})")
    return None


def coco_text(names: Sequence[str], pairs: Sequence[KeptPair], frame: Frame, label_set: int) -> str:
    """Return a COCO file of one split: ids from 1, ``file_name`` relative to the frame's folder, every digit of floats.

    It has one record a line. ``occlusion`` (0, 1, 2) is kept where the source has it.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, pair in enumerate(pairs, start=1):
        height, width = pair.size_hw
        original = pair.source.rgb if frame == "rgb" else pair.source.ir
        images.append({"id": image_id, "file_name": pair.file_name(original), "width": width, "height": height})
        for box in pair.boxes[label_set]:
            x0, y0, x1, y1 = box.xyxy
            record: dict[str, Any] = {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": box.class_id + 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": (x1 - x0) * (y1 - y0),
                "iscrowd": int(box.ignore),
            }
            if box.occlusion is not None:
                record["occlusion"] = box.occlusion
            annotations.append(record)
    categories = [{"id": index, "name": name} for index, name in enumerate(names, start=1)]
    parts = (("images", images), ("annotations", annotations), ("categories", categories))
    return "{" + ",\n".join(f'"{key}": {_lines(records)}' for key, records in parts) + "}\n"


def _lines(records: Sequence[dict[str, Any]]) -> str:
    return "[" + ",\n".join(json.dumps(record, ensure_ascii=False, allow_nan=False) for record in records) + "]"
