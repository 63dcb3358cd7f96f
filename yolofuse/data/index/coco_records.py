"""Read the records of a COCO JSON strictly: the one reader of data sets and of conversions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, TypeGuard

from yolofuse.boxes import turn_box
from yolofuse.data.problems import is_number, is_text, short_repr
from yolofuse.files import composed

Id = int | str
TURNED = "boxes are turned; the upright boxes around them are used"
"""Said with a count, here and of other formats."""
_OFF_POLYGON = "boxes lie elsewhere than their polygons; the boxes are used"
_LIKE_POLYGON = 0.5  # IoU of a box and the one around its polygons


@dataclass(frozen=True, slots=True)
class CocoImage:
    """A record of an image."""

    file_name: str  # with / between folders
    size_hw: tuple[int, int] | None  # in pixels; None where the file does not give it
    where: str  # ``images[3]``


@dataclass(frozen=True, slots=True)
class CocoBox:
    """A record of an annotation."""

    category_id: Id
    xywh: tuple[float, float, float, float]  # in pixels; sides of 0 or more; upright
    is_ignored: bool  # ``iscrowd`` or ``ignore``: a region where detections are neither right nor wrong
    where: str  # ``annotations[3]``
    remark: str = ""  # what is said with the number of such boxes: of a turned one, or one off its polygons


class CocoRecords:
    """The valid records of a COCO document; the others are reported, each with its place.

    Raises:
        ValueError: If the document is no COCO ground truth at all.
    """

    def __init__(self, document: Any, report: Callable[[str], None]) -> None:
        if not isinstance(document, dict):
            kind = type(document).__name__
            raise ValueError(f"no COCO ground truth: expected {{images, annotations, categories}} (got {kind})")
        for key in ("images", "annotations", "categories"):
            if not isinstance(document.get(key), list):
                kind = type(document.get(key)).__name__
                raise ValueError(f"no COCO ground truth: {key}: expected a list (got {kind})")
        self.names: dict[Id, str] = {}  # of the categories, without spaces around them
        self.images: dict[Id, CocoImage] = {}
        self._annotations: list[Any] = document["annotations"]
        self._report = report
        for where, category in _records("categories", document["categories"]):
            category_id, name = category.get("id"), category.get("name")
            if not _is_id(category_id) or not _is_name(name) or category_id in self.names:
                report(f"{where}: expected {{id, name}} with a unique id (got {short_repr(category_id)})")
            else:
                self.names[category_id] = composed(name.strip())
        image_ids = []
        for where, image in _records("images", document["images"]):
            try:
                self._add_image(where, image)
            except ValueError as error:
                report(f"{where}: {error}")
            if _is_id(image.get("id")):
                image_ids.append(image["id"])
        self._image_ids = frozenset(image_ids)  # also of broken records, whose annotations are not reported again

    def boxes(self, image_ids: Collection[Id]) -> Iterator[tuple[Id, CocoBox]]:
        """Yield the boxes of these images, each with its image's id; an annotation without an image is reported.

        So are those with a score below 1, which a model's detections have and labels do not.
        """
        scored = [where for where, annotation in _records("annotations", self._annotations) if _is_scored(annotation)]
        if scored:
            what = "1 annotation has" if len(scored) == 1 else f"{len(scored)} annotations have"
            self._report(
                f"{what} a score below 1; are these a model's detections? Labels have none: remove the scores of boxes "
                f"that are right; first {scored[0]}"
            )
        for where, annotation in _records("annotations", self._annotations):
            image_id = annotation.get("image_id")
            try:
                if not _is_id(image_id) or image_id not in self._image_ids:
                    raise ValueError(f"image_id: no image has it (got {short_repr(image_id)})")
                if image_id in image_ids:
                    yield image_id, self._box(where, annotation)
            except ValueError as error:
                self._report(f"{where}: {error}")

    def _add_image(self, where: str, image: dict[str, Any]) -> None:
        image_id, name, width, height = (image.get(key) for key in ("id", "file_name", "width", "height"))
        if not _is_id(image_id) or not _is_name(name) or not PurePosixPath(name.replace("\\", "/")).name:
            raise ValueError(f"expected id and file_name (got {short_repr(image_id)}, {short_repr(name)})")
        if image_id in self.images:
            raise ValueError(f"id {short_repr(image_id)} is given twice")
        size_hw = None
        if width not in (None, 0) or height not in (None, 0):  # labelling tools write 0 for unknown
            if not is_number(width) or not is_number(height) or not (1 <= width < 1e6 and 1 <= height < 1e6):
                sides = f"{short_repr(width)}, {short_repr(height)}"
                raise ValueError(f"{name}: expected width and height in pixels (got {sides})")
            size_hw = (int(height), int(width))
        self.images[image_id] = CocoImage(name.replace("\\", "/"), size_hw, where)

    def _box(self, where: str, annotation: dict[str, Any]) -> CocoBox:
        category_id, bbox = annotation.get("category_id"), annotation.get("bbox")
        if not _is_id(category_id) or category_id not in self.names:
            raise ValueError(f"category_id: no category has it (got {short_repr(category_id)})")
        if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(is_number, bbox)):
            raise ValueError(f"bbox: expected [x, y, width, height] in pixels (got {short_repr(bbox)})")
        x, y, width, height = map(float, bbox)
        if width < 0 or height < 0:
            raise ValueError(f"bbox: width and height must be above 0 (got {short_repr(bbox)})")
        flags = [_flag(annotation, key) for key in ("iscrowd", "ignore")]
        remark = _OFF_POLYGON if _is_off_polygon(annotation.get("segmentation"), x, y, width, height) else ""
        xywh = x, y, width, height
        if degrees := _rotation(annotation):  # as CVAT writes them
            xywh, remark = turn_box(*xywh, degrees), TURNED
        return CocoBox(category_id, xywh, any(flags), where, remark)


def _records(key: str, given: list[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each record of a list with its place; one that is no object counts as empty, which is reported."""
    for number, record in enumerate(given):
        yield f"{key}[{number}]", record if isinstance(record, dict) else {}


