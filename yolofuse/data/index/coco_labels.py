"""Read labels from a COCO JSON: boxes in pixels, matched to pairs by file name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yolofuse.data.descriptor.source import Source
from yolofuse.data.images.decode import unread_hint
from yolofuse.data.index.coco_records import CocoBox, CocoRecords, Id
from yolofuse.data.index.matches import KeyIndex, Matches, PairNames, is_path_end, open_text
from yolofuse.data.index.yolo_labels import SMALLEST_SIDE, LabelFile
from yolofuse.data.problems import Problem, join_names
from yolofuse.data.strict_json import parse_json
from yolofuse.errors import DataError, did_you_mean
from yolofuse.types import IntArray

_SLACK = 1.0  # px that a box may extend beyond the image without a warning
_MANY = 0.1  # of a file's boxes
_FEW = 5  # boxes that may look like corners by chance


@dataclass(slots=True)
class CocoLabels:
    """The labels of a source's pairs from a COCO file."""

    positions: list[int]  # of the listed pairs, in the order of their keys
    labels: list[LabelFile]  # one per listed pair
    sizes_hw: list[tuple[int, int]]  # height and width that the file states for each, in pixels
    problems: list[Problem]  # images that match no pair, boxes without an image, and so on
    warnings: list[Problem]  # boxes of categories, and pairs, that are left out


def read_coco(file: Path, source: Source, matches: Matches) -> CocoLabels:
    """Read the labels of a source's pairs; pairs that the file does not list do not belong to the source.

    Their number is a warning. Where several COCO files divide the images, one of their sources counts the pairs that
    none of them lists.

    Images are found by ``file_name``: path below the images' folder, path below the root, or bare name. Categories are
    matched by name. ``iscrowd`` and ``ignore`` boxes become regions to ignore.

    Raises:
        DataError: If the file is no COCO JSON at all.
    """
    problems: list[Problem] = []

    def report(text: str) -> None:
        problems.append(Problem("coco", str(file), f"{file}: {text}"))

    records = _read_records(file, report)
    class_ids = {name.strip(): class_id for class_id, name in enumerate(source.names)}
    if not class_ids.keys() & set(records.names.values()):
        report(f"none of its categories is among names ({', '.join(source.names)}); use the same spelling")
    by_image = _match_images(records, matches, report)
    boxes = _BoxReader(file, class_ids, by_image)
    for image_id, box in records.boxes(by_image):
        try:
            boxes.add(image_id, records.names[box.category_id], box)
        except ValueError as error:
            report(f"{box.where}: {error}")
    if _names_other_camera(source, matches, {i: records.images[key].file_name for key, (i, _) in by_image.items()}):
        other = "ir" if source.frame == "rgb" else "rgb"
        report(f"it lists images of {other}: are its boxes in their pixels? Set frame: {other}, and affine to it")
    if other_form := _name_other_form(boxes.corners, boxes.num_beyond):
        report(other_form)
    if not by_image and not problems:
        problems.append(Problem("no-images", str(file), f"{file}: lists no pair of {source.where}"))
    odd = boxes.remarks()
    found = sorted(by_image.values())
    if (unlisted := _describe_unlisted(source, matches, boxes.labels)) and found:
        odd.insert(0, unlisted)
    return CocoLabels(
        positions=[position for position, _ in found],
        labels=[boxes.labels[position] for position, _ in found],
        sizes_hw=[size_hw for _, size_hw in found],
        problems=problems,
        warnings=[Problem("coco", str(file), f"{file}: {text}") for text in odd],
    )


def _names_other_camera(source: Source, matches: Matches, names: Mapping[int, str]) -> bool:
    """Return whether names of a COCO file, by the pair's position, are of the camera that is not the frame.

    Where the images cover each other, boxes are the same in both.
    """
    own, other = (matches.rgb, matches.ir) if source.frame == "rgb" else (matches.ir, matches.rgb)
    of_other = [i for i, name in names.items() if is_path_end(name, other[i]) and not is_path_end(name, own[i])]
    return source.affine is not None and 2 * len(of_other) > len(names)


def _name_other_form(corners: Sequence[tuple[float, ...]], num_beyond: int) -> str:
    """Say in what other form boxes seem to be written; empty if in none.

    Args:
        corners: x1, y1, x2 and y2 of all boxes, in pixels if they are as COCO has them.
        num_beyond: How many boxes reach beyond their image.
    """
    count = len(corners)
    if count and np.abs(corners).max() <= 1 and np.mod(corners, 1).any():
        return f"all its {count} boxes lie in 0..1; normalised? Multiply them by each image's width and height"
    are_corners = all(x1 > 2 * x0 and y1 > 2 * y0 for x0, y0, x1, y1 in corners)
    if are_corners and count >= _FEW and num_beyond >= _MANY * count:
        text = f"{num_beyond} of {count} boxes reach beyond their image, and all fit as corners: x1 y1 x2 y2?"
        return f"{text} A bbox is x y width height"
    return ""


