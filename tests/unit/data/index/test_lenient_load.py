from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.support.descriptors import folders, write_counts, write_descriptor
from tests.support.pairs import make_pairs
from yolofuse.data import load_descriptor, load_pairs_with_problems


def test_load_pairs_with_problems__keeps_the_good_pairs_and_every_error(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path, 5, 0)
    (tmp_path / "ir" / "train" / "train_001.png").unlink()
    (tmp_path / "rgb" / "train" / "train_002.png").write_bytes(b"no image")
    (tmp_path / "labels" / "train" / "train_003.txt").write_text("0 2 2 2 2\n")
    found = load_pairs_with_problems(load_descriptor(descriptor), "train", cache_dir=tmp_path)
    assert [record.key for record in found.pairs.records] == ["train_000", "train_004"]
    assert [len(found.pairs.labels(index)[1]) for index in (0, 1)] == [1, 1]
    assert sorted(problem.kind for problem in found.problems) == ["bad-label", "unpaired-rgb", "unreadable"]


def test_load_pairs_with_problems__continues_without_percentiles(tmp_path: Path) -> None:
    for number in range(3):
        write_counts(tmp_path, f"pair{number}", np.full((64, 96), 7000, np.uint16))
    file = tmp_path / "ir" / "train" / "pair1.png"
    file.write_bytes(file.read_bytes()[:60])
    found = load_pairs_with_problems(
        load_descriptor(write_descriptor(tmp_path, {"train": folders()}, ir_window={"percentiles": [1, 99]})),
        "train",
        cache_dir=tmp_path / "cache",
    )
    assert len(found.pairs) == 2
    assert {problem.kind for problem in found.problems} == {"unreadable", "bit-depth", "window"}  # cut short; flat
    assert found.pairs.records[0].format.ir_window is not None
