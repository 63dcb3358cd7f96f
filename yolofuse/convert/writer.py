"""Write a plan to disk: images, imagesIR, labels or annotations, ``meta.csv`` and the descriptor."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from tqdm import tqdm
from tqdm.contrib.concurrent import thread_map

from yolofuse.config.safe_yaml import dump_yaml
from yolofuse.convert.clip import KeptPair
from yolofuse.convert.coco_json import coco_text
from yolofuse.convert.conversion_plan import LabelSet, Plan, SourceBox
from yolofuse.data.descriptor.path_guard import PathGuard
from yolofuse.errors import DataError
from yolofuse.tables import csv_text

ImageMode = Literal["link", "copy"]
LabelFormat = Literal["yolo", "coco"]
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
RGB_FOLDER, IR_FOLDER = "images", "imagesIR"


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How a plan is written."""

    images: ImageMode  # symbolic links or copies; images that must be cropped are always encoded again
    label_format: LabelFormat  # a YOLO file for each image, or a COCO file for each split, which has ignore regions
    head: tuple[str, ...]  # comment lines of the descriptor
    originals: tuple[Path, ...]  # folders that hold the originals, to which links may point


def write_tree(folder: Path, plan: Plan, kept: Sequence[KeptPair], options: WriteOptions) -> None:
    """Write everything but ``prepared.json`` into an empty folder.

    Raises:
        DataError: If an original can't be read.
    """
    splits = splits_of(kept)
    place = partial(_place_images, folder, plan.border, options.images)
    workers = min(len(os.sched_getaffinity(0)), 8)
    thread_map(place, kept, max_workers=workers, desc="writing images", unit="pair", delay=1, disable=None)
    for number, label_set in enumerate(plan.label_sets):
        if options.label_format == "yolo":
            _write_yolo(folder, label_set, kept, number)
        else:
            _write_coco(folder, plan.names, label_set, kept, number, splits)
        links = _link_targets(kept, options) if options.images == "link" and not plan.border else []
        text = _descriptor(plan, label_set, splits, options, links)
        (folder / descriptor_name(label_set)).write_text(text, encoding="utf-8")
    if plan.tag_columns:
        rows = [{"name": pair.source.key, "split": pair.source.split, **pair.source.tags} for pair in kept]
        (folder / "meta.csv").write_text(csv_text(rows, ("name", "split", *plan.tag_columns)), encoding="utf-8")


def splits_of(kept: Sequence[KeptPair]) -> list[str]:
    """Return the names of the splits in the order in which they first occur."""
    return list(dict.fromkeys(pair.source.split for pair in kept))


def descriptor_name(label_set: LabelSet) -> str:
    """Return the file name of the descriptor that uses these labels."""
    return f"data{label_set.suffix}.yaml"


def expected_files(plan: Plan, kept: Sequence[KeptPair], label_format: LabelFormat) -> list[str]:
    """Return the paths, below the prepared folder, of images, labels and descriptors that ``write_tree`` makes."""
    files = []
    for pair in kept:
        for part, original in _originals(pair):
            files.append(f"{part}/{pair.source.split}/{pair.file_name(original)}")
    for label_set in plan.label_sets:
        files.append(descriptor_name(label_set))
        if label_format == "yolo":
            files += [f"labels{label_set.suffix}/{pair.source.split}/{pair.source.key}.txt" for pair in kept]
        else:
            files += [f"annotations{label_set.suffix}/{split}.json" for split in splits_of(kept)]
    return files


def _originals(pair: KeptPair) -> tuple[tuple[str, Path], tuple[str, Path]]:
    return (RGB_FOLDER, pair.source.rgb), (IR_FOLDER, pair.source.ir)


def _place_images(folder: Path, border: int, images: ImageMode, pair: KeptPair) -> None:
    for part, original in _originals(pair):
        target = folder / part / pair.source.split / pair.file_name(original)
        target.parent.mkdir(parents=True, exist_ok=True)
        if border:
            _crop(original, target, border)
        elif images == "link":
            target.symlink_to(original)
        else:
            shutil.copyfile(original, target)


