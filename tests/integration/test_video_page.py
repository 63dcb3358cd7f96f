"""Each example of docs/video.md runs, on recordings and streams drawn here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="needs the extra video")

from tests.support.documents import python_examples
from tests.support.streams import StreamServer
from tests.support.videos import encode, times
from yolofuse.video.reader import VideoReader

EXAMPLES = python_examples("docs/video.md")


def _run(section: str, **replaced: str) -> dict[str, object]:
    code = EXAMPLES[section]
    for name, value in replaced.items():
        assert code.count(f"rtsp://{name}/stream") == 1
        code = code.replace(f"rtsp://{name}/stream", value)
    space: dict[str, object] = {}
    exec(compile(code, section, "exec"), space)
    return space


@pytest.fixture
def _recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write two recordings of a square that walks at random, of which the thermal one starts 0.4 s later."""
    places = np.abs(np.cumsum(np.random.default_rng(0).normal(0, 6, (1000, 2)), 0)).astype(int) % (70, 130)
    for name, fps, delay_s in (("rgb.mp4", 30, 0.0), ("ir.mkv", 25, 0.4)):
        frames = []
        for time_s in times(fps, 12):
            image = np.full((96, 160), 80, np.uint8)
            top, left = places[round((time_s + delay_s) * 30)]
            image[top : top + 26, left : left + 30] = 200
            frames.append((time_s, image))
        encode(tmp_path / name, frames, "libx264")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_recordings")
def test_example__of_two_recordings(capsys: pytest.CaptureFixture[str]) -> None:
    _run("Two recordings")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 280
    assert "(96, 160, 3) uint8" in lines[0]
    assert f"paired={len(lines) - 1}" in lines[-1]


@pytest.mark.usefixtures("_recordings")
def test_example__of_the_offset(capsys: pytest.CaptureFixture[str]) -> None:
    _run("The offset")
    seconds, _, confidence = map(float, capsys.readouterr().out.split())
    assert seconds == pytest.approx(0.4, abs=0.02)
    assert confidence > 1.5


def test_example__of_two_cameras(capsys: pytest.CaptureFixture[str]) -> None:
    with StreamServer(30) as rgb, StreamServer(25) as ir:
        _run("Two cameras", **{"camera-1": rgb.url, "camera-2": ir.url})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11
    assert "paired=10" in lines[-1]


def test_example__of_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _run("Write")
    assert [frame.time_s for frame in VideoReader("out.mp4")] == pytest.approx(times(25, 2))
