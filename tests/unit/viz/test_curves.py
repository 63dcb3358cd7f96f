"""Curves of a run: what is drawn of its history."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import cv2
import pytest

from yolofuse.viz.curves import save_curves

HISTORY: list[dict[str, float | None]] = [
    {"epoch": 0, "val/AP": 0.05, "val/AP50": 0.2, "val/AP75": 0.01},
    {"epoch": 1, "train/box": 2.5, "train/cls": 3, "lr": 0.01, "seconds": 9, "val/AP": None, "val/AP50": None},
    {"epoch": 2, "train/box": 2, "train/cls": 2, "lr": 0.005, "seconds": 8, "val/AP": 0.1, "val/AP50": 0.3},
]


def test_save_curves__draws_what_there_is(tmp_path: Path) -> None:
    with mock.patch("yolofuse.viz.curves.save_figure") as save:
        save_curves(HISTORY, tmp_path / "curves.png")
    figure, path = save.call_args.args
    assert path == tmp_path / "curves.png"
    assert figure.axes[1].get_ylim() == pytest.approx((0, 0.36))
    drawn = {
        axes.get_title(loc="left"): {
            line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines
        }
        for axes in figure.axes
    }
    assert drawn == {
        "training loss": {"box": ([1, 2], [2.5, 2]), "cls": ([1, 2], [3, 2])},
        "validation AP": {  # an epoch without evaluation is no zero
            "AP": ([0, 2], [0.05, 0.1]),
            "AP50": ([0, 2], [0.2, 0.3]),
            "AP75": ([0], [0.01]),
        },
        "learning rate": {"lr": ([1, 2], [0.01, 0.005])},
    }


def test_save_curves__writes_an_image(tmp_path: Path) -> None:
    save_curves(HISTORY, tmp_path / "curves.png")
    image = cv2.imread(str(tmp_path / "curves.png"))
    assert image is not None
    assert image.std() > 0
