"""What training and validation have in common: images, or the labels of other images."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.support.pairs import make_pairs, pairs_of, random_pair, write_pair
from yolofuse.check.check import check_dataset
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.data.index.compare_splits import describe_overlap

NAMES = ("train", "val")


def _two_splits(root: Path, num_copied: int) -> Path:
    """Write eight pairs in each split with equal names and own images; some of val have train's labels."""
    descriptor = make_pairs(root, 1, 1)
    for kind in ("rgb", "ir", "labels"):
        for split in NAMES:
            shutil.rmtree(root / kind / split)
    for number in range(16):
        write_pair(root, NAMES[number // 8], f"{number % 8}", random_pair(number))
    for number in range(num_copied):
        shutil.copy(root / "labels" / "train" / f"{number}.txt", root / "labels" / "val" / f"{number}.txt")
    return descriptor


@pytest.mark.parametrize(("num_copied", "expected"), [(0, 0), (2, 0), (3, 0), (4, 4), (8, 8)])
def test_labels_that_were_copied__are_told(tmp_path: Path, num_copied: int, expected: int) -> None:
    descriptor = _two_splits(tmp_path, num_copied)
    said = describe_overlap(pairs_of(descriptor), pairs_of(descriptor, "val"), NAMES)
    start = f"{expected} pairs of val, such as 0, have other images than the pairs of train of their name, and the same"
    assert [text[: len(start)] for text in said] == [start] * bool(expected)
    found = [f for f in check_dataset(load_descriptor(descriptor)).findings if f.kind == "same-labels"]
    assert [(finding.severity, finding.count) for finding in found] == [("warning", expected)] * bool(expected)


def test_pairs_that_training_has__are_counted(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path, 4, 3)
    for number in range(2):
        shutil.copy(
            tmp_path / "ir" / "train" / f"train_00{number}.png", tmp_path / "ir" / "val" / f"val_00{number}.png"
        )
    train, val = pairs_of(descriptor), pairs_of(descriptor, "val")
    (said,) = describe_overlap(train, val, NAMES)
    assert re.match("2 of 3 pairs of val have an image that train has, too: their score measures memory", said)
    assert describe_overlap(train, train, ("a", "b"))[0].startswith("4 of 4 pairs of b")


def test_images_that_were_not_verified__are_not_compared(tmp_path: Path) -> None:
    descriptor = _two_splits(tmp_path, 8)
    pairs = [pairs_of(descriptor, split, verify=False) for split in NAMES]
    assert describe_overlap(pairs[0], pairs[1], NAMES) == []
