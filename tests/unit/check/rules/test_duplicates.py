"""Duplicates inside a split, and leaks between splits."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.check_splits import measured_split
from tests.support.pairs import make_pairs
from yolofuse.check.rules.duplicates import find_duplicates, find_leaks


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_pairs(tmp_path, 3, 2)
    return tmp_path


def _copy(root: Path, kind: str, source: str, target: str) -> None:
    for part in (kind,) if kind != "both" else ("rgb", "ir"):
        content = (root / part / f"{source}.png").read_bytes()
        (root / part / f"{target}.png").write_bytes(content)


@pytest.mark.parametrize(("files", "kind"), [("ir", "frozen-ir"), ("rgb", "frozen-rgb"), ("both", "twin-pair")])
def test_find_duplicates__names_repeated_files(root: Path, files: str, kind: str) -> None:
    _copy(root, files, "train/train_000", "train/train_001")
    (found,) = find_duplicates(measured_split(root / "data.yaml"), sample=10)
    assert (found.kind, found.count) == (kind, 1)
    assert found.examples == ("train_000 = train_001",)
    assert len(found.images) == 1


def test_find_leaks__names_the_pair_that_training_has_seen(root: Path) -> None:
    _copy(root, "rgb", "train/train_002", "val/val_001")
    train, val = (measured_split(root / "data.yaml", name) for name in ("train", "val"))
    (found,) = find_leaks(train, val)
    assert (found.kind, found.severity, found.count, found.total) == ("leak-exact", "error", 1, 2)
    assert found.examples == ("train_002 = val_001",)


def test_rules__find_nothing_in_different_pairs(root: Path) -> None:
    train, val = (measured_split(root / "data.yaml", name) for name in ("train", "val"))
    assert find_duplicates(train, sample=10) == []
    assert find_leaks(train, val) == []
