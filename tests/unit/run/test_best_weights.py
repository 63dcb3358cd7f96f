"""Best weights that were lost, written again from what a run still has."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.runs import same_tensors
from yolofuse.errors import RunError
from yolofuse.run.best_weights import require_best, restore_best
from yolofuse.run.folder import RunFolder
from yolofuse.run.train_state import RESTORED, TrainState
from yolofuse.weights import load_checkpoint, save_checkpoint, verify_checksum

_APS = {1: 0.2, 2: 0.4, 3: 0.3}
"""AP of each epoch."""


def _state(epoch: int) -> TrainState:
    best = max(range(1, epoch + 1), key=lambda number: _APS[number])
    history: list[dict[str, float | None]] = [{"epoch": n, "val/AP": _APS[n]} for n in range(1, epoch + 1)]
    return TrainState(epoch=epoch, step=10 * epoch, best_ap=_APS[best], best_epoch=best, history=history)


def _save(folder: RunFolder, epoch: int, epoch_step: int = 0) -> None:
    state = _state(epoch)
    state.epoch_step = epoch_step
    content: dict[str, Any] = {key: {} for key in RESTORED}
    content |= {"ema": {"w": torch.full((4,), float(epoch))}, "epoch": epoch, "ap": state.best_ap, "names": ["a"]}
    save_checkpoint(folder.checkpoint(10 * epoch + epoch_step), content | {"progress": asdict(state)})


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run after its third epoch, the second of which was the best."""
    folder = RunFolder(tmp_path)
    folder.last.parent.mkdir()
    for epoch in (1, 2, 3):
        _save(folder, epoch)
    best = {"ema": {"w": torch.full((4,), 2.0)}, "epoch": 2, "ap": 0.4, "names": ["a"], "data_hash": {}}
    save_checkpoint(folder.best, best)
    return folder


def _damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes({"bit": bytes(content), "cut": bytes(content[:99]), "empty": b""}[how])


def test_restore_best__leaves_intact_weights_and_a_run_without_any(folder: RunFolder, tmp_path: Path) -> None:
    before = folder.best.read_bytes()
    assert restore_best(folder, _state(3)) is None
    assert folder.best.read_bytes() == before
    assert restore_best(RunFolder(tmp_path / "new"), TrainState()) is None


@pytest.mark.parametrize("how", ["bit", "cut", "empty", "missing"])
def test_restore_best__writes_the_same_weights_again(folder: RunFolder, how: str) -> None:
    before = load_checkpoint(folder.best)
    _damage(folder.best, how)
    assert restore_best(folder, _state(3)) == (0.4, 2)
    assert same_tensors(load_checkpoint(folder.best), before)
    assert folder.best.with_name("best.pt.damaged").exists() == (how != "missing")


def test_restore_best__takes_the_best_epoch_that_is_left_and_says_so(
    folder: RunFolder, caplog: pytest.LogCaptureFixture
) -> None:
    _damage(folder.best, "bit")
    _damage(folder.checkpoint(20), "cut")
    _save(folder, 2, epoch_step=5)  # in the middle of an epoch: other weights than those that were evaluated
    state = _state(3)
    require_best(folder, state)
    assert (state.best_ap, state.best_epoch) == (0.3, 3)
    assert verify_checksum(folder.best)
    assert load_checkpoint(folder.best)["ap"] == 0.3
    assert "weights of epoch 3 (AP 0.3000): those of epoch 2 (AP 0.4000) are lost" in caplog.text


def test_restore_best__without_any_the_next_evaluated_epoch_is_the_best(folder: RunFolder) -> None:
    _damage(folder.best, "bit")
    for path in folder.checkpoints():
        path.unlink()
    state = _state(3)
    assert restore_best(folder, state) == (-1.0, 3)
    with pytest.raises(RunError, match=r"best\.pt: lost, .*evaluate them with --weights"):
        require_best(folder, state)
    state.best_ap, state.best_epoch = -1.0, 3
    state.finish_epoch({"epoch": 4, "val/AP": 0.1}, 0.1)
    assert (state.best_ap, state.best_epoch) == (0.1, 4)
