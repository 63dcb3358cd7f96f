"""Test both COCO backends: equal on real labels, chosen by the config, imported only where used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.coco_cases import BACKENDS, NAMES, assert_backends_agree
from tests.support.pairs import real_data, record_calls
from yolofuse.config.schema import CocoBackend, ValConfig
from yolofuse.distributed.ranks import Ranks
from yolofuse.engine import evaluate_split
from yolofuse.eval.coco import ground_truth, prediction_rows
from yolofuse.types import Detections, PairRecord


def record(image_id: int, size_hw: tuple[int, int], rgb: Path = Path("a.png")) -> PairRecord:
    return PairRecord(image_id, rgb.stem, rgb, rgb, None, rgb_hw=size_hw, ir_hw=size_hw)


def test_faster__is_imported_on_use_and_imports_no_network() -> None:
    """Its plotting and download helpers must not be imported."""
    ours = """
import sys
import yolofuse.eval.coco
assert "faster_coco_eval" not in sys.modules
"""
    theirs = """
import sys
import faster_coco_eval
unwanted = {"matplotlib", "plotly", "pandas", "requests", "urllib.request", "http.client", "socket", "ssl"}
assert not unwanted & set(sys.modules), unwanted & set(sys.modules)
"""
    for script in (ours, theirs):
        subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.parametrize("backend", BACKENDS)
def test_compute_metrics__uses_the_backend_of_the_config(backend: CocoBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = record_calls(monkeypatch, evaluate_split, "CocoMatches")
    box = np.array([[0.5, 0.5, 0.2, 0.4]], dtype=np.float32), np.array([0])
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    pairs = SimpleNamespace(
        records=[record(1, (100, 200))], labels=lambda _: box, ignored=lambda _: nothing, names=NAMES[:1]
    )
    config = SimpleNamespace(val=ValConfig(backend=backend))
    report = evaluate_split.compute_metrics(
        evaluate_split.SplitPredictions([], 0.0), cast(Any, pairs), cast(Any, config), Ranks(0, 1, torch.device("cpu"))
    )
    assert report is not None
    assert report.result.num_boxes == 1
    assert [call[2] for call in calls] == [backend]


def make_detections(records: list[PairRecord], truth: dict[str, Any], num_classes: int) -> list[Detections]:
    """Return three detections near each label and forty anywhere; scores in hundredths, so that many tie."""
    rng = np.random.default_rng(0)
    detections = []
    for pair in records:
        own = [a for a in truth["annotations"] if a["image_id"] == pair.image_id]
        near = np.repeat(np.array([a["bbox"] for a in own], dtype=np.float64).reshape(-1, 4), 3, axis=0)
        near += near[:, [2, 3, 2, 3]] * rng.normal(0, 0.06, near.shape)
        width, height = pair.size_hw[1], pair.size_hw[0]
        far = np.hstack((rng.uniform(0, 0.8, (40, 2)), rng.uniform(0.02, 0.2, (40, 2)))) * ([width, height] * 2)
        boxes = np.vstack((near, far))
        boxes[:, 2:] += boxes[:, :2]
        class_ids = [a["category_id"] - 1 for a in own for _ in range(3)] + rng.integers(0, num_classes, 40).tolist()
        scores = rng.uniform(0, 1, len(boxes)).round(2).astype(np.float32)
        detections.append(Detections(pair.image_id, boxes.astype(np.float32), scores, np.array(class_ids)))
    return detections


@pytest.mark.real
@pytest.mark.parametrize(("name", "num_classes"), [("roadscene-flir", 3), ("llvip-256", 1)])
def test_backends__equal_on_real_labels(name: str, num_classes: int) -> None:
    folder = real_data(name)
    records, labels = [], []
    for image_id, file in enumerate(sorted((folder / "images" / "val").iterdir()), start=1):
        with Image.open(file) as image:
            records.append(record(image_id, (image.height, image.width), file))
        lines = (folder / "labels" / "val" / f"{file.stem}.txt").read_text().splitlines()
        table = np.array([line.split() for line in lines], dtype=np.float32).reshape(-1, 5)
        labels.append((table[:, 1:].copy(), table[:, 0].astype(np.int64)))
    truth = ground_truth(records, labels.__getitem__, NAMES[:num_classes])
    result = assert_backends_agree(truth, prediction_rows(make_detections(records, truth, num_classes)))
    assert result.num_boxes > 200
    assert 0.05 < result.AP < 0.95
