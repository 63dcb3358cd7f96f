from __future__ import annotations

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
