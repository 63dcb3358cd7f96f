"""Read labels from a COCO JSON: boxes in pixels, matched to pairs by file name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolofuse.data.descriptor.source import Source
from yolofuse.data.index.match_files import KeyIndex, Matches, open_text
from yolofuse.data.index.yolo_labels import SMALLEST_SIDE, LabelFile
from yolofuse.data.problems import Problem, is_number, is_text, short_repr
from yolofuse.data.strict_json import parse_json
from yolofuse.errors import DataError

_SLACK = 1.0  # px that a box may extend beyond the image without a warning


@dataclass(slots=True)
class CocoLabels:
    """The labels of a source's pairs from a COCO file."""

    positions: list[int]  # of the listed pairs, in the order of their keys
    labels: list[LabelFile]  # one per listed pair
    sizes_hw: list[tuple[int, int]]  # height and width that the file states for each, in pixels
    problems: list[Problem]  # images that match no pair, boxes without an image, and so on


def read_coco(file: Path, source: Source, matches: Matches) -> CocoLabels:
    """Read the labels of a source's pairs; pairs that the file does not list do not belong to the source.

    Images are found by ``file_name``: path below the images' folder, path below the root, or bare name. Categories are
    matched by name. ``iscrowd`` boxes become regions to ignore.

    Raises:
        DataError: If the file is no COCO JSON at all.
    """
    document = _read_document(file)
    problems: list[Problem] = []

    def report(text: str) -> None:
        problems.append(Problem("coco", str(file), f"{file}: {text}"))

    classes = _map_categories(document["categories"], source.names, report)
    index, elsewhere = KeyIndex(matches), KeyIndex(matches.others)
    by_position: dict[int, tuple[LabelFile, tuple[int, int]]] = {}
    by_image: dict[Any, int] = {}
    for number, image in enumerate(document["images"]):
        try:
            image_id, name, size_hw = _parse_image(image)
        except ValueError as error:
            report(f"images[{number}]: {error}")
            continue
        found = index.find(name)
        if found is None and elsewhere.find(name) is not None:
            continue  # a pair of another split, in a file for all of them
        if found is None:
            report(f"images[{number}]: {name}: matches no pair, or more than one")
        elif image_id in by_image or found in by_position:
            report(f"images[{number}]: {name} or its id {image_id} is given twice")
        else:
            by_image[image_id] = found
            by_position[found] = (LabelFile(), size_hw)
    known_ids = {image.get("id") for image in document["images"] if isinstance(image, dict) and _is_id(image.get("id"))}
    seen: set[tuple[object, ...]] = set()
    for number, annotation in enumerate(document["annotations"]):
        try:
            image_id = annotation.get("image_id") if isinstance(annotation, dict) else None
            if not _is_id(image_id) or image_id not in known_ids:
                raise ValueError(f"image_id: no image has it (got {short_repr(image_id)})")
            if image_id not in by_image:  # its image was already reported
                continue
            label, size_hw = by_position[by_image[image_id]]
            _add_box(annotation, classes, size_hw, label, f"{file}: annotations[{number}]", seen)
        except ValueError as error:
            report(f"annotations[{number}]: {error}")
    positions = sorted(by_position)
    if not positions and not problems:
        problems.append(Problem("no-images", str(file), f"{file}: lists no pair of {source.where}"))
    labels, sizes_hw = [by_position[i][0] for i in positions], [by_position[i][1] for i in positions]
    return CocoLabels(positions, labels, sizes_hw, problems)


def _read_document(file: Path) -> dict[str, Any]:
    with open_text(file, "JSON") as stream:
        try:
            document = parse_json(stream.read())
        except ValueError as error:
            raise DataError(f"{file}: not valid JSON ({error})") from None
    if not isinstance(document, dict) or any(
        not isinstance(document.get(key), list) for key in ("images", "annotations", "categories")
    ):
        raise DataError(f"{file}: no COCO ground truth: expected lists under images, annotations and categories")
    return document


