"""The room is light to import, and says what to install."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from yolofuse.errors import ConfigError
from yolofuse.video import LivePairs, VideoPairs, VideoWriter, estimate_offset


def test_import__loads_neither_torch_nor_av() -> None:
    code = "import sys, yolofuse.video; print({'torch', 'av', 'cv2'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_missing_package__is_named_with_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    path = tmp_path / "v.mp4"
    path.touch()
    for use in (
        lambda: VideoPairs(path, path),
        lambda: VideoWriter(tmp_path / "out.mp4", 25, (32, 32)),
        lambda: estimate_offset(path, path),
        lambda: next(LivePairs("tcp://127.0.0.1:9", "tcp://127.0.0.1:9")),
    ):
        with pytest.raises(ConfigError, match=r"video needs PyAV .*pip install .*\[video\]"):
            use()
    assert not (tmp_path / "out.mp4").exists()
