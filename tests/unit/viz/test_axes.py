"""Figures: created without a window, saved whole, rendered to pixels."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from yolofuse.errors import RunError
from yolofuse.viz.axes import ALARM, drawing, figure_to_image, new_figure, save_figure, style_axes


def test_figure_to_image__has_the_size_asked_for_and_is_bgr() -> None:
    figure = new_figure(2, 1, dpi=50)
    figure.patch.set_facecolor(ALARM)  # red
    image = figure_to_image(figure)
    assert image.shape == (50, 100, 3)
    assert image[0, 0].tolist() == [0x28, 0x27, 0xD6]


def test_style_axes__hides_the_upper_and_the_right_spine() -> None:
    axes = new_figure(2, 2, dpi=50).subplots()
    style_axes(axes, "losses", xlabel="epoch")
    assert [side for side in axes.spines if not axes.spines[side].get_visible()] == ["right", "top"]
    assert (axes.get_title(loc="left"), axes.get_xlabel()) == ("losses", "epoch")


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("jpg", b"\xff\xd8"), ("svg", b"<?xml")])
def test_save_figure__writes_the_format_of_the_suffix(tmp_path: Path, suffix: str, magic: bytes) -> None:
    save_figure(new_figure(1, 1, dpi=50), tmp_path / f"plot.{suffix}")
    assert (tmp_path / f"plot.{suffix}").read_bytes().startswith(magic)


def test_save_figure__an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot write a plot as '\.gif'"):
        save_figure(new_figure(1, 1, dpi=50), tmp_path / "plot.gif")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("backend", ["no_such_backend", "module://matplotlib_inline.backend_inline", "qtagg"])
def test_figures__do_not_depend_on_the_backend_of_a_notebook(tmp_path: Path, backend: str) -> None:
    script = (
        "import os, sys; from pathlib import Path; from yolofuse.viz.axes import new_figure, save_figure; "
        "figure = new_figure(1, 1, dpi=50); figure.subplots(); save_figure(figure, Path(sys.argv[1])); "
        "print(os.environ['MPLBACKEND'])"
    )
    environment = os.environ | {"MPLBACKEND": backend}
    command = [sys.executable, "-c", script, str(tmp_path / "plot.png")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=100, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, backend), done.stderr
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_drawing__turns_any_error_into_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with drawing(tmp_path / "plot.png"):
        raise ValueError("no font")
    assert "plot.png: could not be drawn (ValueError: no font)" in caplog.text
    with pytest.raises(KeyboardInterrupt), drawing(tmp_path / "plot.png"):
        raise KeyboardInterrupt
