"""Test that a run folder from a stranger stays inside itself, and that no pipe or device is waited for."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.pairs import make_pairs
from tests.support.runs import without_plots, write_config
from yolofuse.cli import collect, compare, report, status, val
from yolofuse.cli import data as data_cli
from yolofuse.cli import train as train_cli
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.engine.diagnostics.early_steps import Monitor
from yolofuse.engine.loaded_detector import _size_hw
from yolofuse.engine.watchdog import Watchdog
from yolofuse.errors import DataError, RunError
from yolofuse.run.events import append_event
from yolofuse.run.lock import is_locked, run_lock
from yolofuse.run.records import read_events, read_status
from yolofuse.types import PairFormat

_PRECIOUS = "my only copy\n"


@pytest.fixture(autouse=True)
def _never_waits() -> Iterator[None]:
    """End a test that waits, as for the other end of a pipe."""

    def end(*args: Any) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def _lock(run: Path) -> None:
    with pytest.raises(RunError, match=r"\.lock: cannot be locked \(no plain file"), run_lock(run):
        pass
    assert not is_locked(run)


def _append(run: Path) -> None:
    append_event(run, "begun", step=0)
    with pytest.raises(RunError, match=r"events\.jsonl: not a file of a run"):
        read_events(run)


def _read_status(run: Path) -> None:
    with pytest.raises(RunError, match=r"status\.json: not a file of a run"):
        read_status(run)


def _watch(run: Path) -> None:
    with Watchdog(run / "stacks-rank0.txt", 60.0).watching():
        pass


def _monitor(run: Path) -> None:
    Monitor(run / "first_steps.csv", 10)
    assert not (run / "first_steps.csv").is_symlink()


_WRITTEN: dict[str, Callable[[Path], None]] = {
    ".lock": _lock,
    "events.jsonl": _append,
    "status.json": _read_status,
    "stacks-rank0.txt": _watch,
}


@pytest.mark.parametrize("name", _WRITTEN)
@pytest.mark.parametrize("kind", ["link", "second name", "dangling", "pipe"])
def test_run_file__leads_to_no_other_file(tmp_path: Path, name: str, kind: str) -> None:
    run, precious = tmp_path / "run", tmp_path / "precious"
    run.mkdir()
    precious.write_text(_PRECIOUS)
    match kind:
        case "link":
            (run / name).symlink_to(precious)
        case "second name":
            (run / name).hardlink_to(precious)
        case "dangling":
            (run / name).symlink_to(tmp_path / "planted")
        case "pipe":
            os.mkfifo(run / name)
    _WRITTEN[name](run)
    assert precious.read_text() == _PRECIOUS
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize("kind", ["link", "dangling"])
def test_first_steps__are_not_written_through_a_link(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"
    if kind == "link":
        target.write_text("step,box,total,grad_norm\n")
    (tmp_path / "first_steps.csv").symlink_to(target)
    _monitor(tmp_path)
    assert target.exists() == (kind == "link")


@pytest.mark.parametrize("name", ["weights", "eval-val", "tensorboard"])
def test_folder_of_a_run__that_leads_elsewhere_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    run, precious = tmp_path / "run", tmp_path / "precious"
    precious.mkdir()
    config = write_config(tmp_path, make_pairs(tmp_path / "data", 1, 1))
    run.mkdir()
    config.rename(run / "config.yaml")
    (run / name).symlink_to(precious)
    assert train_cli.main(["--resume", str(run)]) == 2
    assert f"{name}: a link to {precious}" in capsys.readouterr().err
    assert not list(precious.iterdir())


@pytest.mark.parametrize("name", ["../planted", "a/b", "..", ".", "/tmp/planted", "a\\b"])
def test_split_name__is_no_path(tmp_path: Path, name: str) -> None:
    descriptor = make_pairs(tmp_path / "data", 1, 1)
    content = yaml.safe_load(descriptor.read_text())
    content["splits"] = {name: content["splits"]["val"]}
    descriptor.write_text(yaml.safe_dump(content))
    with pytest.raises(DataError, match="a split's name must not be a path"):
        load_descriptor(descriptor)


_READERS: dict[str, Callable[[str, str, str], int]] = {
    "config": lambda path, config, data: train_cli.main(["--cfg", path]),
    "descriptor": lambda path, config, data: train_cli.main(["--cfg", config, f"data.descriptor={path}"]),
    "descriptor of check": lambda path, config, data: data_cli.main(["check", "--data", path]),
    "weights": lambda path, config, data: train_cli.main(["--cfg", config, f"weights.pretrained={path}"]),
    "weights of val": lambda path, config, data: val.main(["--weights", path, "--data", data]),
    "run": lambda path, config, data: val.main(["--run", path]),
    "run of status": lambda path, config, data: status.main([path]),
    "run of collect": lambda path, config, data: collect.main([path]),
    "run of report": lambda path, config, data: report.main([path]),
    "evaluation": lambda path, config, data: compare.main([path, path]),
    "new run": lambda path, config, data: train_cli.main(["--cfg", config, f"train.run={path}"]),
}
"""Commands that are given a file or folder, by what it is for them."""


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("what", _READERS)
def test_pipe_or_device__is_an_error_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str, kind: str
) -> None:
    path = tmp_path / "given.yaml"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    descriptor = make_pairs(tmp_path / "data", 1, 1)
    assert _READERS[what](str(path), str(write_config(tmp_path, descriptor)), str(descriptor)) == 2
    assert str(path) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "code", "told"),
    [
        ("config.yaml", 2, "no run here"),
        ("split_batches.json", 2, "split_batches.json: cannot be read"),
        ("weights/step_00000009.pt", 2, "step_00000009.pt: cannot be read (no plain file"),
        ("results.csv", 0, "results.csv: cannot be read"),  # by collect; a resumed run replaces it
    ],
)
def test_pipe_in_a_run__is_not_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, code: int, told: str
) -> None:
    run = tmp_path / "run"
    (run / "weights").mkdir(parents=True)
    write_config(tmp_path, make_pairs(tmp_path / "data", 2, 1), train={"epochs": 1}).rename(run / "config.yaml")
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    collect.main([str(run)])
    status.main([str(run)])
    with without_plots():
        assert train_cli.main(["--resume", str(run)]) == code
    assert told in capsys.readouterr().err


def test_image_of_the_api__that_is_a_pipe_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match="no such file"):
        _size_hw(tmp_path / "pipe.png", "rgb", PairFormat(), "pair 1")
