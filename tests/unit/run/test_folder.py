"""The files of a run folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from yolofuse.config import Config
from yolofuse.errors import RunError
from yolofuse.run.folder import RunFolder, checkpoint_step


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run folder without a config."""
    return RunFolder(tmp_path / "run")


def test_checkpoints__are_sorted_by_step_and_leave_other_files_out(folder: RunFolder) -> None:
    paths = [folder.checkpoint(step) for step in (100, 20, 123_456_789)]
    folder.last.parent.mkdir(parents=True)
    for path in (*paths, folder.last, folder.best, folder.last.with_name("step_x.pt")):
        path.touch()
    assert folder.checkpoints() == [paths[2], paths[0], paths[1]]
    assert [checkpoint_step(path) for path in (paths[1], folder.last)] == [20, None]


def test_create__writes_a_config_that_load_config_reads_and_refuses_a_used_folder(folder: RunFolder) -> None:
    config = Config.model_validate({"data": {"descriptor": "/data/path.yaml"}, "train": {"run": "runs/a"}})
    with pytest.raises(RunError, match="no run here"):
        folder.load_config()
    folder.create(config)
    loaded = folder.load_config(["train.epochs=7"])
    assert (loaded.train.epochs, loaded.run_dir) == (7, folder.path)
    with pytest.raises(RunError, match="holds a run already; resume it with --resume"):
        folder.create(config)


def test_file__in_a_run_is_told_its_folder(folder: RunFolder) -> None:
    config = Config.model_validate({"data": {"descriptor": "/data/path.yaml"}, "train": {"run": "runs/a"}})
    folder.create(config)
    with pytest.raises(RunError, match=rf"last.pt: no run here .*; did you mean {folder.path}\?"):
        RunFolder(folder.last).load_config()


def test_used_folder__is_told_with_a_free_name(tmp_path: Path) -> None:
    config = Config.model_validate({"data": {"descriptor": "/data/path.yaml"}, "train": {"run": "runs/a"}})
    for name in ("mid", "mid-2", "mid-4"):
        RunFolder(tmp_path / name).create(config)
    for used in ("mid", "mid-4"):
        with pytest.raises(RunError, match=rf"{tmp_path}/mid-3 is free"):
            RunFolder(tmp_path / used).create(config)


def test_micro_batches__are_read_back(folder: RunFolder) -> None:
    assert folder.read_micro_batches() == 1
    folder.write_micro_batches(4)
    assert folder.split_batches.read_text() == '{"parts": 4}\n'
    assert folder.read_micro_batches() == 4


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"parts": 0}', '{"parts": true}', '{"parts": 2.0}'])
def test_micro_batches__damaged_file_is_refused(folder: RunFolder, content: str) -> None:
    folder.path.mkdir()
    folder.split_batches.write_text(content)
    with pytest.raises(RunError, match=r"split_batches.json: .*delete it to start with whole batches"):
        folder.read_micro_batches()


def test_write_results__blank_where_there_is_no_value(folder: RunFolder) -> None:
    folder.write_results([{"epoch": 1, "loss": 1 / 3}, {"epoch": 2, "loss": 0.25, "val/AP": 0.5}, {"val/AP": None}])
    assert folder.results.read_text() == "epoch,loss,val/AP\n1,0.333333,\n2,0.25,0.5\n,,\n"
