"""Build roadscene-flir, RoadScene's street pairs with the boxes of FLIR ADAS v1; docs/real-data.md has the commits.

    python -m scripts.data_sets.roadscene_flir --src RoadScene --boxes SSD_ADAS/*.csv --out roadscene-flir

RoadScene's pairs are warped parts of FLIR's frames; infrared/ has the thermal frames whole. FLIR's boxes are in pixels
of these, and a homography from frame to crop, fitted for each pair, maps them.
"""

from __future__ import annotations

import csv
import re
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from scripts.data_sets.layout import LabelledPair, choose, command, label_lines, write_set
from yolofuse.convert.clip import clip_box
from yolofuse.convert.conversion_plan import SourceBox
from yolofuse.convert.output_folder import check_output
from yolofuse.convert.source_folder import SourceFolder
from yolofuse.data.images.decode import decode, inspect_image
from yolofuse.errors import DataError
from yolofuse.types import ByteArray

Float64Array = npt.NDArray[np.float64]

_FOLDERS = ("crop_LR_visible", "cropinfrared", "infrared")
_FRAME_HW = (512, 640)
_CLASS_IDS = {"1": 0, "2": 1, "3": 2}  # person, bicycle, car; other classes, such as dog (17), are left out
_VAL = ((3801, 4071), (6307, 6962), (7968, 8592))  # FLIR ids; the frames of a video have neighbouring ids
_HELD_OUT = ((1000, 1999), (8721, 99999))
_TAGS = {"daynight": "unknown"}  # tagged by eye, which no script can repeat; the descriptor needs the column
_MIN_SHARE = 0.2  # of a box's area, inside the crop
_MIN_SIDE = 3.0  # px, of the part inside
_MAX_RATIO = 0.75  # of the distances to the nearest and the second nearest feature
_MIN_INLIERS = 20
_INLIER_PX = 2.0
_MAX_RMS_PX = 1.0


def build(src: Path, boxes: Sequence[Path], out: Path) -> None:
    """Make the folder ``out``.

    Raises:
        DataError: With every missing or wrong file, and every pair that can't be registered.
    """
    source = SourceFolder(src)
    target = check_output(out, source.folders)
    original = read_boxes(source, boxes)
    folders = [source.find_folder(name) for name in _FOLDERS]
    source.check()
    rgb, ir, frames = (source.images(folder) for folder in folders if folder)
    splits = choose(source, ir, split_of)
    labels: dict[str, str] = {}
    for name in tqdm(splits, "fitting homographies", unit="pair", disable=None):
        try:
            crop, frame = _read_grey(ir, name), _read_grey(frames, name, _FRAME_HW)
            _read_grey(rgb, name, crop.shape)
            found = visible_boxes(original.get(name, ()), fit_homography(frame, crop), crop.shape)
            labels[name] = label_lines(found, (crop.shape[0], crop.shape[1]))
        except DataError as error:
            source.problems.append(f"{name}: {error}")
    source.check()
    pairs = (
        LabelledPair(split, name, rgb[name].read_bytes(), ir[name].read_bytes(), labels[name], _TAGS)
        for name, split in splits.items()
    )
    write_set("roadscene-flir", target, pairs, len(splits))


def split_of(name: str) -> str | None:
    """Return the split of a pair, by blocks of FLIR ids; None if held out, as FLIR_video_* is: no table uses those."""
    number = re.fullmatch(r"FLIR_(\d{5})", name)
    if number is None or _is_in(int(number[1]), _HELD_OUT):
        return None
    return "val" if _is_in(int(number[1]), _VAL) else "train"


def _is_in(number: int, ranges: Sequence[tuple[int, int]]) -> bool:
    return any(first <= number <= last for first, last in ranges)


def read_boxes(source: SourceFolder, files: Sequence[Path]) -> Mapping[str, list[SourceBox]]:
    """Return the boxes of the three classes by image name without suffix, in pixels of the thermal frame."""
    boxes: dict[str, list[SourceBox]] = defaultdict(list)
    for path in files:
        for line, row in enumerate(csv.DictReader(source.lines(path)), start=2):
            try:
                x0, x1, y0, y1 = (float(row[column]) for column in ("xmin", "xmax", "ymin", "ymax"))
                class_id, name = _CLASS_IDS.get(row["class_id"]), PurePosixPath(row["image_name"]).stem
            except (KeyError, TypeError, ValueError):
                source.problems.append(f"{path}:{line}: expected image_name,class_id,xmin,xmax,ymin,ymax (got {row})")
                continue
            if class_id is not None:
                boxes[name].append(SourceBox(class_id, (x0, y0, x1, y1), f"{path}:{line}"))
    return boxes