def matched_records(file: Path, matches: Matches) -> dict[Id, int]:
    """Return the position of the pair of each image of a file that has one, by the image's id.

    Raises:
        DataError: If the file is no COCO JSON at all.
    """
    by_image = _match_images(_read_records(file, lambda _: None), matches, lambda _: None)
    return {image_id: position for image_id, (position, _) in by_image.items()}


def _describe_unlisted(source: Source, matches: Matches, listed: Collection[int]) -> str:
    """Say how many pairs the source's COCO files do not list; nothing where another source counts them."""
    unlisted = {*range(len(matches))} - {*listed}
    others = () if matches.others.keys else source.other_coco
    for other in others:
        unlisted -= {*matched_records(other, matches).values()}
    if not unlisted or not (others or matches.others.keys or not source.shares_images):
        return ""
    names = join_names(matches.rgb[i] or matches.ir[i] for i in sorted(unlisted)[:3])
    where = f"listed neither here nor in {join_names(map(str, others))}" if others else "not listed"
    text = f"{len(unlisted)} of {len(matches)} pairs of {source.where} are {where} and are left out, such as"
    return f"{text} {names}; list them, without boxes where nothing is to detect, or remove them"


def _read_records(file: Path, report: Callable[[str], None]) -> CocoRecords:
    """Read the records of a file. Raises DataError if it is no COCO JSON at all."""
    with open_text(file, "JSON") as stream:
        text = stream.read()
    try:
        document = parse_json(text)
    except ValueError as error:
        raise DataError(f"{file}: not valid JSON ({error})") from None
    try:
        return CocoRecords(document, report)
    except ValueError as error:
        raise DataError(f"{file}: {error}") from None


def _match_images(
    records: CocoRecords, matches: Matches, report: Callable[[str], None]
) -> dict[Id, tuple[int, tuple[int, int]]]:
    """Return the position of the pair of each image by id, with the size (height, width) that the file states."""
    everywhere = [
        [*own, *others] for own, others in zip((matches.keys, matches.rgb, matches.ir), matches.others, strict=True)
    ]
    index = KeyIndex(PairNames(*everywhere))
    found: dict[Id, tuple[int, tuple[int, int]]] = {}
    taken: set[int] = set()
    for image_id, image in records.images.items():
        positions, name = index.find_all(image.file_name), f"{image.where}: {image.file_name}"
        if positions and min(positions) >= len(matches):
            continue  # a pair of another split, in a file for all of them
        if len(positions) != 1:
            report(f"{name}: matches no pair, or more than one{unread_hint(image.file_name)}")
        elif positions[0] in taken:
            report(f"{name} is given twice")
        elif image.size_hw is None:
            report(f"{name}: expected width and height in pixels, which place its boxes")
        else:
            taken.add(positions[0])
            found[image_id] = (positions[0], image.size_hw)
    return found


class _BoxReader:
    """Adds the boxes of a COCO file to the labels of its pairs.

    Attributes:
        labels: By the pair's position.
        corners: x1, y1, x2 and y2 of all boxes, in pixels.
        num_beyond: How many boxes of the source's classes reach beyond their image.
    """

    def __init__(
        self, file: Path, class_ids: Mapping[str, int], by_image: Mapping[Id, tuple[int, tuple[int, int]]]
    ) -> None:
        """Take the file's name, the ids of classes by name, and the position and size of each image's pair."""
        self._file, self._class_ids, self._by_image = file, class_ids, by_image
        self.labels = {position: LabelFile() for position, _ in by_image.values()}
        self.corners: list[tuple[float, ...]] = []
        self.num_beyond = 0
        self._seen: set[tuple[object, ...]] = set()
        self._left_out: Counter[str] = Counter()
        self._remarks: dict[str, list[str]] = {}

    def add(self, image_id: Id, name: str, box: CocoBox) -> None:
        """Add a box of a category, clipped, unless it is there already or names no class.

        Raises:
            ValueError: If it has no area inside its image; the text says what is wrong.
        """
        x, y, width, height = box.xywh
        self.corners.append((x, y, x + width, y + height))
        if name not in self._class_ids:
            self._left_out[name] += 1
            return
        self._remarks.setdefault(box.remark, []).append(box.where)
        position, (image_h, image_w) = self._by_image[image_id]
        self.num_beyond += x + width > image_w + _SLACK or y + height > image_h + _SLACK
        if width <= 0 or height <= 0:
            raise ValueError(f"bbox: width and height must be above 0 (got {list(box.xywh)})")
        x0, y0, x1, y1 = max(x, 0.0), max(y, 0.0), min(x + width, float(image_w)), min(y + height, float(image_h))
        if x1 - x0 < SMALLEST_SIDE * image_w or y1 - y0 < SMALLEST_SIDE * image_h:
            raise ValueError(f"bbox: {list(box.xywh)} lies outside its image of {image_w}x{image_h}")
        label, where = self.labels[position], f"{self._file}: {box.where}"
        if max(x0 - x, y0 - y, x + width - x1, y + height - y1) > _SLACK:
            text = f"bbox {list(box.xywh)} extends beyond its image of {image_w}x{image_h}; the part inside is used"
            label.warnings.append(Problem("coco", where, f"{where}: {text}"))
        box_xywhn = ((x0 + x1) / 2 / image_w, (y0 + y1) / 2 / image_h, (x1 - x0) / image_w, (y1 - y0) / image_h)
        class_id = self._class_ids[name]
        box_key = (image_id, class_id, box_xywhn, box.is_ignored)
        if box_key in self._seen:
            label.warnings.append(Problem("twin-box", where, f"{where}: the same box is given twice; one is used"))
            return
        self._seen.add(box_key)
        label.add(class_id, box_xywhn, box.is_ignored)

    def remarks(self) -> list[str]:
        """Say which boxes were left out, and which are not as they were written."""
        return [
            f"category {name!r} is not among names; its {n} boxes are left out{did_you_mean(name, self._class_ids)}"
            for name, n in self._left_out.items()
        ] + [f"{len(places)} {remark}; first {places[0]}" for remark, places in self._remarks.items() if remark]


