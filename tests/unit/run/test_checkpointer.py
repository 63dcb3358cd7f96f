"""Writing checkpoints in the background, and finding the newest intact one."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from yolofuse.config import Config
from yolofuse.config.load import plain_config, validate_config
from yolofuse.errors import DamagedError, RunError, WeightsError
from yolofuse.run.checkpointer import AsyncCheckpointer, newest_checkpoint, restore_config, snapshot
from yolofuse.run.folder import RunFolder, checkpoint_step
from yolofuse.weights import load_checkpoint, save_checkpoint, verify_checksum


def _content(step: int) -> dict[str, Any]:
    return {"step": step, "model": {"w": torch.full((300,), float(step))}}


def _saved(path: Path, steps: range, keep: int = 3) -> RunFolder:
    folder = RunFolder(path)
    folder.last.parent.mkdir(parents=True)
    checkpointer = AsyncCheckpointer(folder, keep)
    for step in steps:
        checkpointer.save_last(_content(step), step)
    checkpointer.flush()
    checkpointer.close()
    return folder


def test_save_last__keeps_the_newest_and_links_last_to_it(tmp_path: Path) -> None:
    folder = _saved(tmp_path, range(5))
    assert [path.name for path in folder.checkpoints()] == [f"step_{step:08d}.pt" for step in (4, 3, 2)]
    assert folder.last.samefile(folder.checkpoints()[0])
    assert load_checkpoint(folder.last)["step"] == 4
    assert not list(tmp_path.rglob("*.part"))


def test_save_last__copies_on_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr("os.link", refuse)
    folder = _saved(tmp_path, range(2))
    assert not folder.last.samefile(folder.checkpoints()[0])
    assert load_checkpoint(folder.last)["step"] == 1


def test_save_last__neither_waits_nor_sees_later_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_write = threading.Event()

    def slow(path: Path, content: Mapping[str, Any]) -> None:
        assert may_write.wait(20)
        save_checkpoint(path, content)

    monkeypatch.setattr("yolofuse.run.checkpointer.save_checkpoint", slow)
    folder = RunFolder(tmp_path)
    folder.last.parent.mkdir(parents=True)
    checkpointer = AsyncCheckpointer(folder, 3)
    content = _content(1)
    checkpointer.save_last(content, 1)
    assert not folder.last.exists()  # it is still being written
    content["model"]["w"].zero_()
    may_write.set()
    checkpointer.flush()
    checkpointer.close()
    assert float(load_checkpoint(folder.last)["model"]["w"][0]) == 1.0


def test_save_last__a_full_disk_raises_and_keeps_older_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _saved(tmp_path, range(2))

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("yolofuse.weights.checkpoint.torch.save", full)
    checkpointer = AsyncCheckpointer(folder, 3)
    checkpointer.save_last(_content(2), 2)
    with pytest.raises(WeightsError, match=r"No space left on device.*unchanged"):
        checkpointer.flush()
    checkpointer.close()
    assert load_checkpoint(folder.last)["step"] == 1
    assert len(folder.checkpoints()) == 2
    assert not list(tmp_path.rglob("*.part"))


def test_require_space__counts_all_kept_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _saved(tmp_path, range(1))
    content = {"w": torch.zeros(1 << 20)}  # 4 MiB
    usage = shutil.disk_usage(tmp_path)
    for free, fits in ((19 << 20, False), (21 << 20, True)):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: usage._replace(free=free))
        if fits:
            AsyncCheckpointer(folder, 3).require_space(content)
        else:
            with pytest.raises(RunError, match=r"19 MiB are free .* will take 20 MiB"):
                AsyncCheckpointer(folder, 3).require_space(content)


@pytest.mark.parametrize("kind", ["bit", "cut", "empty", "zeros", "end"])
def test_newest_checkpoint__skips_damaged_ones(tmp_path: Path, kind: str) -> None:
    folder = _saved(tmp_path, range(3))
    newest = folder.checkpoints()[0]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 4
    damaged = {
        "bit": bytes(content),
        "cut": newest.read_bytes()[: len(content) // 2],
        "empty": b"",
        "zeros": bytes(len(content)),
        "end": newest.read_bytes()[:-1],
    }[kind]
    newest.unlink()  # so that last.pt, a link to it, stays intact until it is replaced too
    newest.write_bytes(damaged)
    folder.last.unlink()
    folder.last.write_bytes(damaged)
    path, problems = newest_checkpoint(folder)
    assert path is not None
    assert load_checkpoint(path)["step"] == 1
    assert len(problems) == 1
    assert newest.with_name(f"{newest.name}.damaged").exists()
    assert load_checkpoint(folder.last)["step"] == 1


def test_newest_checkpoint__raises_if_none_is_intact(tmp_path: Path) -> None:
    folder = _saved(tmp_path, range(2))
    for path in (*folder.checkpoints(), folder.last):
        path.unlink()
        path.write_bytes(b"PK")
    for _ in range(2):  # also when they are renamed already: the run must not start again by itself
        with pytest.raises(DamagedError, match="no checkpoint of the run is intact"):
            newest_checkpoint(folder)


def test_save_last__deletes_no_file_that_it_has_not_written(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.last.parent.mkdir()
    theirs = [folder.checkpoint(1), *map(folder.last.with_name, ("step_good.pt", "step_5.pt", "best.pt"))]
    for path in theirs:
        path.write_bytes(b"theirs")
    save_checkpoint(folder.checkpoint(99), _content(99))  # of another run, or left by a rollback
    checkpointer = AsyncCheckpointer(folder, 1)
    for step in (2, 3):
        checkpointer.save_last(_content(step), step)
    checkpointer.flush()
    checkpointer.close()
    assert all(path.read_bytes() == b"theirs" for path in theirs)
    assert [checkpoint_step(path) for path in folder.checkpoints()] == [99, 3, 1]


def _unreadable(path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Let every attempt to open a file fail, as on a broken disk."""
    opened = os.open

    def refuse(name: Any, *args: Any, **kwargs: Any) -> int:
        if Path(name) == path:
            raise OSError(code, os.strerror(code), str(name))
        return opened(name, *args, **kwargs)

    monkeypatch.setattr("yolofuse.files.os.open", refuse)


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.ESTALE])
def test_newest_checkpoint__falls_back_from_one_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    folder = _saved(tmp_path, range(3))
    newest = folder.checkpoints()[0]
    _unreadable(newest, monkeypatch, code)
    path, problems = newest_checkpoint(folder)
    assert path == folder.checkpoint(1)
    assert os.strerror(code) in problems[0]
    assert newest.exists()  # it may be readable again tomorrow