def _read_grey(images: Mapping[str, Path], name: str, size_hw: tuple[int, ...] | None = None) -> ByteArray:
    if name not in images:
        raise DataError(f"not in all of {', '.join(_FOLDERS)}; check out the commit again")
    info = inspect_image(images[name], verify=False)
    found = (info.height, info.width)
    if size_hw not in (None, found):
        raise DataError(f"{images[name]}: expected (height, width) {size_hw}, got {found}; is it the right commit?")
    return decode(images[name], "ir", 1, found)


def fit_homography(frame: ByteArray, crop: ByteArray) -> Float64Array:
    """Return the homography that maps pixels of a frame to those of a crop of it, by SIFT and RANSAC.

    Shapes:
        frame, crop: (H, W) -> (3, 3)

    Raises:
        DataError: If too few features agree.
    """
    sift = cv2.SIFT_create()  # type: ignore[attr-defined]
    (points, features), (crop_points, crop_features) = (sift.detectAndCompute(image, None) for image in (frame, crop))
    nearest = cv2.BFMatcher().knnMatch(features, crop_features, k=2) if points and len(crop_points) > 1 else []
    matches = [first for first, second in nearest if first.distance < _MAX_RATIO * second.distance]
    if len(matches) >= _MIN_INLIERS:
        start = np.array([points[match.queryIdx].pt for match in matches])
        end = np.array([crop_points[match.trainIdx].pt for match in matches])
        matrix, mask = cv2.findHomography(start, end, cv2.RANSAC, _INLIER_PX, maxIters=10_000, confidence=0.9999)
        if matrix is not None and mask.sum() >= _MIN_INLIERS:
            errors = (cv2.perspectiveTransform(start[:, None], matrix)[:, 0] - end)[mask.ravel() > 0]
            if np.sqrt((errors**2).sum(axis=1).mean()) <= _MAX_RMS_PX:
                return cast(Float64Array, matrix)
    raise DataError(f"the crop was not found in its frame ({len(matches)} similar features); is it the right commit?")


def map_boxes(boxes_xyxy: Float64Array, matrix: Float64Array) -> Float64Array:
    """Map boxes by a homography; each side goes through the middle of its two mapped corners.

    The hull of the four corners would be wider by what the homography rotates and shears.

    Shapes:
        boxes_xyxy: (N, 4), matrix: (3, 3) -> (N, 4)
    """
    corners = boxes_xyxy[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 1, 2)  # clockwise from top left
    x, y = np.moveaxis(cv2.perspectiveTransform(corners, matrix).reshape(-1, 4, 2), 2, 0)
    sides = (x[:, [0, 3]], y[:, [0, 1]], x[:, [1, 2]], y[:, [2, 3]])
    return np.stack([side.mean(axis=1) for side in sides], axis=1)


def visible_boxes(boxes: Sequence[SourceBox], matrix: Float64Array, size_hw: tuple[int, ...]) -> list[SourceBox]:
    """Return boxes of the frame in pixels of the crop, clipped, without those mostly outside and the tiny ones."""
    kept = []
    mapped = map_boxes(np.array([box.xyxy for box in boxes], np.float64), matrix).tolist() if boxes else []
    for box, (x0, y0, x1, y1) in zip(boxes, mapped, strict=True):
        left, top, right, bottom = inside = clip_box((x0, y0, x1, y1), (size_hw[0], size_hw[1]))
        width, height = right - left, bottom - top
        if min(width, height) >= _MIN_SIDE and width * height >= _MIN_SHARE * (x1 - x0) * (y1 - y0):
            kept.append(replace(box, xyxy=inside))
    return kept


if __name__ == "__main__":
    sys.exit(command(__doc__, build, "SSD_ADAS/*.csv of cap5415-group17-final"))
