"""Write a real data set in the layout that its descriptor in configs/data expects, and print what can be compared."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from scripts.paths import REPO
from yolofuse.cli.common import run_command
from yolofuse.convert.conversion_plan import SourceBox
from yolofuse.convert.output_folder import MADE_BY, PREPARED, OutputFolder, build_folder
from yolofuse.convert.source_folder import SourceFolder
from yolofuse.convert.writer import IR_FOLDER, RGB_FOLDER, yolo_line
from yolofuse.data import load_descriptor, load_pairs
from yolofuse.files import save_bytes, save_json, save_text
from yolofuse.tables import csv_text

SPLITS = ("train", "val")


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """The files of a pair, ready to be written."""

    split: str
    name: str
    rgb: bytes  # a JPEG file
    ir: bytes  # a JPEG file
    labels: str  # lines of its YOLO file
    tags: Mapping[str, str]  # columns of meta.csv


def command(description: str | None, build: Callable[[Path, Sequence[Path], Path], None], boxes: str) -> int:
    """Run ``build(src, boxes, out)`` with the options of the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--src", type=Path, required=True, metavar="DIR", help="clone of the repository with images")
    parser.add_argument("--boxes", type=Path, required=True, metavar="FILE", nargs="+", help=boxes)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make; it appears whole")
    args = parser.parse_args()
    return run_command(lambda: build(args.src, args.boxes, args.out))


def choose(source: SourceFolder, names: Iterable[str], split_of: Callable[[str], str | None]) -> dict[str, str]:
    """Return the split of each name that is in one; a split without any is a problem of the source."""
    splits = {name: split for name in sorted(names) if (split := split_of(name))}
    absent = [split for split in SPLITS if split not in splits.values()]
    source.problems += [f"{source.root}: no image of {split} found; is --src the whole clone?" for split in absent]
    return splits


def label_lines(boxes: Iterable[SourceBox], size_hw: tuple[int, int]) -> str:
    """Return the lines of a YOLO file for boxes in pixels.

    They have six decimals, as in the sets that were measured, so that the data hash can be the same.
    """
    lines = []
    for box in boxes:
        class_id, *values = yolo_line(box, size_hw).split()
        lines.append(" ".join([class_id, *(f"{float(value):.6f}" for value in values)]) + "\n")
    return "".join(lines)


def write_set(name: str, target: OutputFolder, pairs: Iterable[LabelledPair], num_pairs: int) -> None:
    """Write a data set, whole or not at all; print pairs, boxes and data hash of each split.

    Args:
        name: Of its descriptor in configs/data, of which the folder gets a copy.
        target: The output folder.
        pairs: Made one by one while they are written.
        num_pairs: How many there are.
    """
    config = REPO / "configs" / "data" / f"{name}.yaml"
    rows: list[dict[str, str]] = []
    with build_folder(target) as folder:
        for pair in tqdm(pairs, "writing pairs", num_pairs, unit="pair", disable=None):
            save_bytes(folder / RGB_FOLDER / pair.split / f"{pair.name}.jpg", pair.rgb)
            save_bytes(folder / IR_FOLDER / pair.split / f"{pair.name}.jpg", pair.ir)
            save_text(folder / "labels" / pair.split / f"{pair.name}.txt", pair.labels)
            rows.append({"name": pair.name, "split": pair.split, **pair.tags})
        save_text(folder / "meta.csv", csv_text(rows))
        shutil.copyfile(config, folder / "data.yaml")
        save_json(folder / PREPARED, {"made_by": MADE_BY, "data_set": name, "pairs": num_pairs})
    descriptor = load_descriptor(config, target.path)
    with tempfile.TemporaryDirectory() as cache:
        for split in SPLITS:
            found = load_pairs(descriptor, split, cache_dir=Path(cache))
            counts = np.bincount(found.scan.class_ids, minlength=len(descriptor.names))
            boxes = ", ".join(f"{count} {label}" for count, label in zip(counts, descriptor.names, strict=True))
            print(f"{target.path} {split}: {len(found)} pairs; boxes: {boxes}; data hash {found.fingerprint[:12]}")
