"""A video that can be read at any moment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="needs the extra video")

from tests.support.videos import bar_code, read_bar_code
from yolofuse.errors import ConfigError, DataError
from yolofuse.video import VideoWriter
from yolofuse.video import writer as writer_module
from yolofuse.video.frames import rgb_pixels
from yolofuse.video.reader import VideoReader

_ENDLESS = """
import sys
import numpy as np
from tests.support.videos import bar_code
from yolofuse.video import VideoWriter
from yolofuse.video import writer as writer_module

writer = VideoWriter(sys.argv[1], 25, (32, 160))
for index in range(100_000):
    writer.write(np.repeat(bar_code(index / 25)[..., None], 3, 2), 100 + index / 25)
    print(index / 25, flush=True)
"""


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_writer__killed_leaves_all_but_the_last_second(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"out{suffix}"
    with subprocess.Popen([sys.executable, "-c", _ENDLESS, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while (written_s := float(process.stdout.readline())) < 5:
            pass
        process.kill()
        written_s = max(written_s, *map(float, process.stdout.read().split()[-1:]), 0)
    frames = list(VideoReader(path))
    assert frames[-1].time_s > written_s - 1
    for frame in frames:
        assert read_bar_code(rgb_pixels(frame)) == pytest.approx(frame.time_s, abs=0.001)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_writer__keeps_times_colours_and_odd_sizes(suffix: str, tmp_path: Path) -> None:
    shown = [7.0, 7.04, 7.5, 9.123, 30.0]
    image = np.full((33, 61, 3), (230, 30, 60), np.uint8)
    with VideoWriter(tmp_path / f"out{suffix}", 12.5, (33, 61)) as writer:
        for time_s in shown:
            writer.write(image, time_s)
    frames = list(VideoReader(tmp_path / f"out{suffix}"))
    assert [frame.time_s for frame in frames] == pytest.approx([time_s - 7 for time_s in shown], abs=0.001)
    pixels = rgb_pixels(frames[-1])
    assert pixels.shape == (34, 62, 3)
    assert np.abs(pixels.astype(int) - (230, 30, 60)).max() <= 6


def test_writer__overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_text("mine")
    with pytest.raises(ConfigError, match=r"out\.mp4: exists and is not overwritten"):
        VideoWriter(tmp_path / "out.mp4", 25, (32, 32))
    assert (tmp_path / "out.mp4").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "said"), [("out.xyz", "is written as .mp4 or .mkv"), ("none/out.mp4", "No such file")]
)
def test_writer__refuses_other_names(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        VideoWriter(tmp_path / name, 25, (32, 32))


def test_writer__refuses_other_sizes_and_times(tmp_path: Path) -> None:
    image = np.repeat(bar_code(0)[..., None], 3, 2)
    with VideoWriter(tmp_path / "out.mp4", 25, (32, 160)) as writer:
        writer.write(image, 1.0)
        with pytest.raises(ValueError, match="not later"):
            writer.write(image, 1.0)
        with pytest.raises(ValueError, match="shape"):
            writer.write(image[:16], 2.0)


def test_writer__tells_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "open", lambda *names, **options: os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb", 0))
    writer = VideoWriter(tmp_path / "out.mp4", 25, (32, 160))
    frames = np.random.default_rng(0).integers(0, 255, (100, 32, 160, 3), np.uint8)
    with pytest.raises(DataError, match=r"out\.mp4: No space left on device; free some space"):
        list(map(writer.write, frames, range(100)))


def test_writer__without_x264_writes_mpeg4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(writer_module._CODECS, "libx264")
    shown = [index * 1001 / 30_000 for index in range(60)]  # NTSC
    with VideoWriter(tmp_path / "out.mp4", 30_000 / 1001, (32, 160)) as writer:
        for time_s in shown:
            writer.write(np.repeat(bar_code(time_s)[..., None], 3, 2), time_s)
    frames = list(VideoReader(tmp_path / "out.mp4"))
    assert [frame.time_s for frame in frames] == pytest.approx(shown, abs=1e-6)
    assert [read_bar_code(rgb_pixels(frame)) for frame in frames] == pytest.approx(shown, abs=0.001)
    assert frames[0].frame.format.name == "yuv420p"
