"""Write small source files, and read the results of a conversion."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from yolofuse.convert.source_folder import SourceFolder

SIZE_WH = (64, 48)
VocBox = tuple[str, float, float, float, float]  # class, corners


def image(path: Path, size_wh: tuple[int, int] = SIZE_WH, gray: bool = False, seed: int = 0) -> Path:
    """Write a noisy image file; 16 bits deep for TIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_encoded_noise(path.suffix, size_wh, gray, seed))
    return path


@lru_cache(maxsize=256)
def _encoded_noise(suffix: str, size_wh: tuple[int, int], gray: bool, seed: int) -> bytes:
    shape = (size_wh[1], size_wh[0]) if gray else (size_wh[1], size_wh[0], 3)
    rng = np.random.default_rng(seed)
    is_16_bit = suffix == ".tiff"
    pixels = rng.integers(0, 60000 if is_16_bit else 255, shape, dtype=np.uint16 if is_16_bit else np.uint8)
    encoded, data = cv2.imencode(suffix, pixels)
    assert encoded
    return data.tobytes()


def text(path: Path, content: str) -> Path:
    """Write a text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def voc(path: Path, boxes: Sequence[VocBox], size_wh: tuple[int, int] = SIZE_WH) -> Path:
    """Write a VOC file with ``<bndbox>`` objects."""
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
        "</bndbox></object>\n"
        for name, x0, y0, x1, y1 in boxes
    )
    size = f"<size><width>{size_wh[0]}</width><height>{size_wh[1]}</height><depth>3</depth></size>\n"
    return text(path, f"<annotation>\n{size}{objects}</annotation>\n")


def coco(
    path: Path,
    images: Mapping[str, Sequence[tuple[int, Sequence[float]]]],
    names: Mapping[int, str],
    size_wh: tuple[int, int] = SIZE_WH,
) -> Path:
    """Write a COCO file: for each file name (category id, [x, y, w, h])."""
    records: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, (file_name, boxes) in enumerate(images.items()):
        records.append({"id": image_id, "file_name": file_name, "width": size_wh[0], "height": size_wh[1]})
        for category, bbox in boxes:
            number = len(annotations) + 1
            annotations.append({"id": number, "image_id": image_id, "category_id": category, "bbox": list(bbox)})
    categories = [{"id": number, "name": name} for number, name in names.items()]
    document = {"images": records, "annotations": annotations, "categories": categories}
    return text(path, json.dumps(document))


def llvip(root: Path, boxes: Sequence[VocBox] = (("person", 8, 6, 24, 42),)) -> Path:
    """Write LLVIP with scenes 01 (6 pairs), 02 (1), 03 (3) in train and 19 (2) in test."""
    for part, scenes in (("train", {"01": 6, "02": 1, "03": 3}), ("test", {"19": 2})):
        for scene, count in scenes.items():
            for number in range(1, count + 1):
                name = f"{scene}{number:04d}"
                image(root / "visible" / part / f"{name}.jpg", seed=number)
                image(root / "infrared" / part / f"{name}.jpg", gray=True, seed=number)
                voc(root / "Annotations" / f"{name}.xml", boxes)
    return root


def tree(folder: Path) -> dict[str, str]:
    """Return every file below a folder: a hash of its content, or where a link points to."""
    found = {}
    for current, _, files in os.walk(folder):
        for name in files:
            path = Path(current) / name
            key = path.relative_to(folder).as_posix()
            if path.is_symlink():
                found[key] = f"-> {path.readlink()}"
            else:
                found[key] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def labels(folder: Path, name: str) -> list[list[float]]:
    """Return the lines of a YOLO file as numbers."""
    return [[float(value) for value in line.split()] for line in (folder / name).read_text().splitlines()]


def pixels(line: Sequence[float], size_wh: tuple[int, int] = SIZE_WH) -> tuple[int, list[float]]:
    """Return class and corners in pixels, rounded, of a YOLO line."""
    class_id, x, y, w, h = line
    width, height = size_wh
    corners = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
    return int(class_id), [round(value, 6) for value in corners]


def keys(folder: Path, split: str) -> list[str]:
    """Return the names of the RGB images of a split, without suffix, sorted."""
    return sorted(path.stem for path in (folder / "images" / split).iterdir())


def descriptor(folder: Path, name: str = "data.yaml") -> dict[str, Any]:
    """Return the content of a descriptor."""
    content: dict[str, Any] = yaml.safe_load((folder / name).read_text(encoding="utf-8"))
    return content


def record(folder: Path) -> dict[str, Any]:
    """Return the content of ``prepared.json``."""
    content: dict[str, Any] = json.loads((folder / "prepared.json").read_text(encoding="utf-8"))
    return content


def head(folder: Path) -> str:
    """Return the comment lines of the descriptor."""
    lines = (folder / "data.yaml").read_text().splitlines()
    return "\n".join(line for line in lines if line.startswith("#"))


def only_problem(source: SourceFolder) -> str:
    """Return the one problem of a source."""
    assert len(source.problems) == 1, source.problems
    return source.problems[0]
