"""Locks, watchdog, stop requests, drifting ranks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

import yolofuse.run.lock as lock_module
from yolofuse.distributed.replica_check import checksum
from yolofuse.engine.nan_guard import NanGuard, NotFinite
from yolofuse.engine.preemption import stop_requests
from yolofuse.engine.watchdog import read_hang
from yolofuse.errors import RunError
from yolofuse.run.lock import is_locked, run_lock

_HOLDS = """
import os, sys, time
from pathlib import Path
from yolofuse.run.lock import run_lock
with run_lock(Path(sys.argv[1])):
    if sys.argv[2] == "fork" and os.fork() == 0:
        time.sleep(30)  # a loader's worker that outlives its parent
    print("holds", flush=True)
    time.sleep(30)
"""

_HANGS = """
import sys, time
from pathlib import Path
from yolofuse.engine.watchdog import Watchdog

def a_collective_that_never_ends():
    time.sleep(60)

with Watchdog(Path(sys.argv[1]), 0.25).watching() as dog:
    for _ in range(3):
        dog.beat()
        time.sleep(0.05)
    with dog.paused():
        time.sleep(1.5)
    print("still there", flush=True)
    dog.beat()
    a_collective_that_never_ends()
"""


@pytest.mark.parametrize("kind", ["plain", "fork"])
def test_lock__goes_with_its_owner_however_that_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(lock_module, "_PATIENCE", 0.2)
    assert not is_locked(tmp_path)
    owner = subprocess.Popen(
        [sys.executable, "-c", _HOLDS, str(tmp_path), kind], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"holds\n"
        assert is_locked(tmp_path)
        with pytest.raises(RunError, match=f"another job is working on this run .*pid {owner.pid}"), run_lock(tmp_path):
            pass
        owner.kill()
        owner.wait()
        with run_lock(tmp_path):
            assert is_locked(tmp_path)
            assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
        assert not is_locked(tmp_path)
    finally:
        with suppress(ProcessLookupError):  # nobody of the group is left
            os.killpg(owner.pid, signal.SIGKILL)


def test_watchdog__ends_a_process_that_hangs_and_says_where(tmp_path: Path) -> None:
    file = tmp_path / "stacks.txt"
    started = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", _HANGS, str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stdout == "still there\n"  # nobody watches a pause
    assert ended.returncode == 1
    assert time.monotonic() - started < 40
    assert "a_collective_that_never_ends" in (read_hang(file) or "")


def test_stop_request__keeps_the_first_signal_and_puts_handlers_back() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with stop_requests() as stop:
        assert not stop
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.name == "SIGUSR1"
    assert signal.getsignal(signal.SIGUSR1) == before


def test_stop_request__a_second_ctrl_c_ends_at_once() -> None:
    with stop_requests() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.name == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_finite_guard__tells_the_steps() -> None:
    guard = NanGuard()
    guard.record(torch.tensor(False), range(2))
    guard.check()
    with pytest.raises(NotFinite) as caught:
        guard.record(torch.tensor(True), range(4, 6))
    assert caught.value.steps == range(4, 6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.uint8])
def test_checksum__sees_bits_and_their_order(dtype: torch.dtype) -> None:
    values = torch.arange(1, 13).to(dtype).view(3, 4)
    known = int(checksum(values))
    assert int(checksum(values.clone())) == known
    assert int(checksum(values.flip(0))) != known
    changed = values.clone()
    changed.view(-1).view(torch.uint8)[-1] ^= 1
    assert int(checksum(changed)) != known
    assert int(checksum(torch.empty(0, dtype=dtype))) == 0