def _crop(original: Path, target: Path, border: int) -> None:
    """Write an image upright, without its border, as JPEG; a grey image stays grey."""
    try:
        pixels = cv2.imdecode(np.fromfile(original, np.uint8), cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
        if pixels is None:
            raise DataError(f"{original}: can't be decoded; unpack the data set again")
        if pixels.dtype != np.uint8:
            raise DataError(f"{original}: {pixels.dtype} pixels can't be cropped; store 8 bits")
        encoded, data = cv2.imencode(".jpg", pixels[border:-border, border:-border], _JPEG)
    except cv2.error as error:
        raise DataError(f"{original}: can't be decoded and written as JPEG ({error.err})") from None
    if not encoded:
        raise DataError(f"{original}: can't be written as JPEG (shape {pixels.shape}, {pixels.dtype})")
    data.tofile(target)


def yolo_line(box: SourceBox, size_hw: tuple[int, int]) -> str:
    """Return ``class x y w h``, normalised, with every digit, so that it reads back as the same box."""
    height, width = size_hw
    x0, y0, x1, y1 = box.xyxy
    values = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
    return " ".join((str(box.class_id), *map(repr, values)))


def _write_yolo(folder: Path, label_set: LabelSet, kept: Sequence[KeptPair], number: int) -> None:
    for pair in tqdm(kept, "writing labels", unit="pair", delay=1, disable=None):
        file = folder / f"labels{label_set.suffix}" / pair.source.split / f"{pair.source.key}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = [yolo_line(box, pair.size_hw) + "\n" for box in pair.boxes[number] if not box.ignore]
        file.write_text("".join(lines), encoding="utf-8")


def _write_coco(
    folder: Path, names: tuple[str, ...], label_set: LabelSet, kept: Sequence[KeptPair], number: int, splits: list[str]
) -> None:
    for split in splits:
        file = folder / f"annotations{label_set.suffix}" / f"{split}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        pairs = [pair for pair in kept if pair.source.split == split]
        file.write_text(coco_text(names, pairs, label_set.frame, number), encoding="utf-8")


def _link_targets(kept: Sequence[KeptPair], options: WriteOptions) -> list[str]:
    """Return the folders that hold the images behind the links: those of the originals, and targets of links there."""
    guard = PathGuard(options.originals[0], options.originals[1:])
    for pair in kept:
        for original in (pair.source.rgb, pair.source.ir):
            guard.contains(str(original))
    return [*map(str, options.originals), *guard.outside_folders]


def _descriptor(plan: Plan, label_set: LabelSet, splits: list[str], options: WriteOptions, links: list[str]) -> str:
    content: dict[str, Any] = {"root": "."}
    if links:
        content["links"] = links
    content["names"] = dict(enumerate(plan.names))
    if label_set.frame != "rgb":
        content["frame"] = label_set.frame
    if plan.stretch:
        content["resize"] = "stretch"
    if plan.ir_window:
        content["ir_window"] = dict(plan.ir_window)
    content["splits"] = {split: _folders(split, label_set, options.label_format) for split in splits}
    if plan.tag_columns:
        content["tags"] = {"file": "meta.csv", "key": "name", "columns": list(plan.tag_columns)}
    comments = "".join(f"# {' '.join(line.split())}\n" for line in options.head)
    return comments + dump_yaml(content)


def _folders(split: str, label_set: LabelSet, label_format: LabelFormat) -> dict[str, str]:
    folders = {"rgb": f"{RGB_FOLDER}/{split}", "ir": f"{IR_FOLDER}/{split}"}
    if label_format == "yolo":
        return {**folders, "labels": f"labels{label_set.suffix}/{split}"}
    return {**folders, "coco": f"annotations{label_set.suffix}/{split}.json"}
