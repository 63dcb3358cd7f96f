"""The plot of an evaluation: a line for each class, and each count in its cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolofuse.viz import evaluation


@pytest.mark.parametrize(("count", "is_named"), [(0, False), (2, True), (30, False)])
def test_plot__has_lines_and_numbers(
    count: int, is_named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(evaluation, "save_figure", lambda figure, path: drawn.append(figure))
    names = [f"class {number}" for number in range(count)]
    curves = {name: (np.array([1.0, 0.5]), np.array([0.5, 0.5])) for name in names}
    confusion = np.arange((count + 1) ** 2).reshape(count + 1, count + 1)
    evaluation.save_evaluation_plot(curves, confusion, names, "title", tmp_path / "curves.png")
    left, right = drawn[0].axes
    assert [line.get_xydata().tolist() for line in left.lines] == [[[0, 1], [0.5, 1], [0.5, 0.5]]] * count
    assert (left.get_legend() is not None) == is_named
    if count <= 12:
        assert [text.get_text() for text in right.texts] == ["", *map(str, range(1, (count + 1) ** 2))]
    else:
        assert not right.texts
    assert right.get_xticklabels()[-1].get_text() == right.get_yticklabels()[-1].get_text() == "nothing"
