"""Rules for boxes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.check_splits import measured_split
from tests.support.pairs import make_pairs
from yolofuse.check.rules.boxes import check_boxes, flat_boxes


@pytest.mark.parametrize(
    ("lines", "kinds"),
    [
        (["0 0.5 0.5 0.2 0.2"], []),
        (["0 0.95 0.5 0.3 0.1"], ["box-over-border"]),
        (["0 0.5 0.5 0.01 0.01"], ["tiny-box"]),
        (["0 0.5 0.5 0.2 0.2", "0 0.501 0.5 0.2 0.2"], ["twin-box"]),
        (["0 0.5 0.5 0.2 0.2", "1 0.501 0.5 0.2 0.2"], ["two-classes"]),
        (["0 0.5 0.5 0.2 0.2", "0 0.5 0.5 0.2 0.2"], ["twin-box"]),
        (["0 0.5 0.5 0.99 1"], ["whole-image"]),
        ([], ["no-boxes"]),
        ([f"1 {0.05 + i % 11 * 0.08:.2f} {0.05 + i // 11 * 0.08:.2f} 0.06 0.06" for i in range(101)], ["crowded"]),
    ],
    ids=[
        "good",
        "over the border",
        "tiny",
        "nearly twice",
        "two classes",
        "exactly twice",
        "whole image",
        "none",
        "crowded",
    ],
)
def test_check_boxes__names_the_error(tmp_path: Path, lines: list[str], kinds: list[str]) -> None:
    descriptor = make_pairs(tmp_path, 1, 0, names=["person", "car"])
    (tmp_path / "labels" / "train" / "train_000.txt").write_text("".join(f"{line}\n" for line in lines))
    findings = check_boxes(measured_split(descriptor), imgsz=64)
    assert [finding.kind for finding in findings] == kinds
    assert all("train_000" in finding.examples[0] for finding in findings if finding.examples)


def test_flat_boxes__belong_to_their_pairs(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path, 3, 0)
    (tmp_path / "labels" / "train" / "train_001.txt").write_text("0 0.5 0.5 0.2 0.2\n0 0.3 0.3 0.1 0.1\n")
    boxes, pair_of = flat_boxes(measured_split(descriptor))
    assert boxes.shape == (4, 4)
    assert pair_of.tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize(("line", "is_told"), [("0 0.6 0.5 0.9 0.8", True), ("0 0.95 0.5 0.3 0.1", False)])
def test_check_boxes__corners_are_told(tmp_path: Path, line: str, is_told: bool) -> None:
    descriptor = make_pairs(tmp_path, 1, 0)
    (tmp_path / "labels" / "train" / "train_000.txt").write_text(f"{line}\n")
    (finding,) = check_boxes(measured_split(descriptor), imgsz=64)
    assert ("are the labels x1 y1 x2 y2?" in finding.advice) == is_told