def turn_advice(source: Source, orientation: int) -> str:
    """Return what to do about an image whose size fits only when its EXIF orientation is read the other way."""
    now, other = ("upright", "ignore") if source.orientation == "apply" else ("as stored", "apply")
    return f"an image that is stored turned (EXIF orientation {orientation}) is read {now}: set orientation: {other}"


def compare_sizes(
    source: Source,
    keys: Sequence[str],
    stated_hw: Sequence[tuple[int, int]],
    actual_hw: tuple[IntArray, IntArray],
    usable: np.ndarray,
    orientation: IntArray,
) -> tuple[list[tuple[int, Problem]], list[Problem]]:
    """Compare the sizes that a COCO file states, which its boxes are relative to, with those of the frames.

    Boxes are scaled where one resizing of the whole set explains the sizes: by one factor, or to one longer or shorter
    side. Otherwise the file belongs to other images.

    Shapes:
        stated_hw, and of actual_hw those of the visible and of the thermal images: (N, 2); usable: (N,), whether the
        size of a frame is known. orientation: (N,), EXIF's of the frames.

    Returns:
        Errors with the position of their pair, and a warning with the number of pairs whose boxes are scaled.
    """
    frames, others = actual_hw if source.frame == "rgb" else actual_hw[::-1]
    problems: list[tuple[int, Problem]] = []
    scaled: list[int] = []

    def report(i: int, why: str) -> None:
        (height, width), (frame_h, frame_w) = stated_hw[i], frames[i].tolist()
        text = f"{keys[i]}: {source.coco} says {width}x{height}, but the frame is {frame_w}x{frame_h}; {why}"
        problems.append((i, Problem("coco", keys[i], text)))

    for i in np.flatnonzero(usable & (frames != np.array(stated_hw)).any(axis=1)).tolist():
        (height, width), (frame_h, frame_w) = stated_hw[i], frames[i].tolist()
        is_like = abs(width * frame_h - height * frame_w) <= max(width, height, frame_w, frame_h)  # up to rounding
        if orientation[i] > 4 and (height, width) == (frame_w, frame_h):  # a quarter turn
            report(i, turn_advice(source, orientation[i]))
        elif [height, width] == others[i].tolist():
            report(i, f"it is the size of the other image: set frame: {'ir' if source.frame == 'rgb' else 'rgb'}")
        elif not is_like and (width > height) != (frame_w > frame_h):
            report(i, "labelled on rotated images? Rotate the boxes, or store the images as labelled")
        elif not is_like:
            report(i, "no scaling turns one into the other; use the images that it was made for, or its own file")
        else:
            scaled.append(i)
    if not scaled:
        return problems, []
    stated, frame = np.array(stated_hw)[scaled], frames[scaled]
    sides, longest = np.sort(frame, axis=1), stated.max(axis=1)
    one_factor = ((sides[:, 1] - 1) / longest).max() <= ((sides[:, 1] + 1) / longest).min()
    if not one_factor and (np.ptp(sides, axis=0) > 1).all():
        for i in scaled:
            report(i, "and it is off by other factors for other images; are these the images that it was made for?")
        return problems, []
    (height, width), (frame_h, frame_w) = stated[0].tolist(), frame[0].tolist()
    text = f"{source.coco} gives other sizes than {len(scaled)} of {len(keys)} images have, such as {width}x{height} "
    text += f"for {frame_w}x{frame_h}; its boxes are scaled"
    return problems, [Problem("coco", source.where, text)]
