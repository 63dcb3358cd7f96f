"""The notebook in examples/ runs from top to bottom without a display, in a folder that ``yolofuse init`` has made."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from yolofuse.cli.main import main

REPO = Path(__file__).resolve().parents[2]
NOTEBOOK = REPO / "examples" / "quickstart.ipynb"


def test_notebook__trains_evaluates_and_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    assert main(["init", str(tmp_path)]) == 0
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert sum(bool(line.strip()) for cell in code for line in cell.source.splitlines()) < 15
    assert not any(cell.outputs for cell in code)  # nothing of a machine is kept
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    *_, metrics, picture = code
    assert "'AP50'" in metrics.outputs[-1].data["text/plain"]
    png = np.frombuffer(base64.b64decode(picture.outputs[-1].data["image/png"]), np.uint8)
    image = cv2.imdecode(png, cv2.IMREAD_COLOR)
    assert image is not None
    height, width = image.shape[:2]
    assert width > 2 * height  # RGB beside IR
    assert (tmp_path / "runs" / "notebook" / "FINISHED").is_file()
