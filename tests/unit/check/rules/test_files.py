"""Problems of files become findings, one for each kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from tests.support.check_splits import measured_split
from tests.support.pairs import make_pairs, random_pair, save_stored
from yolofuse.check.rules.files import check_files
from yolofuse.data.problems import Problem, ProblemKind


@pytest.mark.parametrize(
    ("file", "content", "kind"),
    [
        ("rgb/train/train_000.png", None, "unpaired-ir"),
        ("ir/train/train_000.png", None, "unpaired-rgb"),
        ("ir/train/train_000.png", "no image", "unreadable"),
        ("labels/train/extra.txt", "0 0.5 0.5 0.1 0.1\n", "orphan-label"),
        ("labels/train/train_000.txt", "9 0.5 0.5 0.1 0.1\n", "class-id"),
        ("labels/train/train_000.txt", "0 1.5 0.5 0.1 0.1\n", "box-outside"),
        ("labels/train/train_000.txt", "0 0.5 0.5\n", "bad-label"),
    ],
)
def test_check_files__names_the_problem(tmp_path: Path, file: str, content: str | None, kind: str) -> None:
    descriptor = make_pairs(tmp_path, 2, 0)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_text(content)
    (found,) = check_files(measured_split(descriptor), tmp_path)
    assert (found.kind, found.severity, found.count) == (kind, "error", 1)
    assert found.text.endswith("training refuses to start")
    assert str(tmp_path) not in found.examples[0]


def test_images_stored_turned__are_a_note(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path, 2, 0)
    save_stored(tmp_path / "rgb" / "train" / "train_001.png", random_pair(1)[0], 3)
    (note,) = check_files(measured_split(descriptor, "train"), tmp_path)
    assert (note.kind, note.severity) == ("orientation", "note")
    assert note.text.startswith("1 visible and 0 thermal images are stored turned or mirrored (EXIF orientation), such")
    assert " as rgb/train/train_001.png; they are read upright" in note.text


def test_check_files__counts_in_whole_sentences(tmp_path: Path) -> None:
    split = measured_split(make_pairs(tmp_path, 1, 0))
    for count, ending in ((1, ""), (4, "s")):
        problems = [Problem(kind, "x", "x") for kind in get_args(ProblemKind) for _ in range(count)]
        texts = {found.kind: found.text for found in check_files(replace(split, problems=problems), tmp_path)}
        assert texts["unpaired-rgb"].startswith(f"{count} RGB image{ending} without an IR partner;")
        assert texts["unpaired-ir"].startswith(f"{count} IR image{ending} without an RGB partner;")
        assert texts["bad-label"].startswith(f"{count} label line{ending} that can't be read;")
        assert texts["no-images"].startswith(f"{count} source{ending} without a pair;")
        assert texts["manifest"].startswith(f"{count} error{ending} of the manifest;")
