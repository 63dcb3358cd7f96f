"""Write tiny paired data sets for tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.data.index.pair_set import PairSet, load_pairs
from yolofuse.types import ByteArray

Box = tuple[int, float, float, float, float]  # class, x, y, w, h; normalised
LabelledPair = tuple[ByteArray, ByteArray, Sequence[Box]]  # BGR, IR, boxes

_REPO = Path(__file__).resolve().parents[2]


def random_pair(index: int, size_hw: tuple[int, int] = (64, 96), num_classes: int = 1) -> LabelledPair:
    """Return a noisy pair with one bright rectangle in both modalities; deterministic in ``index``."""
    rng = np.random.default_rng(index)
    height, width = size_hw
    bgr = rng.integers(0, 90, (height, width, 3), dtype=np.uint8)
    ir = rng.integers(0, 90, (height, width), dtype=np.uint8)
    box_w, box_h = int(rng.integers(width // 4, width // 2)), int(rng.integers(height // 4, height // 2))
    x0, y0 = int(rng.integers(0, width - box_w)), int(rng.integers(0, height - box_h))
    class_id = index % num_classes
    bgr[y0 : y0 + box_h, x0 : x0 + box_w] = (40, 200, 255 - 60 * class_id)
    ir[y0 : y0 + box_h, x0 : x0 + box_w] = 230
    box = (class_id, (x0 + box_w / 2) / width, (y0 + box_h / 2) / height, box_w / width, box_h / height)
    return bgr, ir, [box]


def write_pair(
    root: Path,
    split: str,
    key: str,
    pair: LabelledPair,
    suffixes: tuple[str, str] = (".png", ".png"),
) -> None:
    """Write one pair and its label file below ``root/{rgb,ir,labels}/split``."""
    bgr, ir, boxes = pair
    for kind, suffix, pixels in zip(("rgb", "ir"), suffixes, (bgr, ir), strict=True):
        file = root / kind / split / f"{key}{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(file), pixels)
    label = root / "labels" / split / f"{key}.txt"
    label.parent.mkdir(parents=True, exist_ok=True)
    label.write_text("".join(f"{class_id} {x:.8f} {y:.8f} {w:.8f} {h:.8f}\n" for class_id, x, y, w, h in boxes))


def make_pairs(
    root: Path,
    num_train: int = 4,
    num_val: int = 2,
    size_hw: tuple[int, int] = (64, 96),
    *,
    names: Sequence[str] = ("person",),
    suffixes: tuple[str, str] = (".png", ".png"),
    pair_at: Callable[[int], LabelledPair] | None = None,
    extra: Mapping[str, object] | None = None,
) -> Path:
    """Write a paired data set below ``root``; return its descriptor.

    Args:
        root: Folder to write to; created if needed.
        num_train: Pairs of the split ``train``, keys ``train_000`` and so on.
        num_val: Pairs of the split ``val``.
        size_hw: Size of the default images in px.
        names: Class names; the default images alternate between them.
        suffixes: File formats of RGB and IR.
        pair_at: Returns the pair of an index, instead of the default one. The indices of val follow those of train.
        extra: Additional keys of the descriptor.
    """
    make = pair_at or (lambda index: random_pair(index, size_hw, len(names)))
    index = 0
    splits = {}
    for split, count in (("train", num_train), ("val", num_val)):
        if not count:
            continue
        for number in range(count):
            write_pair(root, split, f"{split}_{number:03d}", make(index), suffixes)
            index += 1
        splits[split] = {"rgb": f"rgb/{split}", "ir": f"ir/{split}", "labels": f"labels/{split}"}
    descriptor = root / "data.yaml"
    content = {"root": ".", "names": dict(enumerate(names)), "splits": splits, **(extra or {})}
    descriptor.write_text(yaml.safe_dump(content))
    return descriptor


def pairs_of(descriptor: Path, split: str = "train", verify: bool = True) -> PairSet:
    """Load the pairs of a data set, with a cache beside its descriptor."""
    cache_dir = descriptor.parent / "cache"
    return load_pairs(load_descriptor(descriptor), split, cache_dir=cache_dir, verify=verify, workers=1)


def record_calls(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> list[tuple[Any, ...]]:
    """Record the positional arguments of every later call of a function or method, which works as before."""
    calls: list[tuple[Any, ...]] = []
    function = getattr(owner, name)

    def recording(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return function(*args, **kwargs)

    monkeypatch.setattr(owner, name, recording)
    return calls


def real_data(name: str) -> Path:
    """Return the folder of a real data set; skip the test where it is absent."""
    folder = Path(os.environ.get("YOLOFUSE_REAL_DATA", _REPO / ".." / "shared" / "data")) / name
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; set YOLOFUSE_REAL_DATA")
    return folder


def exif_of(orientation: int) -> Image.Exif:
    """Return the EXIF block of an image that is stored turned or mirrored, by EXIF's number."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def turned_back(upright: np.ndarray, orientation: int) -> np.ndarray:
    """Return upright pixels as a file holds them that has this orientation, by EXIF's number."""
    stored = {
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }
    return np.ascontiguousarray(stored.get(orientation, upright))


def save_stored(file: Path, upright: np.ndarray, orientation: int = 1) -> None:
    """Save upright pixels, RGB or grey, as a camera does that stores them turned: other programs show them upright."""
    by_suffix: dict[str, dict[str, Any]] = {".jpg": {"quality": 100, "subsampling": 0}, ".webp": {"lossless": True}}
    options = by_suffix.get(file.suffix, {})
    if orientation > 1:
        options |= {"tiffinfo": {0x0112: orientation}} if file.suffix == ".tiff" else {"exif": exif_of(orientation)}
    Image.fromarray(turned_back(upright, orientation)).save(file, **options)
