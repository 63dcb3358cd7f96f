"""Read COCO annotation files strictly, and write them with every digit."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

from yolofuse.convert.clip import KeptPair
from yolofuse.convert.conversion_plan import Frame, ImageLabels, SourceObject
from yolofuse.convert.source_folder import MIB, SourceFolder
from yolofuse.data.problems import is_number, is_text, short_repr
from yolofuse.data.strict_json import parse_json

_MAX_BYTES = 1024 * MIB
Report = Callable[[str, str], None]  # of an error: where, what


@dataclass(frozen=True, slots=True)
class CocoFile:
    """Images and category names of a file, each in its order."""

    images: list[ImageLabels] = field(default_factory=list)
    names: tuple[str, ...] = ()


def read_coco(source: SourceFolder, path: Path) -> CocoFile:
    """Return the valid records of a file; ``iscrowd`` makes an ignore region. Errors become problems of the source."""
    document = read_json(source, path, _MAX_BYTES)
    if document is None:
        return CocoFile()
    if not isinstance(document, dict):
        source.problems.append(f"{path}: expected {{images, annotations, categories}} (got {type(document).__name__})")
        return CocoFile()
    parts: dict[str, list[Any]] = {}
    for key in ("images", "annotations", "categories"):
        part = document.get(key)
        if not isinstance(part, list):
            source.problems.append(f"{path}: {key}: expected a list (got {type(part).__name__})")
            return CocoFile()
        parts[key] = part

    def report(where: str, what: str) -> None:
        source.problems.append(f"{path}: {where}: {what}")

    names, images = _categories(parts["categories"], report), _images(parts["images"], report)
    _add_annotations(parts["annotations"], images, names, path, report)
    return CocoFile(list(images.values()), tuple(dict.fromkeys(names.values())))


def read_json(source: SourceFolder, path: Path, max_bytes: int = 64 * MIB) -> Any:
    """Return the content of a JSON file; None (and a problem) if it can't be read."""
    content = source.read(path, max_bytes)
    if content is None:
        return None
    try:
        return parse_json(content)
    except json.JSONDecodeError as error:
        source.problems.append(f"{path}:{error.lineno}: not valid JSON ({error.msg})")
    except ValueError as error:
        source.problems.append(f"{path}: not valid JSON ({error})")
    return None


def _categories(given: list[Any], report: Report) -> dict[int, str]:
    names: dict[int, str] = {}
    for number, record in enumerate(given):
        where = f"categories[{number}]"
        number_id, name = (record.get("id"), record.get("name")) if isinstance(record, dict) else (None, None)
        if not _is_int(number_id) or not _is_name(name):
            report(where, "expected {id: whole number, name: text}")
        elif number_id in names:
            report(where, f"id {number_id} is not unique")
        else:
            names[number_id] = name.strip()
    return names


def _images(given: list[Any], report: Report) -> dict[Any, ImageLabels]:
    images: dict[Any, ImageLabels] = {}
    for number, record in enumerate(given):
        where = f"images[{number}]"
        file_name = record.get("file_name") if isinstance(record, dict) else None
        image_id = record.get("id") if isinstance(record, dict) else None
        name = file_name.replace("\\", "/") if _is_name(file_name) else ""
        if not PurePosixPath(name).name or not isinstance(image_id, int | str):
            report(where, "expected {id: , file_name: text}")
        elif image_id in images:
            report(where, f"id {image_id} is not unique")
        else:
            width, height = record.get("width"), record.get("height")
            known = is_number(width) and is_number(height) and width > 0 and height > 0
            size_wh = (int(width), int(height)) if known else None
            images[image_id] = ImageLabels(size_wh, file_name=name)
    return images


def _add_annotations(
    given: list[Any], images: dict[Any, ImageLabels], names: dict[int, str], path: Path, report: Report
) -> None:
    for number, record in enumerate(given):
        where = f"annotations[{number}]"
        if not isinstance(record, dict):
            report(where, f"expected a mapping (got {type(record).__name__})")
            continue
        image_id, category, bbox = (record.get(key) for key in ("image_id", "category_id", "bbox"))
        if not isinstance(image_id, int | str) or image_id not in images:
            report(where, f"image_id {short_repr(image_id)} is not among the images")
        elif not _is_int(category) or category not in names:
            report(where, f"category_id {short_repr(category)} is not among the categories")
        elif not isinstance(bbox, list) or len(bbox) != 4 or not all(map(is_number, bbox)):
            report(where, f"bbox: expected 4 numbers [x, y, w, h] (got {short_repr(bbox)})")
        else:
            x, y, width, height = map(float, bbox)
            box = (x, y, x + width, y + height)
            ignore = record.get("iscrowd", 0) in (1, True)
            name = names[int(category)]
            images[image_id].objects.append(SourceObject(name, box, f"{path}: {where}", ignore))


def _is_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value.strip()) and is_text(value)


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


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
