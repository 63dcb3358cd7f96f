"""Planning the runs of a sweep."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.cluster_runs import ODD_NAME, config_file
from yolofuse.cluster.sweep import plan_runs
from yolofuse.config import dump_config, load_config
from yolofuse.errors import ConfigError, RunError
from yolofuse.files import save_text
from yolofuse.run.folder import RunFolder


def test_plan_runs__names_folders_by_seed_and_freezes_the_config(tmp_path: Path) -> None:
    files = [config_file(tmp_path, name) for name in ("mid", "late")]
    runs = plan_runs(files, ["train.epochs=5"], [3, 4])
    assert [run.folder.name for run in runs] == ["mid-seed3", "mid-seed4", "late-seed3", "late-seed4"]
    assert [run.config.train.seed for run in runs] == [3, 4, 3, 4]
    assert all(run.config.run_dir == run.folder for run in runs)
    assert {run.config.train.epochs for run in runs} == {5}


def test_plan_runs__a_folder_of_any_name_survives(tmp_path: Path) -> None:
    (run,) = plan_runs([config_file(tmp_path)], [f"train.run={json.dumps(str(tmp_path / ODD_NAME))}"])
    assert run.folder == tmp_path / ODD_NAME
    save_text(run.frozen, dump_config(run.config))
    assert load_config(run.frozen).run_dir == run.folder


@pytest.mark.parametrize(
    ("overrides", "seeds", "world", "message"),
    [
        (["train.run=x"], [], 1, "late.yaml: train.run is .*x, as in .*mid.yaml"),
        (["train.seed=1"], [0, 1], 1, "--seeds gives the seeds already"),
        ([], [2, 2], 1, "a seed is given twice"),
        (["train.batch=12"], [], 8, "12 pairs cannot be divided evenly among 8 ranks"),
        (["data.descriptor=nosuch.yaml"], [], 1, "no file .*nosuch.yaml"),
        (["train.bacth=4"], [], 1, "did you mean train.batch"),
    ],
    ids=["same-folder", "seed-twice", "repeated-seed", "batch", "descriptor", "unknown-key"],
)
def test_plan_runs__errors_are_found_before_submission(
    tmp_path: Path, overrides: list[str], seeds: list[int], world: int, message: str
) -> None:
    files = [config_file(tmp_path, name) for name in ("mid", "late")]
    with pytest.raises(ConfigError, match=message):
        plan_runs(files, overrides, seeds, world=world)


def test_plan_runs__used_and_submitted_folders_are_refused_unless_resumed(tmp_path: Path) -> None:
    file = config_file(tmp_path)
    (first, second) = plan_runs([file], [], [0, 1])
    save_text(RunFolder(first.folder).config, "")
    save_text(second.frozen, "")
    with pytest.raises(RunError) as error:
        plan_runs([file], [], [0, 1])
    assert "2 problems" in str(error.value)
    assert "seed0: holds a run already" in str(error.value)
    assert "seed1: a job was submitted already" in str(error.value)
    assert len(plan_runs([file], [], [0, 1], resume=True)) == 2
