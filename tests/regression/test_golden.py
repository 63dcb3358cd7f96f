"""Compare with values recorded at 0.1.0: losses, weights, boxes, batches, and the options of every command.

The comparison is bit for bit where torch, ultralytics, NumPy, OpenCV, Python and the processor are those of the
recording. Elsewhere rounding differs: losses are compared to 0.5 % over the first 8 steps, metrics and hashes not at
all. A resumed run and a cached batch must equal the undisturbed ones bit for bit everywhere. The evaluation was
recorded again when images began to be shrunk without aliasing.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.regression import golden
from yolofuse.weights import save_checkpoint

RECORDED: dict[str, Any] = json.loads(golden.VALUES.read_text())
IS_SAME_MACHINE = RECORDED["environment"] == golden.environment()
_COMPARABLE_STEPS = 8


@pytest.mark.parametrize("name", golden.MODELS)
def test_training__gives_the_recorded_losses_and_weights(name: str, tmp_path: Path) -> None:
    recorded = RECORDED["training"][name]
    found = golden.record_training(tmp_path, name)
    assert len(found["losses"]) == golden.STEPS
    if IS_SAME_MACHINE:
        assert found == recorded
    else:
        first = slice(0, _COMPARABLE_STEPS)
        np.testing.assert_allclose(found["losses"][first], recorded["losses"][first], rtol=5e-3)


def test_evaluation__gives_the_recorded_metrics_and_boxes(tmp_path: Path) -> None:
    recorded, found = RECORDED["evaluation"], golden.record_evaluation(tmp_path)
    if IS_SAME_MACHINE:
        assert found == recorded
    else:  # 24 epochs later the last bits of another CPU's steps have become another model
        assert found["metrics"]["AP50"] > 0.1
    assert found["history"][-1] == pytest.approx(found["metrics"]["AP"], abs=1e-6)


def test_batches__equal_the_recorded_ones_with_every_cache(tmp_path: Path) -> None:
    found = golden.record_batches(tmp_path)
    for mosaic in ("mosaic True", "mosaic False"):
        assert found[f"none, {mosaic}"] == found[f"ram, {mosaic}"] == found[f"disk, {mosaic}"]
    if IS_SAME_MACHINE:
        assert found == RECORDED["batches"]


def test_run_of_0_1_0__resumes_forced_to_the_same_bits(tmp_path: Path) -> None:
    """The tensors are from this code, equal to the recorded ones at that step; all else was written by 0.1.0."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "old").mkdir()
    golden.draw_pairs(tmp_path / "whole" / "data")
    config = golden.write_config(tmp_path / "whole", golden.MODELS["mid"], nominal_batch=2)
    assert golden.run_train("--cfg", str(config)) == 0
    end = golden.state_hashes(tmp_path / "whole" / "run")

    run = golden.stop_in_mid_epoch(tmp_path / "old")
    if IS_SAME_MACHINE:
        assert golden.state_hashes(run) == RECORDED["stopped"]["at"]
    _restore_old_files(run)
    golden.resume_forced(run)
    assert golden.state_hashes(run) == end
    if IS_SAME_MACHINE:
        assert end == RECORDED["stopped"]["end"]


_NEWER = {
    "formats",
    "val_formats",
    "overlays",
    "data_hashes",
    "machine",
}  # keys of a checkpoint that 0.1.0 did not write


def _restore_old_files(run: Path) -> None:
    """Replace this code's texts and plain values by those that 0.1.0 wrote."""
    content = golden.load_state(run)
    recorded = (golden.OLD_RUN / "checkpoint.json").read_text().replace(golden.PLACE, str(run.parent))
    plain = json.loads(recorded)
    assert plain.keys() | {"model", "ema", "optimizer", "scaler"} == content.keys() - _NEWER
    for file in (run / "weights").glob("*.pt"):
        file.unlink()
    step = plain["progress"]["step"]
    for name in ("last", f"step_{step:08d}"):
        save_checkpoint(run / "weights" / f"{name}.pt", {k: v for k, v in content.items() if k not in _NEWER} | plain)
    for name in golden.TEXTS:
        (run / name).write_text((golden.OLD_RUN / name).read_text().replace(golden.PLACE, str(run.parent)))


@pytest.mark.parametrize("name", golden.COMMANDS)
def test_help__names_the_recorded_options(name: str) -> None:
    recorded = (golden.GOLDEN / "help" / f"{name}.txt").read_text()
    found = golden.help_text(golden.COMMANDS[name])
    assert _options(found) == _options(recorded)
    if RECORDED["environment"]["python"] == golden.environment()["python"]:
        assert found == recorded


def _options(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", text)) | set(re.findall(r"\{[^}]*\}", text))