def _with_config(folder: RunFolder, **train: Any) -> dict[str, Any]:
    config = {"data": {"descriptor": "/d.yaml"}, "train": {"run": str(folder.path), **train}}
    return plain_config(Config.model_validate(config))


def test_newest_checkpoint__falls_back_from_one_of_another_run(tmp_path: Path) -> None:
    folder = _saved(tmp_path / "run", range(1))
    own, other = _with_config(folder), RunFolder(tmp_path / "other")
    folder.write_config(validate_config(own, where="test"))
    save_checkpoint(folder.checkpoint(4), _content(4) | {"config": own})
    for step, config in ((7, _with_config(folder, seed=5)), (8, _with_config(other, lr0=0.5))):
        save_checkpoint(folder.checkpoint(step), _content(step) | {"config": config})
    path, problems = newest_checkpoint(folder)
    assert path == folder.checkpoint(4)
    assert ["train.lr0: 0.5" in problems[0], "train.seed: 5" in problems[1]] == [True, True]
    assert folder.checkpoint(8).with_name("step_00000008.pt.other-run").exists()
    assert load_checkpoint(folder.last)["step"] == 4


def test_newest_checkpoint__of_a_run_whose_own_config_changed_is_its_newest(tmp_path: Path) -> None:
    folder = _saved(tmp_path, range(1))
    folder.write_config(validate_config(_with_config(folder, seed=1), where="test"))
    for step in (4, 5):
        save_checkpoint(folder.checkpoint(step), _content(step) | {"config": _with_config(folder, seed=2)})
    folder.checkpoint(0).unlink()
    folder.last.unlink()
    assert newest_checkpoint(folder) == (folder.checkpoint(5), [])  # check_resumable reports the change


def test_newest_checkpoint__does_not_start_again_over_best_weights(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.last.parent.mkdir()
    folder.best.write_bytes(b"theirs")
    with pytest.raises(DamagedError, match=r"best\.pt; start a new run"):
        newest_checkpoint(folder)
    assert folder.best.read_bytes() == b"theirs"


def test_newest_checkpoint__does_not_wait_for_a_pipe(tmp_path: Path) -> None:
    folder = _saved(tmp_path, range(2))
    os.mkfifo(folder.checkpoint(9))
    assert newest_checkpoint(folder)[0] == folder.checkpoint(1)


def test_restore_config__takes_the_copy_in_the_newest_intact_checkpoint(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.last.parent.mkdir()
    for step in (1, 2):
        save_checkpoint(folder.checkpoint(step), {"config": _with_config(folder, seed=step)})
    folder.checkpoint(2).write_bytes(b"PK")
    restore_config(folder)
    assert folder.load_config().train.seed == 1


def test_newest_checkpoint__of_a_fresh_folder_is_none(tmp_path: Path) -> None:
    assert newest_checkpoint(RunFolder(tmp_path)) == (None, [])


def test_seal__finds_any_flipped_bit(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, _content(1))
    assert verify_checksum(path)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None  # it is still a zip file, and torch's
    assert float(torch.load(path, weights_only=True)["model"]["w"][0]) == 1.0
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        broken = bytearray(whole)
        broken[place] ^= 1 << (place % 8)
        path.write_bytes(broken)
        with pytest.raises(WeightsError):
            load_checkpoint(path)


def test_snapshot__copies_tensors_in_any_depth() -> None:
    shallow, deep = torch.zeros(2), torch.zeros(1)
    copied = snapshot({"a": [shallow, ({"b": deep}, 3)], "text": "x"})
    shallow.add_(1)
    deep.add_(1)
    assert copied["text"] == "x"
    assert copied["a"][0].sum() == copied["a"][1][0]["b"].sum() == 0
