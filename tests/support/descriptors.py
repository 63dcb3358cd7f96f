"""Write descriptors, COCO files and thermal images of more than 8 bits for tests."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import yaml

from tests.support.pairs import random_pair, write_pair

COCO_SOURCE = {"rgb": "rgb/train", "ir": "ir/train", "coco": "gt.json"}


def folders(split: str = "train", **more: object) -> dict[str, object]:
    """Return a source of folders as ``make_pairs`` writes them."""
    return {"rgb": f"rgb/{split}", "ir": f"ir/{split}", "labels": f"labels/{split}", **more}


def write_descriptor(root: Path, splits: object, **more: object) -> Path:
    """Write ``data.yaml`` with one class and these splits."""
    file = root / "data.yaml"
    file.write_text(yaml.safe_dump({"root": ".", "names": ["person"], "splits": splits, **more}))
    return file


def write_coco(file: Path, images: dict[int, str], size_hw: tuple[int, int] = (64, 96)) -> None:
    """Write a COCO file that lists images by id, each with one box."""
    height, width = size_hw
    content = {
        "images": [{"id": n, "file_name": name, "width": width, "height": height} for n, name in images.items()],
        "annotations": [{"id": n, "image_id": n, "category_id": 1, "bbox": [4, 4, 10 + n, 8]} for n in images],
        "categories": [{"id": 1, "name": "person"}],
    }
    file.write_text(json.dumps(content))


def write_counts(root: Path, key: str, counts: np.ndarray, suffix: str = ".png") -> None:
    """Write a pair of the split ``train`` whose thermal image holds these counts."""
    bgr, _, boxes = random_pair(0, counts.shape[:2])
    write_pair(root, "train", key, (bgr, np.zeros(counts.shape[:2], np.uint8), boxes))
    file = root / "ir" / "train" / f"{key}.png"
    file.unlink()
    assert cv2.imwrite(str(file.with_suffix(suffix)), counts)
