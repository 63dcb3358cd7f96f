"""Test runs whose files were lost, damaged or cannot be written, beside files of somebody else."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import yolofuse.engine.train as loop
from tests.support.runs import same_tensors, write_config
from tests.support.runs import train_without_plots as train
from yolofuse.cli import train as cli
from yolofuse.cli import val
from yolofuse.config import load_config
from yolofuse.engine.loaded_detector import load_detector
from yolofuse.errors import RunError, WeightsError
from yolofuse.exporters.export import export_detector
from yolofuse.exporters.options import ExportOptions
from yolofuse.files import save_text
from yolofuse.run.folder import RunFolder
from yolofuse.weights import load_checkpoint, save_checkpoint

_MODEL = {"base": "yolov8n", "cut": "input"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a run of two epochs of three steps."""
    return train(load_config(write_config(tmp_path_factory.mktemp("whole"), model=_MODEL)))


def _copy(whole: Path, tmp_path: Path) -> RunFolder:
    """Copy a run with its own data, as another run that goes on where it was."""
    return RunFolder(shutil.copytree(whole, tmp_path / "run"))


def _state(path: Path) -> list[Any]:
    content = load_checkpoint(path)
    return [content[key] for key in ("model", "ema", "optimizer")]


def test_lost_config__never_starts_the_run_again_and_comes_back_by_resume(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _copy(whole, tmp_path)
    folder.config.unlink()
    folder.finished.unlink()
    before = folder.best.read_bytes()
    command = ["--cfg", str(whole.parent / "config.yaml"), f"train.run={folder.path}"]
    for words in ([], ["--auto-resume"]):
        assert cli.main([*command, *words]) == 2
        assert "no config.yaml that marks it as a run's; put that file back" in capsys.readouterr().err
    assert cli.main(["--resume", str(folder.path)]) == 0
    assert "config.yaml: was missing, and is written again" in capsys.readouterr().out
    assert folder.config.read_text() == (whole / "config.yaml").read_text()
    assert folder.best.read_bytes() == before


def test_damaged_best__is_found_at_resume_and_written_again(whole: Path, tmp_path: Path) -> None:
    folder = _copy(whole, tmp_path)
    folder.finished.unlink()
    content = bytearray(folder.best.read_bytes())
    content[len(content) // 2] ^= 1
    folder.best.write_bytes(content)
    assert cli.main(["--resume", str(folder.path)]) == 0
    assert same_tensors(load_checkpoint(folder.best)["ema"], load_checkpoint(whole / "weights" / "best.pt")["ema"])
    assert folder.best.with_name("best.pt.damaged").exists()
    assert folder.finished.exists()
    events = [json.loads(line) for line in (folder.path / "events.jsonl").read_text().splitlines()]
    assert [event["why"] for event in events if event["event"] == "fell_back"] == ["best.pt was lost"]


def test_best_damaged_in_the_last_epoch__is_found_before_the_run_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finish = loop._finish

    def damage_and_finish(run: Any) -> None:
        run.checkpointer.flush()
        run.folder.best.write_bytes(b"PK")
        finish(run)

    monkeypatch.setattr(loop, "_finish", damage_and_finish)
    config = write_config(tmp_path, model=_MODEL, train={"epochs": 1})
    run = train(load_config(config))
    assert (run / "FINISHED").exists()
    assert load_checkpoint(run / "weights" / "best.pt")["epoch"] == 1


def test_users_files_in_weights__are_neither_resumed_from_nor_deleted(whole: Path, tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path, model=_MODEL), ["train.keep=1"])
    run = train(config.model_copy(update={"train": config.train.model_copy(update={"epochs": 1})}))
    for name in ("step_good.pt", "step_5.pt", "step_99.pt"):
        (run / "weights" / name).write_bytes(b"mine")
    assert cli.main(["--resume", str(run), "--force", "train.epochs=2"]) == 0
    assert {path.name for path in (run / "weights").iterdir()} == {
        *("best.pt", "last.pt", "step_00000006.pt"),
        *("step_good.pt", "step_5.pt", "step_99.pt"),
    }
    assert (run / "weights" / "step_good.pt").read_bytes() == b"mine"


def test_checkpoint_of_another_run__is_not_resumed_from(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = train(load_config(write_config(tmp_path, model={"base": "yolov8n"}, train={"epochs": 1})))
    folder = _copy(whole, tmp_path / "copy")
    folder.finished.unlink()
    foreign = folder.checkpoint(700)
    shutil.copyfile(RunFolder(other).last, foreign)
    assert cli.main(["--resume", str(folder.path)]) == 0
    assert "of another run: model.cut: mid when it was saved, input now" in capsys.readouterr().out
    assert foreign.with_name("step_00000700.pt.other-run").exists()
    assert same_tensors(_state(folder.last), _state(whole / "weights" / "last.pt"))


def _fail(*args: Any) -> None:
    raise ImportError("no such backend")


def test_plot_that_fails__is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train.save_curves", "artifacts.save_batch_image"):
        monkeypatch.setattr(f"yolofuse.engine.{name}", _fail)
    for name in ("save_evaluation_plot", "save_prediction_image"):
        monkeypatch.setattr(f"yolofuse.engine.evaluate_checkpoint.{name}", _fail)
    assert cli.main(["--cfg", str(write_config(tmp_path, model=_MODEL, train={"epochs": 1}))]) == 0
    assert (tmp_path / "run" / "FINISHED").exists()
    out = capsys.readouterr().out
    assert [f"{name}: could not be drawn (ImportError: no such" in out for name in ("curves.png", "batch0.jpg")] == [
        *(True, True)
    ]
    assert val.main(["--run", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "eval-val" / "report.json").exists()


def test_val__of_a_run_that_cannot_be_written_prints_its_metrics_and_writes_elsewhere(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = Path.open

    def read_only(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if mode[0] != "r" and path.is_relative_to(whole):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return opened(path, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", read_only)
    before = sorted(whole.rglob("*"))
    assert val.main(["--run", str(whole)]) == 2
    captured = capsys.readouterr()
    assert "AP50" in captured.out
    assert "the report cannot be written (Read-only file system)" in captured.err
    assert "--out FOLDER" in captured.err
    assert {path for path in whole.rglob("*") if path.is_file()} == {path for path in before if path.is_file()}
    assert val.main(["--run", str(whole), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "report.json").exists()


def test_val__leaves_somebodys_folder_alone(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "report.json").write_text('{"mine": 1}')
    assert val.main(["--run", str(whole), "--out", str(tmp_path)]) == 2
    assert "holds files of something else" in capsys.readouterr().err
    assert (tmp_path / "report.json").read_text() == '{"mine": 1}'


def test_auto_resume__does_not_believe_a_marker_of_another_run(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _copy(whole, tmp_path)
    best = load_checkpoint(folder.best)
    for path in (folder.last, *folder.checkpoints()[:-1]):
        path.unlink()  # what is left is a checkpoint in the middle
    command = ["--cfg", str(folder.config), f"train.run={folder.path}", "--auto-resume"]
    assert cli.main(command) == 0
    printed = capsys.readouterr()
    assert "FINISHED: not of this run, which is at epoch 0" in printed.out + printed.err
    assert same_tensors(load_checkpoint(folder.best)["ema"], best["ema"])
    folder.best.unlink()
    assert cli.main(command) == 0
    assert same_tensors(load_checkpoint(folder.best)["ema"], best["ema"])
    assert folder.finished.exists()


def test_best_of_another_run__is_neither_evaluated_nor_kept(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _copy(whole, tmp_path)
    before = load_checkpoint(folder.best)["ema"]
    content = load_checkpoint(folder.best)
    content["config"]["train"]["seed"] = 7
    save_checkpoint(folder.best, content)
    assert val.main(["--run", str(folder.path)]) == 2
    assert "best.pt: of another run: train.seed: 7 when it was saved, 0 now" in capsys.readouterr().err
    for command in (load_detector, lambda run: export_detector(run, ExportOptions("torchscript"))):
        with pytest.raises(RunError, match=r"of another run: train\.seed: 7 when it was saved, 0 now"):
            command(folder.path)
    assert cli.main(["--resume", str(folder.path)]) == 0
    assert same_tensors(load_checkpoint(folder.best)["ema"], before)
    assert load_checkpoint(folder.best.with_name("best.pt.damaged"))["config"]["train"]["seed"] == 7


def test_best_of_a_moved_run_whose_options_were_changed__is_its_own(whole: Path, tmp_path: Path) -> None:
    folder = _copy(whole, tmp_path)
    text = folder.config.read_text()
    assert "warmup_momentum: 0.8" in text
    folder.config.write_text(text.replace("warmup_momentum: 0.8", "warmup_momentum: 0.7"))  # as --force does, before
    assert val.main(["--run", str(folder.path)]) == 0


def test_empty_config__is_told_and_comes_back_by_resume(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _copy(whole, tmp_path)
    folder.config.write_text("")
    folder.finished.unlink()
    command = ["--cfg", str(whole.parent / "config.yaml"), f"train.run={folder.path}", "--auto-resume"]
    assert cli.main(command) == 2
    assert (
        f"config.yaml: is empty (was the disk full?); --resume {folder.path} writes it again" in capsys.readouterr().err
    )
    assert cli.main(["--resume", str(folder.path)]) == 0
    assert "config.yaml: was empty, and is written again" in capsys.readouterr().out
    assert folder.config.read_text() == (whole / "config.yaml").read_text()


@pytest.mark.parametrize("name", ["last.pt", "best.pt", "step_00000006.pt"])
def test_folder_in_the_place_of_a_file__is_named(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    folder = _copy(whole, tmp_path)
    folder.finished.unlink()
    place = folder.last.with_name(name)
    place.unlink()
    place.mkdir()
    place.with_name("best.pt.damaged").mkdir()  # that of a run which is not in the way
    assert cli.main(["--resume", str(folder.path)]) == 2
    assert f"{place}: is a folder, where the run writes a file; move it away" in capsys.readouterr().err
    if name == "best.pt":
        assert val.main(["--run", str(folder.path)]) == 2
        assert f"{place}: is a folder; move it away, and --resume" in capsys.readouterr().err


def test_limit_of_the_size_of_files__is_named(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        with pytest.raises(
            WeightsError, match=r"a\.pt: cannot be written \(File too large; .*raise the limit \(ulimit -f\)"
        ):
            save_checkpoint(tmp_path / "a.pt", {"a": torch.zeros(1 << 16)})
        with pytest.raises(OSError, match="File too large") as raised:
            save_text(tmp_path / "a.txt", "x" * (1 << 17))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert raised.value.filename == str(tmp_path / "a.txt")
    assert not [*tmp_path.iterdir()]
