"""Read Pascal VOC annotations: one XML file an image, with upright boxes or four corners."""

from __future__ import annotations

import math
from pathlib import Path

from yolofuse.boxes import turn_box
from yolofuse.convert.conversion_plan import WITHOUT_SIZE, Corners, ImageLabels, SourceObject
from yolofuse.convert.safe_xml import Node, XmlError, parse_xml
from yolofuse.convert.source_folder import SourceFolder
from yolofuse.data.index.coco_records import TURNED
from yolofuse.data.problems import plain_float
from yolofuse.files import composed

_FLAGS = {"": False, "0": False, "false": False, "unspecified": False, "1": True, "true": True}
_BOX = ("xmin", "ymin", "xmax", "ymax")
_POLYGON = tuple(f"{axis}{corner}" for corner in range(1, 5) for axis in "xy")


def read_voc(source: SourceFolder, path: Path) -> ImageLabels:
    """Return the objects of one file. Corners are used as published, without shifting them by a pixel.

    Corners of a box that are swapped are put in order. A polygon becomes its upright hull, as does a box that CVAT has
    turned; an object with neither polygon nor box has ``xyxy`` None. Objects marked ``difficult``, which VOC's
    evaluation leaves out, become regions to ignore. What was swapped, turned or difficult is counted as a warning of
    the source. Errors of the file become problems of the source.
    """
    result = ImageLabels()
    content = source.read(path)
    if content is None:
        return result
    try:
        root = parse_xml(content)
    except XmlError as error:
        source.problems.append(f"{path}:{error.line}: {error}; repair or replace the file")
        return result
    if root.tag != "annotation":
        source.problems.append(f"{path}:{root.line}: expected <annotation> (got <{root.tag}>); is this VOC?")
        return result
    file_name = root.first("filename")
    result.file_name = file_name.text.strip().replace("\\", "/") if file_name else ""
    size = root.first("size")
    if size is not None:
        result.size_wh = _size(source, path, size)
    if result.size_wh is None and root.first("object"):
        source.warn(WITHOUT_SIZE, f"{path}")
    for node in root.all("object"):
        if node.first("robndbox") and not node.first("bndbox"):
            source.refuse(
                "turned boxes of roLabelImg, <robndbox>, are not read; save upright ones, <bndbox>",
                f"{path}:{node.line}",
            )
            continue
        try:
            given, name = _corners(node), node.only("name")
            is_difficult, degrees = _is_difficult(node), _rotation(node)
        except XmlError as error:
            source.problems.append(f"{path}:{error.line}: {error}")
            continue
        where = f"{path}:{node.line}"
        xyxy = given and _in_order(given)
        if xyxy != given:
            source.warn("boxes have swapped corners; read as the boxes between them", f"{where} {given}")
        if xyxy:
            source.refuse_normalised(xyxy, where)
        if xyxy and degrees:
            x0, y0, x1, y1 = xyxy
            x, y, width, height = turn_box(x0, y0, x1 - x0, y1 - y0, degrees)
            xyxy = (x, y, x + width, y + height)
            source.warn(TURNED, where)
        if is_difficult:
            source.warn("objects are marked difficult; they become regions to ignore", where)
        result.objects.append(SourceObject(composed(name.text.strip()) if name else "", xyxy, where, is_difficult))
    return result


def _size(source: SourceFolder, path: Path, node: Node) -> tuple[int, int] | None:
    try:
        width, height = (_number(node, tag) for tag in ("width", "height"))
    except XmlError as error:
        source.problems.append(f"{path}:{error.line}: {error}")
        return None
    return (int(width), int(height)) if width > 0 and height > 0 else None  # labelling tools write 0 for unknown


def _corners(node: Node) -> Corners | None:
    box = node.only("bndbox")
    if box is not None:
        x0, y0, x1, y1 = (_number(box, tag) for tag in _BOX)
        return x0, y0, x1, y1
    polygon = node.only("polygon")
    if polygon is None:
        return None
    values = [_number(polygon, tag) for tag in _POLYGON]
    xs, ys = values[::2], values[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def _is_difficult(node: Node) -> bool:
    child = node.only("difficult")
    text = child.text.strip().lower() if child else ""
    if child is None or text in _FLAGS:
        return _FLAGS.get(text, False)
    raise XmlError(child.line, f"<difficult>: expected 0 or 1 (got {text[:40]!r})")


def _rotation(node: Node) -> float:
    """Return by how many degrees CVAT has turned a box."""
    attributes = node.first("attributes")
    for attribute in attributes.all("attribute") if attributes else ():
        name = attribute.first("name")
        if name is not None and name.text.strip() == "rotation":
            return _number(attribute, "value") % 360
    return 0.0


def _in_order(corners: Corners) -> Corners:
    x0, y0, x1, y1 = corners
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def _number(node: Node, tag: str) -> float:
    child = node.only(tag)
    if child is None:
        raise XmlError(node.line, f"<{node.tag}> without <{tag}>")
    try:
        value = plain_float(child.text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise XmlError(child.line, f"<{tag}>: expected a number (got {child.text.strip()[:40]!r})")
    return value
