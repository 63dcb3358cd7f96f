"""Test hostile videos: none leads to another file or address, or to memory for frames that are too large."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av", reason="needs the extra video")

from tests.support import attacks  # noqa: E402
from tests.support.videos import coded, encode, times  # noqa: E402
from yolofuse.errors import ConfigError, DataError, YolofuseError  # noqa: E402
from yolofuse.video import LivePairs, VideoReader, ir_pixels, rgb_pixels  # noqa: E402

_MAX_GROWTH_MIB = 200
_MEASURE = """
import resource, sys
from yolofuse.errors import DataError
from yolofuse.video import VideoReader
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print(len(list(VideoReader(sys.argv[1]))))
except DataError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_list_of_files__is_not_followed(tmp_path: Path) -> None:
    encode(tmp_path / "private.mp4", coded(times(25, 1)))
    planted = tmp_path / "shared.mp4"
    planted.write_text("ffconcat version 1.0\nfile 'private.mp4'\n")
    with av.open(str(planted)) as opened:  # control
        assert next(opened.decode(video=0)).width == 160
    with pytest.raises(DataError, match=r"shared\.mp4: no video"):
        VideoReader(planted)


def test_playlist__calls_no_address(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        calls: list[object] = []

        def answer() -> None:
            while len(calls) < 2:
                client, _ = server.accept()
                calls.append(client.recv(100))
                client.close()

        threading.Thread(target=answer, daemon=True).start()
        planted = tmp_path / "shared.m3u8"
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        planted.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{address}\n#EXT-X-ENDLIST\n")
        with pytest.raises(DataError, match="no video"):
            VideoReader(planted)
        assert not calls
        with pytest.raises(av.FFmpegError):  # control
            av.open(str(planted), options={"protocol_whitelist": "file,http,tcp"})
        assert calls


def test_small_file_with_huge_frames__takes_no_memory(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "bomb.mov"), "w") as output:
        stream = output.add_stream("png", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 160, "rgb24"
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 160, 3), np.uint8))
        output.mux(stream.encode(frame))
        packet = av.Packet(attacks.png_bomb())
        packet.stream, packet.pts, packet.dts, packet.time_base = stream, 1, 1, stream.time_base
        output.mux(packet)
    assert (tmp_path / "bomb.mov").stat().st_size < 1 << 20
    done = attacks.run("-c", _MEASURE, str(tmp_path / "bomb.mov"))
    assert done.returncode == 0, done.stderr
    message, growth_mib = done.stdout.splitlines()
    assert "bomb.mov: damaged after 0.000 s" in message
    assert int(growth_mib) < _MAX_GROWTH_MIB


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi"])
def test_changed_bytes__are_told(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"v.{suffix}"
    encode(path, coded(times(25, 0.6)))
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    told = 0
    for _ in range(100):
        changed = np.frombuffer(content, np.uint8).copy()
        at = rng.integers(0, rng.choice([1500, len(content)]), 8) % len(content)
        changed[at] = rng.integers(0, 256, 8)
        path.write_bytes(changed.tobytes())
        try:
            for frame in VideoReader(path):
                rgb_pixels(frame)
                ir_pixels(frame)
        except YolofuseError as error:
            told += str(path) in str(error)
    assert told > 10


def test_live_source__is_no_file() -> None:
    for source in ("file:/etc/passwd", "concat:/etc/passwd|x", "subfile,,start,0,end,9,,:/etc/passwd", "pipe:0"):
        with pytest.raises(ConfigError, match="neither a camera"):
            LivePairs(source, "tcp://127.0.0.1:9")
