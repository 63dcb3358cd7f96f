"""Two live streams become pairs: newest first, reconnected, stopped without a hang."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("av", reason="needs the extra video")

from tests.support.streams import CLOCK_S, RtspServer, StreamServer
from tests.support.videos import read_bar_code
from yolofuse.errors import ConfigError, DataError
from yolofuse.video import FramePair, LiveFrames, LivePairs, camera, rgb_pixels
from yolofuse.video.camera import StreamClock

_PRINT_PAIRS = """
import sys
from yolofuse.video import LivePairs

for pair in LivePairs(sys.argv[1], sys.argv[2]):
    print(pair.index, flush=True)
"""
_DELAY_S = 0.06  # by which the ways of two streams may differ on a busy machine


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "_FIRST_WAIT_S", 0.05)


def _error_s(pair: FramePair) -> float:
    return abs(read_bar_code(pair.rgb) - read_bar_code(pair.ir))


def _age_s(pair: FramePair) -> float:
    return (time.monotonic() - read_bar_code(pair.rgb)) % CLOCK_S


def _pairs_until(pairs: LivePairs, rgb_connections: int, more: int) -> Iterator[FramePair]:
    """Yield pairs until the visible camera was connected so often and ``more`` pairs came after that."""
    for pair in pairs:
        yield pair
        more -= pairs.connections[0] >= rgb_connections
        if more <= 0:
            return


def test_live_pairs__cut_three_times_come_back(caplog: pytest.LogCaptureFixture) -> None:
    rgb, ir = StreamServer(30, cuts_s=(0.8, 0.8, 0.8)), StreamServer(25, first_s=500.0)
    with rgb, ir, LivePairs(rgb.url, ir.url) as pairs:
        found = list(_pairs_until(pairs, 4, 10))
        counts, connections, fps = pairs.counts, pairs.connections, pairs.fps
    assert connections == (4, 1)
    assert caplog.text.count(f"{rgb.url}: the stream ended; connecting again in") == 3
    assert fps == pytest.approx(25, rel=0.02)
    assert max(abs(pair.gap_s) for pair in found) <= 0.0201
    assert max(map(_error_s, found)) <= 0.02 + _DELAY_S
    assert [pair.index for pair in found] == list(range(len(found)))
    assert all(earlier.time_s < later.time_s for earlier, later in itertools.pairwise(found))
    assert counts.paired == len(found)
    assert counts.skipped_ir > 5  # while the other camera was away
    assert counts.skipped_rgb >= 0


def test_live_pairs__of_rtsp_cameras(caplog: pytest.LogCaptureFixture) -> None:
    rgb, ir = RtspServer(30, cuts_s=(0.8,), first_s=100.0), RtspServer(25)
    with rgb, ir, LivePairs(rgb.url, ir.url) as pairs:
        found = list(_pairs_until(pairs, 2, 20))
    assert len(found) > 25
    assert max(abs(pair.gap_s) for pair in found) <= 0.0201
    assert max(map(_error_s, found)) <= 0.02 + _DELAY_S
    assert f"rtsp://127.0.0.1:{rgb.port}/camera: the stream ended; connecting again" in caplog.text
    assert "secret" not in caplog.text


def test_live_pairs__that_stall_are_connected_again(caplog: pytest.LogCaptureFixture) -> None:
    rgb, ir = StreamServer(25, cuts_s=(0.6,), stall=True), StreamServer(25)
    with rgb, ir, LivePairs(rgb.url, ir.url, stall_s=0.5) as pairs:
        assert len(list(_pairs_until(pairs, 2, 5))) > 5
    assert f"{rgb.url}: no frame for 0.5 s; connecting again" in caplog.text


def test_live_pairs__of_a_slow_consumer_are_new() -> None:
    with StreamServer(30) as rgb, StreamServer(25) as ir, LivePairs(rgb.url, ir.url) as pairs:
        ages = []
        for pair in pairs:
            ages.append(_age_s(pair))
            time.sleep(0.3)
            if pair.index == 6:
                break
        assert max(ages[1:]) < 0.3
        assert pairs.counts.skipped_rgb > 20
        assert pairs.counts.skipped_ir > 15


def test_live_frames__of_one_camera_that_is_cut_are_the_newest() -> None:
    with StreamServer(25, cuts_s=(0.8,)) as server, LiveFrames(server.url) as frames:
        found = [next(frames) for _ in range(5)]
        time.sleep(0.4)
        newest = next(frames)
        age_s = (time.monotonic() - read_bar_code(rgb_pixels(newest))) % CLOCK_S
        while server.clients < 2:
            found.append(next(frames))
        found += [next(frames) for _ in range(5)]
    assert age_s < 0.2 + _DELAY_S
    assert all(earlier.time_s < later.time_s for earlier, later in itertools.pairwise([*found[:5], newest, *found[5:]]))


def test_live_pairs__with_an_offset() -> None:
    with StreamServer(25) as rgb, StreamServer(25) as ir, LivePairs(rgb.url, ir.url, offset_s=0.2) as pairs:
        shifts = [read_bar_code(pair.rgb) - read_bar_code(pair.ir) for pair, _ in zip(pairs, range(20), strict=False)]
    assert max(abs(shift - 0.2) for shift in shifts) <= 0.02 + _DELAY_S


def test_live_pairs__give_up_after_a_while() -> None:
    with StreamServer(25) as rgb:
        pairs = LivePairs(rgb.url, "tcp://user:secret@127.0.0.1:9/path?key=secret", patience_s=0.3)
        with pytest.raises(DataError, match=r"tcp://127\.0\.0\.1:9/path: no frame for 0\.3 s") as caught:
            list(pairs)
    assert "secret" not in str(caught.value)


def test_live_pairs__end_without_a_thread() -> None:
    with StreamServer(25) as rgb, StreamServer(25, cuts_s=(0.5,), stall=True) as ir:
        pairs = LivePairs(rgb.url, ir.url, stall_s=1.0)
        next(pairs)
        start_s = time.monotonic()
        pairs.close()
        assert time.monotonic() - start_s < 2
        assert list(pairs) == []
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("yolofuse tcp")]


def test_live_pairs__stop_on_ctrl_c() -> None:
    with StreamServer(25) as rgb, StreamServer(25) as ir:
        command = [sys.executable, "-c", _PRINT_PAIRS, rgb.url, ir.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "0\n"
            os.kill(process.pid, signal.SIGINT)
            _, errors = process.communicate(timeout=20)
    assert errors.strip().endswith("KeyboardInterrupt")


@pytest.mark.parametrize(
    "source", ["video.mp4", "file:///etc/passwd", "concat:a|b", "pipe:0", "/dev/null", "lavfi://x"]
)
def test_live_pairs__refuse_what_is_no_camera(source: str) -> None:
    with pytest.raises(ConfigError, match="neither a camera"):
        LivePairs(source, source)


def test_live_pairs__refuse_a_large_offset() -> None:
    with pytest.raises(ConfigError, match="at most 1 s"):
        LivePairs("tcp://127.0.0.1:9", "tcp://127.0.0.1:9", offset_s=-2)


def test_stream_clock__follows_the_frames_that_were_delayed_least() -> None:
    clock = StreamClock()
    burst = [clock.monotonic(500 + index / 25, 11 + index / 1000) for index in range(25)]
    assert burst == [None] * 25
    settled = [clock.monotonic(501 + index / 25, 11.03 + index / 25 + (index % 3) / 50) for index in range(100)]
    assert settled[0] is None
    assert settled[1:] == pytest.approx([11.03 + index / 25 for index in range(1, 100)], abs=0.001)


def test_stream_clock__follows_drift_and_times_that_start_again() -> None:
    clock = StreamClock()
    for index in range(10_000):
        found = clock.monotonic(index * 0.04 * 0.9999, 100 + index * 0.04)  # slow by 100 ppm
    assert found == pytest.approx(100 + 9999 * 0.04, abs=0.001)
    assert clock.monotonic(0.0, 600.0) is None
    assert clock.monotonic(0.04, 600.04) == pytest.approx(600.04, abs=0.001)
