"""Files that are no sound video are told, with file and time."""

from __future__ import annotations

import itertools
import os
import struct
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av", reason="needs the extra video")

from tests.support.videos import coded, encode, times  # noqa: E402
from yolofuse.errors import DataError  # noqa: E402
from yolofuse.video import reader  # noqa: E402
from yolofuse.video.reader import VideoReader  # noqa: E402
from yolofuse.video.writer import VideoWriter  # noqa: E402


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "v.mp4"
    encode(path, coded(times(25, 4)))
    return path


def _read_until_error(path: Path) -> tuple[int, str]:
    counter = itertools.count()
    with pytest.raises(DataError) as caught:
        list(zip(VideoReader(path), counter, strict=False))
    return next(counter), str(caught.value)


def test_reader__yields_presentation_times(video: Path) -> None:
    found = VideoReader(video)
    assert [frame.time_s for frame in found] == pytest.approx(times(25, 4), abs=1e-5)
    assert found.interval.seconds == pytest.approx(0.04)
    assert found.skipped == 0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.mp4", b""),
        ("text.mp4", b"not a video\n" * 100),
        ("noise.mkv", np.random.default_rng(0).bytes(50_000)),
        ("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"),
        ("parts.mp4", b"ffconcat version 1.0\nfile 'v.mp4'\n"),
        ("session.mp4", b"v=0\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n"),
    ],
)
def test_reader__refuses_what_is_no_video_or_names_others(name: str, content: bytes, video: Path) -> None:
    path = video.with_name(name)
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{name}: no video, damaged, or of another kind"):
        VideoReader(path)


def test_reader__refuses_missing_files_pipes_and_addresses(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for name in (tmp_path / "none.mp4", tmp_path / "pipe.mp4", tmp_path, "http://127.0.0.1:9/v.mp4", "concat:a|b"):
        with pytest.raises(DataError, match="can't be read"):
            VideoReader(name)


def test_reader__refuses_sound_alone(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as output:
        stream = output.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.sample_rate = 8000
        output.mux([*stream.encode(frame), *stream.encode(None)])
    with pytest.raises(DataError, match=r"a\.mkv: holds no video"):
        VideoReader(tmp_path / "a.mkv")


def test_reader__refuses_huge_frames(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_PIXELS", 5000)
    with pytest.raises(DataError, match="160x32 is more than"):
        VideoReader(video)


def test_reader__does_not_believe_a_header_of_another_size(video: Path) -> None:
    content = video.read_bytes()
    sample = content.index(b"avc1", content.index(b"stsd")) + 28
    assert content[sample : sample + 4] == struct.pack(">HH", 160, 32)
    video.write_bytes(content[:sample] + struct.pack(">HH", 60_000, 60_000) + content[sample + 4 :])
    frames = [frame.frame for frame in VideoReader(video)]  # the stream itself says what it holds
    assert {(frame.width, frame.height) for frame in frames} == {(160, 32)}


def test_reader__tells_where_a_file_is_cut_short(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "v.mp4"), "w", options={"movflags": "faststart"}) as output:
        stream = output.add_stream("mjpeg", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 160, "yuvj420p"
        for _, image in coded(times(25, 4)):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="gray").reformat(format="yuvj420p")))
        output.mux(stream.encode(None))
    content = (tmp_path / "v.mp4").read_bytes()
    (tmp_path / "v.mp4").write_bytes(content[: len(content) // 2])
    count, message = _read_until_error(tmp_path / "v.mp4")
    assert 10 < count < 60
    assert f"damaged after {(count - 1) / 25:.3f} s" in message


def test_reader__tells_that_the_index_is_missing(video: Path) -> None:
    content = video.read_bytes()
    video.write_bytes(content[: content.index(b"moov") - 4])
    with pytest.raises(DataError, match="killed leaves an mp4 without its index"):
        VideoReader(video)


def test_reader__tells_damage_with_its_time(video: Path) -> None:
    content = bytearray(video.read_bytes())
    middle = content.index(b"moov") // 2
    content[middle : middle + 400] = np.random.default_rng(0).bytes(400)
    video.write_bytes(content)
    count, message = _read_until_error(video)
    assert 10 < count < 90
    assert f"{video}: damaged after {(count - 1) / 25:.3f} s" in message


def test_reader__tells_times_that_go_back(tmp_path: Path) -> None:
    encode(tmp_path / "v.ts", coded(times(25, 4, start_s=10)))
    encode(tmp_path / "w.ts", coded(times(25, 4)), options={"mpegts_flags": "initial_discontinuity"})
    with (tmp_path / "v.ts").open("ab") as joined:
        joined.write((tmp_path / "w.ts").read_bytes())
    count, message = _read_until_error(tmp_path / "v.ts")
    assert count > 90
    assert "times go back from" in message


@pytest.mark.parametrize(("name", "codec"), [("v.h264", "libx264"), ("v.mjpeg", "mjpeg")])
def test_reader__tells_frames_without_times(name: str, codec: str, tmp_path: Path) -> None:
    encode(tmp_path / name, coded(times(25, 1)), codec, "yuvj420p")
    with pytest.raises(DataError, match=f"{name}: its frames have no times"):
        VideoReader(tmp_path / name)


def test_reader__tells_a_hole_where_ffmpeg_ends_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    with VideoWriter(path, 25, (64, 96)) as writer:
        for number in range(20):
            writer.write(np.full((64, 96, 3), 10 * number, np.uint8), number / 25)
    content = path.read_bytes()
    middle = content.index(b"moof", len(content) // 2) - 4
    path.write_bytes(content[:middle] + bytes(40) + content[middle + 40 :])
    count, message = _read_until_error(path)
    assert 5 < count < 15
    assert f"damaged after {(count - 1) / 25:.3f} s" in message
    path.write_bytes(content + bytes(5000))  # space that a recorder reserved
    assert len([*VideoReader(path)]) == 20