def _flag(annotation: dict[str, Any], key: str) -> bool:
    """Return a flag; one that is left out, or null, is not set. Raises ValueError for other values."""
    value = annotation.get(key)
    if value is None or (isinstance(value, int | float) and value in (0, 1)):
        return bool(value)
    raise ValueError(f"{key}: expected 0 or 1 (got {short_repr(value)})")


def _is_scored(annotation: dict[str, Any]) -> bool:
    score = annotation.get("score")
    return is_number(score) and score < 1


def _rotation(annotation: dict[str, Any]) -> float:
    """Return by how many degrees a box is turned. Raises ValueError for what is no number."""
    attributes = annotation.get("attributes")
    value = attributes.get("rotation") if isinstance(attributes, dict) else None
    if value is None or is_number(value):
        return (value or 0.0) % 360
    raise ValueError(f"attributes.rotation: expected degrees (got {short_repr(value)})")


def _is_off_polygon(segmentation: object, x: float, y: float, width: float, height: float) -> bool:
    """Return whether an annotation's polygons, if it has any, lie elsewhere than its box."""
    polygons = segmentation if isinstance(segmentation, list) else []
    numbers = [number for polygon in polygons if isinstance(polygon, list) for number in polygon]
    if len(numbers) < 6 or len(numbers) % 2 or not all(map(is_number, numbers)):
        return False
    left, top, right, bottom = min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])
    common_w, common_h = min(x + width, right) - max(x, left), min(y + height, bottom) - max(y, top)
    common = max(common_w, 0.0) * max(common_h, 0.0)
    return bool(common < _LIKE_POLYGON * (width * height + (right - left) * (bottom - top) - common))


def _is_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value.strip()) and is_text(value)


def _is_id(value: object) -> TypeGuard[Id]:
    return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, str) and is_text(value))
