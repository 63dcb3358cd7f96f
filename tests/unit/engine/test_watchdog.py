from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

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


def test_watchdog__ends_a_process_that_hangs_and_says_where(tmp_path: Path) -> None:
    file = tmp_path / "stacks.txt"
    started = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", _HANGS, str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stdout == "still there\n"  # nobody watches a pause
    assert ended.returncode == 1
    assert time.monotonic() - started < 40
    assert "a_collective_that_never_ends" in file.read_text()


_WORKS = """
import sys, time
from pathlib import Path
from yolofuse.engine.watchdog import Watchdog

with Watchdog(Path(sys.argv[1]), 1.0).watching() as dog:
    dog.beat()
    print("started", flush=True)
    time.sleep(0.3)
    dog.beat()
"""


def test_watchdog__a_suspended_process_has_not_hung(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WORKS, str(tmp_path / "stacks.txt")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(2.0)
        os.kill(process.pid, signal.SIGCONT)
        assert process.wait(60) == 0
    assert not (tmp_path / "stacks.txt").exists()
