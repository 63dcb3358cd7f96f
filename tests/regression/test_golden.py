"""What a run computes is what it was at 0.1.0: losses, weights, boxes, batches, and the options of every command.

Compared bit for bit where torch, ultralytics, NumPy, OpenCV, Python and the processor are those of the recording.
Elsewhere sums are rounded in another order: losses are compared to 5 parts in 1,000 over the first 8 steps, AP to 0.05,
hashes not at all. That a resumed run, and a cached batch, equal the undisturbed one is asked bit for bit everywhere.
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
_STEPS_NEAR = 8


@pytest.mark.parametrize("name", golden.MODELS)
def test_training__gives_the_recorded_losses_and_weights(name: str, tmp_path: Path) -> None:
    recorded = RECORDED["training"][name]
    found = golden.record_training(tmp_path, name)
    assert len(found["losses"]) == golden.STEPS
    if IS_SAME_MACHINE:
        assert found == recorded
    else:
        near = slice(0, _STEPS_NEAR)
        np.testing.assert_allclose(found["losses"][near], recorded["losses"][near], rtol=5e-3)


def test_evaluation__gives_the_recorded_metrics_and_boxes(tmp_path: Path) -> None:
    recorded, found = RECORDED["evaluation"], golden.record_evaluation(tmp_path)
    if IS_SAME_MACHINE:
        assert found == recorded
    else:
        assert found["metrics"]["AP"] == pytest.approx(recorded["metrics"]["AP"], abs=0.05)
    assert found["history"][-1] == pytest.approx(found["metrics"]["AP"], abs=1e-6)


def test_batches__are_the_recorded_bytes_from_files_memory_and_disk(tmp_path: Path) -> None:
    found = golden.record_batches(tmp_path)
    for mosaic in ("mosaic True", "mosaic False"):
        assert found[f"none, {mosaic}"] == found[f"ram, {mosaic}"] == found[f"disk, {mosaic}"]
    if IS_SAME_MACHINE:
        assert found == RECORDED["batches"]


def test_run_of_0_1_0__resumes_by_force_to_the_same_bits(tmp_path: Path) -> None:
    """The tensors are this code's, which at that step are the recorded ones; all else is what 0.1.0 wrote."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "old").mkdir()
    golden.draw_pairs(tmp_path / "whole" / "data")
    config = golden.write_config(tmp_path / "whole", golden.MODELS["mid"], nominal_batch=2)
    assert golden.run_train("--cfg", str(config)) == 0
    end = golden.state_hashes(tmp_path / "whole" / "run")

    run = golden.stop_in_mid_epoch(tmp_path / "old")
    if IS_SAME_MACHINE:
        assert golden.state_hashes(run) == RECORDED["stopped"]["at"]
    _make_old(run)
    golden.resume_by_force(run)
    assert golden.state_hashes(run) == end
    if IS_SAME_MACHINE:
        assert end == RECORDED["stopped"]["end"]


def _make_old(run: Path) -> None:
    """Put the texts and plain values that 0.1.0 wrote in the place of this code's."""
    content = golden.load_state(run)
    recorded = (golden.OLD_RUN / "checkpoint.json").read_text().replace(golden.PLACE, str(run.parent))
    plain = json.loads(recorded)
    assert plain.keys() | {"model", "ema", "optimizer", "scaler"} == content.keys()
    for file in (run / "weights").glob("*.pt"):
        file.unlink()
    step = plain["progress"]["step"]
    for name in ("last", f"step_{step:08d}"):
        save_checkpoint(run / "weights" / f"{name}.pt", content | plain)
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
