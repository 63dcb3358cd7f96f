"""The lock of a run folder."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import yolofuse.run.lock as lock_module
from yolofuse.errors import RunError
from yolofuse.run.lock import LOCK_NAME, is_locked, run_lock

_HOLD = """
import os, sys, time
from pathlib import Path
from yolofuse.run.lock import run_lock
with run_lock(Path(sys.argv[1])):
    if sys.argv[2] == "fork" and os.fork() == 0:
        time.sleep(30)  # a loader worker that outlives its parent
    print("locked", flush=True)
    time.sleep(30)
"""


@pytest.fixture(autouse=True)
def _short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "_TIMEOUT_S", 0.2)


@pytest.mark.parametrize("kind", ["plain", "fork"])
def test_run_lock__is_released_when_its_owner_is_killed(tmp_path: Path, kind: str) -> None:
    assert not is_locked(tmp_path)
    owner = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path), kind], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"locked\n"
        assert is_locked(tmp_path)
        with pytest.raises(RunError, match=f"another job is working on this run .*pid {owner.pid}"), run_lock(tmp_path):
            pass
        owner.kill()
        owner.wait()
        with run_lock(tmp_path):
            assert is_locked(tmp_path)
            assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == os.getpid()
        assert not is_locked(tmp_path)
    finally:
        with suppress(ProcessLookupError):  # no process of the group is left
            os.killpg(owner.pid, signal.SIGKILL)


def test_run_lock__waits_for_an_owner_that_is_about_to_exit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "_TIMEOUT_S", 20.0)
    with subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path), "plain"], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"locked\n"
        killer = subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -9 {owner.pid}"])
        with run_lock(tmp_path):
            assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == os.getpid()
        killer.wait()


def test_run_lock__refuses_a_second_lock_in_the_same_process(tmp_path: Path) -> None:
    with run_lock(tmp_path), pytest.raises(RunError, match=f"pid {os.getpid()}"), run_lock(tmp_path):
        pass


@pytest.mark.parametrize("content", ["", "{", "[1]", "\udcff"])
def test_run_lock__names_no_owner_from_a_damaged_file(tmp_path: Path, content: str) -> None:
    with run_lock(tmp_path):
        (tmp_path / LOCK_NAME).write_bytes(content.encode(errors="surrogateescape"))
        with pytest.raises(RunError, match="owner unknown"), run_lock(tmp_path):
            pass


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make ``flock`` fail with an error number, as on some network file systems."""

    def break_flock(number: int) -> None:
        def fail(*args: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("fcntl.flock", fail)

    return break_flock


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_run_lock__warns_on_a_file_system_without_locks_and_leaves_no_soft_lock(
    tmp_path: Path, without_locks: Callable[[int], None], caplog: pytest.LogCaptureFixture, number: int
) -> None:
    without_locks(number)
    for _ in range(2):  # a soft lock of a killed owner would refuse the second
        with run_lock(tmp_path):
            assert not is_locked(tmp_path)
    assert "this file system has no locks" in caplog.text


def test_run_lock__raises_other_errors(tmp_path: Path, without_locks: Callable[[int], None]) -> None:
    without_locks(errno.EIO)
    with pytest.raises(OSError, match="Input/output error"), run_lock(tmp_path):
        pass
