"""docs/first-detector.md as a stranger follows it: from an installed wheel, in an empty folder, with twenty pairs."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.test_wheel import installed  # noqa: F401 - a fixture
from tests.support.documents import all_blocks
from tests.support.runs import REPO
from tests.support.weights import real_weights, single_stream_file
from yolofuse.synth import generate

_CLASSES = ("person", "car")
_NUMBERS = ("score", "x1", "y1", "x2", "y2")
_SMALL = "train.epochs=1 train.imgsz=256 train.batch=8 data.workers=0"
_ALONE = "raise ImportError('this program must run without it')\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with what the page asks for: twenty pairs, and weights of a detector for one camera."""
    folder = tmp_path / "work"
    drawn = generate(tmp_path / "drawn", num_train=20, num_val=1, seed=0, size_hw=(192, 256)).parent
    for kind, name in (("images", "visible"), ("imagesIR", "thermal"), ("labels", "labels")):
        target = folder / "pairs" / name
        target.mkdir(parents=True)
        for number, file in enumerate(sorted((drawn / kind / "train").iterdir()), start=1):
            shutil.copy(file, target / f"{number:04d}{file.suffix}")
    try:
        shutil.copy(real_weights("yolov5n.pt"), folder)
    except pytest.skip.Exception:
        single_stream_file(folder / "yolov5n.pt", "yolov5n", _CLASSES)
    shutil.copy(REPO / "examples/onnxruntime_predict.py", folder)
    for name in ("torch", "yolofuse"):
        (tmp_path / "alone" / name).mkdir(parents=True)
        (tmp_path / "alone" / name / "__init__.py").write_text(_ALONE)
    return folder


@pytest.mark.timeout(600)
def test_page__is_followed_from_a_wheel_to_a_file_that_runs_alone(installed: Path, folder: Path) -> None:  # noqa: F811
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(installed)}
    environment["PATH"] = f"{installed / 'bin'}:{Path(sys.executable).parent}:{environment['PATH']}"
    alone = {**environment, "PYTHONPATH": str(folder.parent / "alone")}
    seconds: dict[str, float] = {}
    output = ""
    for block in all_blocks():
        if block.page != "docs/first-detector.md" or block.language != "sh" or block.section == "1. Install":
            continue
        lines = [
            f"{line} {_SMALL}" if line.startswith(("yolofuse train", "yolofuse val")) else line
            for line in block.code.splitlines()
        ]
        started = time.monotonic()
        ended = subprocess.run(
            ["bash", "-e"],
            input="\n".join(lines),
            cwd=folder,
            env=alone if block.section.startswith("6.") else environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, f"{block}: {ended.stdout[-2000:]}{ended.stderr[-2000:]}"
        seconds[block.section] = round(time.monotonic() - started, 1)
        output = ended.stdout
    print(seconds)  # pytest -s
    assert list(seconds) == ["2. Check the pairs", "3. Train", "4. Look", "5. Export", "6. Run it without yolofuse"]
    assert (folder / "runs/first/report.html").stat().st_size > 10_000
    assert len(list((folder / "runs/seen/images").iterdir())) == 20
    with (folder / "runs/seen/detections.csv").open() as file:
        seen = [row for row in csv.DictReader(file) if row["pair"] == "0001"]
    names, numbers = [row["class"] for row in seen], [[float(row[key]) for key in _NUMBERS] for row in seen]
    printed = sorted(map(str.split, output.splitlines()), key=lambda words: -float(words[1]))
    assert [words[0] for words in printed] == names
    for words, expected in zip(printed, numbers, strict=True):
        assert list(map(float, words[1:])) == pytest.approx(expected, abs=0.02)  # images are not shrunk here
