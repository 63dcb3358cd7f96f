"""Problems of files become findings, one for each kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.check_splits import measured_split
from tests.support.pairs import make_pairs, random_pair, save_stored
from yolofuse.check.rules.files import check_files


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
