"""The programs of examples/ that need no yolofuse: they find what yolofuse finds."""

from __future__ import annotations

import ast
import json
import runpy
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest

import yolofuse
from tests.support.pairs import make_pairs
from tests.support.predict_models import random_model
from tests.support.runs import REPO, train_without_plots, write_config
from yolofuse.config import load_config

pytest.importorskip("onnx", reason="the extra 'onnx' is not installed")
pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")

PROGRAM = REPO / "examples" / "onnxruntime_predict.py"


def test_program__has_under_20_lines_of_code_and_no_yolofuse() -> None:
    tree = ast.parse(PROGRAM.read_text())
    lines = {number for node in tree.body[1:] for number in range(node.lineno, (node.end_lineno or 0) + 1)}
    assert len(lines) < 20
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert names == {"json", "sys", "cv2", "numpy", "onnxruntime"}


def test_program__finds_what_yolofuse_finds(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path / "data", num_train=6, num_val=3, size_hw=(48, 64))
    run = train_without_plots(load_config(write_config(tmp_path, descriptor, train={"epochs": 1})))
    conf = 1e-4
    file = yolofuse.export(run, out=tmp_path / "model.onnx", nms=True, conf=conf)
    rgb, ir = (tmp_path / "data" / kind / "val" / "val_000.png" for kind in ("rgb", "ir"))
    away = tmp_path / "away"
    away.mkdir()
    shutil.copy(PROGRAM, away)
    ended = subprocess.run(
        [sys.executable, "-I", PROGRAM.name, str(file), str(rgb), str(ir)],
        cwd=away, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    rows = [line.split() for line in ended.stdout.splitlines()]
    loaded = yolofuse.load_detector(run, device="cpu", val={"conf": conf})
    (expected,) = loaded.detect(loaded.preprocess([(rgb, ir)]))
    pixels = cv2.imread(str(rgb))
    assert pixels is not None
    assert pixels.shape[:2] == (48, 64)  # not scaled, so that both see the same pixels
    assert len(rows) >= len(expected) > 0
    best = expected.above(float(np.sort(expected.scores)[-5]))
    for box, score, class_id in zip(best.boxes_xyxy, best.scores, best.class_ids, strict=True):
        same = [row for row in rows if row[0] == loaded.names[class_id] and abs(float(row[1]) - score) < 1e-3]
        clipped = [np.clip(np.array(row[2:], float), 0, [64, 48, 64, 48]) for row in same]
        assert min(np.abs(other - box).max() for other in clipped) < 0.1


@pytest.mark.parametrize("size_hw", [(138, 254), (254, 138), (40, 254), (25, 40), (48, 64)])
@pytest.mark.parametrize("mode", ["rect", "square"])
def test_program__gives_the_pixels_that_yolofuse_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size_hw: tuple[int, int], mode: str
) -> None:
    make_pairs(tmp_path, 1, 1, size_hw=size_hw)
    pair = tmp_path / "rgb/val/val_000.png", tmp_path / "ir/val/val_000.png"
    model = random_model(tmp_path).loaded
    config = model.config.model_copy(update={"val": model.config.val.model_copy(update={"letterbox": mode})})
    expected = replace(model, config=config).preprocess([pair]).pixels.numpy()
    given: dict[str, np.ndarray] = {}
    meta = json.dumps({"imgsz": config.val_imgsz, "stride": 32, "letterbox": mode, "names": []})
    session = mock.Mock()
    session.get_modelmeta.return_value.custom_metadata_map = {"yolofuse": meta}
    session.run.side_effect = lambda _, feed: [given.update(feed) or np.zeros((0, 7))]
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda _: session)
    monkeypatch.setattr(sys, "argv", [PROGRAM.name, "model.onnx", *map(str, pair)])
    runpy.run_path(str(PROGRAM))
    pixels = np.concatenate([given["rgb"], given["ir"]], axis=1)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 2


def test_cpp__compiles(tmp_path: Path) -> None:
    if shutil.which("cmake") is None:
        pytest.skip("no cmake")
    source = REPO / "examples" / "cpp"
    configured = subprocess.run(["cmake", "-S", source, "-B", tmp_path], capture_output=True, text=True, check=False)
    if configured.returncode:
        pytest.skip(f"no headers of OpenCV and ONNX Runtime: {configured.stderr.strip().splitlines()[-1:]}")
    built = subprocess.run(["cmake", "--build", tmp_path], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
