"""The files of a run folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from yolofuse.config import Config
from yolofuse.errors import RunError
from yolofuse.run.folder import RunFolder, checkpoint_step

_CONFIG = Config.model_validate({"data": {"descriptor": "/data/path.yaml"}, "train": {"run": "runs/a"}})
_NOT_OURS = ("step_x.pt", "step_good.pt", "step_5.pt", "step_000000005.pt", "step_00000005.pt.bak")
"""Names of a user's own files beside the checkpoints."""


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run folder without a config."""
    return RunFolder(tmp_path / "run")


def test_checkpoints__are_sorted_by_step_and_leave_other_files_out(folder: RunFolder) -> None:
    paths = [folder.checkpoint(step) for step in (100, 20, 123_456_789)]
    folder.last.parent.mkdir(parents=True)
    for path in (*paths, folder.last, folder.best, *map(folder.last.with_name, _NOT_OURS)):
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


@pytest.mark.parametrize(
    "names",
    [
        [],
        [
            ".lock",
            "submitted.yaml",
            "split_batches.json",
            "slurm-123.out",
            "logs/job.err",
            "job.o77",
            "log.txt",
            "run.sbatch",
            "train-7.log",
            ".nfs0001",
        ],
        ["weights/.step_00000000.pt.0123abcd.part"],
    ],
    ids=["empty", "job-scripts", "killed-before-its-config"],
)
def test_check_unused__accepts_what_job_scripts_leave(folder: RunFolder, names: list[str]) -> None:
    for name in names:
        (folder.path / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.path / name).touch()
    folder.create(_CONFIG)
    assert folder.config.is_file()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("weights/best.pt", r"holds files \(weights/best.pt\).* choose another train.run: .*run-2 is free"),
        ("weights/step_00000005.pt", "put that file back, write it again from a checkpoint by --resume"),
        ("weights/last.pt", "put that file back"),
        ("notes.txt", "but no config.yaml that marks it as a run's"),
        (".git/HEAD", "holds files"),
        ("images/a.png", "holds files"),
    ],
)
def test_check_unused__refuses_a_folder_of_somebody(folder: RunFolder, name: str, told: str) -> None:
    path = folder.path / name
    path.parent.mkdir(parents=True)
    path.write_text("theirs")
    with pytest.raises(RunError, match=told):
        folder.create(_CONFIG)
    assert path.read_text() == "theirs"
    assert not folder.config.exists()


@pytest.mark.parametrize("place", [".", "here/..", "..", "~", "/", "file", "file/run"])
def test_check_unused__refuses_what_is_no_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "config.yaml").touch()  # a user's own
    (tmp_path / "file").touch()
    path = Path(place).expanduser()
    with pytest.raises(
        RunError, match=r"train\.run: .*(the working directory|home folder|whole file|is a file)|holds files"
    ):
        RunFolder(path).check_unused()


def test_folders_of_a_run__that_lead_elsewhere_are_refused(folder: RunFolder, tmp_path: Path) -> None:
    folder.create(_CONFIG)
    folder.refuse_wrong_folders()
    (folder.path / "weights").rmdir()
    (tmp_path / "precious").mkdir()
    (folder.path / "weights").symlink_to(tmp_path / "precious")
    with pytest.raises(RunError, match=r"weights: a link to .*precious.*its own folder only"):
        folder.refuse_wrong_folders()


def test_read_results__gives_what_was_written(folder: RunFolder) -> None:
    assert folder.read_results() == []
    folder.write_results([{"epoch": 0, "val/AP": 0.5}, {"epoch": 1, "train/box": 0.25, "val/AP": None}])
    assert folder.read_results() == [
        {"epoch": 0.0, "train/box": None, "val/AP": 0.5},
        {"epoch": 1.0, "train/box": 0.25, "val/AP": None},
    ]


@pytest.mark.parametrize("text", ["epoch,val/AP\n1,nan\n", "epoch\nx\n", "a\n1\n", "epoch,a\n1,2,3\n", "epoch,a\n,2\n"])
def test_read_results__of_something_else_are_refused(folder: RunFolder, text: str) -> None:
    folder.results.parent.mkdir(parents=True, exist_ok=True)
    folder.results.write_text(text)
    with pytest.raises(RunError, match="not a run's results"):
        folder.read_results()