def _map_categories(
    categories: list[Any], names: tuple[str, ...], report: Callable[[str], None]
) -> Mapping[Any, int | None]:
    """Return the class of each category id, matched by name; None for a category that the data set does not have."""
    classes: dict[Any, int | None] = {}
    for number, category in enumerate(categories):
        category_id = category.get("id") if isinstance(category, dict) else None
        name = category.get("name") if isinstance(category, dict) else None
        if not _is_id(category_id) or not isinstance(name, str) or category_id in classes:
            report(f"categories[{number}]: expected {{id, name}} with a unique id")
            continue
        classes[category_id] = names.index(name) if name in names else None
    if all(class_id is None for class_id in classes.values()):
        report(f"none of its categories is among names ({', '.join(names)}); use the same spelling")
    return classes


def _is_id(value: object) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, str) and is_text(value))


def _parse_image(image: Any) -> tuple[Any, str, tuple[int, int]]:
    if not isinstance(image, dict):
        raise ValueError(f"expected an object (got {type(image).__name__})")
    name: Any = image.get("file_name")
    width: Any = image.get("width")
    height: Any = image.get("height")
    if not isinstance(name, str) or not name or not is_text(name) or not _is_id(image.get("id")):
        raise ValueError(f"expected id and file_name (got {short_repr(image.get('id'))}, {short_repr(name)})")
    if not is_number(width) or not is_number(height) or not (1 <= width < 1e6 and 1 <= height < 1e6):
        raise ValueError(f"{name}: expected width and height in pixels (got {short_repr(width)}, {short_repr(height)})")
    return image["id"], name, (int(height), int(width))


def _add_box(
    annotation: dict[str, Any],
    classes: Mapping[Any, int | None],
    size_hw: tuple[int, int],
    label: LabelFile,
    where: str,
    seen: set[tuple[object, ...]],
) -> None:
    """Add a box, clipped to its image, unless it is in ``seen``. Raises ValueError, saying what is wrong."""
    category = annotation.get("category_id")
    if not _is_id(category) or category not in classes:
        raise ValueError(f"category_id: no category has it (got {short_repr(category)})")
    class_id = classes[category]
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        raise ValueError(f"bbox: expected [x, y, width, height] in pixels (got {short_repr(box)})")
    x, y, width, height = map(float, box)
    if width <= 0 or height <= 0:
        raise ValueError(f"bbox: width and height must be above 0 (got {short_repr(box)})")
    if class_id is None:  # a category that is not among the names is left out, with one warning
        if (category,) not in seen:
            text = f"{where.partition(': ')[0]}: category {category!r} is not among names; its boxes are left out"
            label.warnings.append(Problem("coco", text, text))
            seen.add((category,))
        return
    image_h, image_w = size_hw
    x0, y0, x1, y1 = max(x, 0.0), max(y, 0.0), min(x + width, float(image_w)), min(y + height, float(image_h))
    if x1 - x0 < SMALLEST_SIDE * image_w or y1 - y0 < SMALLEST_SIDE * image_h:
        raise ValueError(f"bbox: {box} lies outside its image of {image_w}x{image_h}")
    if max(x0 - x, y0 - y, x + width - x1, y + height - y1) > _SLACK:
        text = f"{where}: bbox {box} extends beyond its image of {image_w}x{image_h}; the part inside is used"
        label.warnings.append(Problem("coco", where, text))
    box_xywhn = ((x0 + x1) / 2 / image_w, (y0 + y1) / 2 / image_h, (x1 - x0) / image_w, (y1 - y0) / image_h)
    is_crowd = bool(annotation.get("iscrowd", 0))
    box_key = (annotation["image_id"], box_xywhn, class_id, is_crowd)
    if box_key in seen:
        label.warnings.append(Problem("twin-box", where, f"{where}: the same box is given twice; one is used"))
        return
    seen.add(box_key)
    label.add(class_id, box_xywhn, is_crowd)
