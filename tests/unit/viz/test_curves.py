"""Curves of a run: what is read from results.csv, and what is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from yolofuse.errors import RunError
from yolofuse.viz.curves import read_curves, save_curves

RESULTS = """epoch,train/box,train/cls,train/dfl,val/AP,val/AP50,val/AP75,lr
1,2.5,3.0,1.5,,,,0.01
2,2.0,2.0,1.2,0.1,0.3,0.05,0.005
"""


def test_save_curves__draws_what_there_is(tmp_path: Path) -> None:
    source = tmp_path / "results.csv"
    source.write_text(RESULTS)
    curves = read_curves(source)
    assert curves["train/box"] == ([1, 2], [2.5, 2.0])
    assert curves["val/AP"] == ([2], [0.1])  # the blank cell is no zero
    save_curves(source, tmp_path / "curves.png")
    image = cv2.imread(str(tmp_path / "curves.png"))
    assert image is not None
    assert image.std() > 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            RESULTS.replace("2.5", "two").replace("0.3", "?"),
            r"2 cell.*\n.*line 2, train/box: 'two'\n.*line 3, val/AP50",
        ),
        ("epoch,train/box\n", "no epochs"),
        (None, "cannot read"),
    ],
    ids=["no number", "empty", "missing"],
)
def test_save_curves__reports_what_is_wrong(tmp_path: Path, text: str | None, message: str) -> None:
    source = tmp_path / "results.csv"
    if text is not None:
        source.write_text(text)
    with pytest.raises(RunError, match=message):
        save_curves(source, tmp_path / "curves.png")


def test_save_curves__an_unknown_suffix_is_refused_before_reading(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot write a plot as '\.gif'; use one of \.png"):
        save_curves(tmp_path / "missing.csv", tmp_path / "curves.gif")
