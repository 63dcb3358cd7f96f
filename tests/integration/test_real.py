"""Train and evaluate on real pairs with real weights for a few steps; skipped where they are absent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.pairs import real_data
from yolofuse.cli import train as train_cli
from yolofuse.cli import val as val_cli

REPO = Path(__file__).resolve().parents[2]


@pytest.mark.real
@pytest.mark.parametrize("name", ["roadscene-flir", pytest.param("llvip-256", marks=pytest.mark.soak)])
def test_small_config__trains_and_is_evaluated_on_real_pairs(name: str, tmp_path: Path) -> None:
    data = real_data(name)
    weights = data / ".." / ".." / "weights" / "yolov5n_state_dict.pt"
    run = tmp_path / "run"
    overrides = [
        f"data.root={data}",
        f"weights.pretrained={weights}",
        f"train.run={run}",
        "train.epochs=1",
        "train.imgsz=64",
        "train.batch=32",
        "train.precision=fp32",
        "val.imgsz=96",
    ]
    assert train_cli.main(["--cfg", str(REPO / "configs" / "small" / f"{name}.yaml"), *overrides]) == 0
    assert val_cli.main(["--run", str(run)]) == 0
    report = json.loads((run / "eval-val" / "report.json").read_text())
    assert 0 <= report["AP50"] <= 1
    assert set(report["slices"]) == ({"daynight=day", "daynight=night"} if name == "roadscene-flir" else set())
