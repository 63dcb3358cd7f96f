"""Two video files become pairs by time."""

from __future__ import annotations

import itertools
import resource
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="needs the extra video")

from tests.support.videos import coded, encode, read_bar_code, times
from yolofuse.errors import DataError
from yolofuse.video import FramePair, VideoPairs


def _without(all_times: list[float], dropped: range | set[int]) -> list[float]:
    return [time_s for index, time_s in enumerate(all_times) if index not in dropped]


def _error_s(pair: FramePair) -> float:
    """Return the time between both frames, as their pixels say."""
    return abs(read_bar_code(pair.rgb) - read_bar_code(pair.ir))


def _check_long_pairs(folder: Path, seconds: int) -> None:
    """Pair 30 and 25 frames a second with an offset and dropped frames; memory and errors are bounded."""
    rng = np.random.default_rng(0)
    rgb = _without(times(30, seconds), set(rng.integers(0, 30 * seconds, seconds).tolist()))
    ir = _without(times(25, seconds), set(rng.integers(0, 25 * seconds, seconds).tolist()))
    encode(folder / "rgb.mp4", coded(rgb))
    encode(folder / "ir.mkv", coded(ir, clock_s=3.48), codec="libx264")
    worst, start_kib = 0.0, 0
    with VideoPairs(folder / "rgb.mp4", folder / "ir.mkv", offset_s=3.48) as pairs:
        for pair in pairs:
            assert read_bar_code(pair.rgb) == pytest.approx(pair.time_s, abs=0.001)
            worst = max(worst, _error_s(pair))
            if pair.index == 100:
                start_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start_kib) / 1024
    counts = pairs.counts
    print(f"{counts}, worst {worst * 1000:.1f} ms, memory grew by {grown_mib:.1f} MiB")
    assert worst <= 0.02 + 0.001  # half of 1/25 s; the bar code is in milliseconds
    assert grown_mib < 8
    assert counts.paired > 0.9 * 25 * (seconds - 4)
    assert counts.paired + counts.skipped_ir == pytest.approx(len([t for t in ir if t + 3.48 < seconds]), abs=2)
    assert counts.paired + counts.skipped_rgb == pytest.approx(len(rgb), abs=2)


def test_video_pairs__of_20_seconds(tmp_path: Path) -> None:
    _check_long_pairs(tmp_path, 20)


@pytest.mark.soak
def test_video_pairs__of_ten_minutes(tmp_path: Path) -> None:
    _check_long_pairs(tmp_path, 600)


def test_video_pairs__of_equal_times_use_every_frame_once(tmp_path: Path) -> None:
    encode(tmp_path / "rgb.mp4", coded(times(10, 2)))
    encode(tmp_path / "ir.mp4", coded(times(10, 2)))
    pairs = VideoPairs(tmp_path / "rgb.mp4", tmp_path / "ir.mp4")
    found = list(pairs)
    assert [pair.index for pair in found] == list(range(20))
    assert [pair.gap_s for pair in found] == [0.0] * 20
    assert (found[0].rgb.shape, found[0].ir.shape) == ((32, 160, 3), (32, 160))
    assert (pairs.counts.paired, pairs.counts.skipped_rgb, pairs.counts.skipped_ir) == (20, 0, 0)
    assert pairs.fps == pytest.approx(10)


@pytest.mark.parametrize("seed", range(3))
def test_video_pairs__of_variable_rates(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    rgb, ir = (np.cumsum(rng.uniform(0.02, step, 100)).tolist() for step in (0.05, 0.2))
    encode(tmp_path / "rgb.mkv", coded(rgb))
    encode(tmp_path / "ir.mkv", coded(ir))
    found = list(VideoPairs(tmp_path / "rgb.mkv", tmp_path / "ir.mkv"))
    assert len(found) > 20
    assert max(map(_error_s, found)) <= 0.1  # half of the longest step of the slower one
    for nearest in ([pair.time_s for pair in found], [pair.time_s + pair.gap_s for pair in found]):
        assert all(earlier < later for earlier, later in itertools.pairwise(nearest))


def test_video_pairs__count_frames_in_the_gap_of_the_other(tmp_path: Path) -> None:
    encode(tmp_path / "rgb.mp4", coded(times(25, 4)))
    encode(tmp_path / "ir.mp4", coded(_without(times(25, 4), range(20, 60))))
    pairs = VideoPairs(tmp_path / "rgb.mp4", tmp_path / "ir.mp4")
    assert max(map(_error_s, pairs)) <= 0.001
    assert (pairs.counts.paired, pairs.counts.skipped_rgb, pairs.counts.skipped_ir) == (60, 40, 0)


def test_video_pairs__of_a_start_offset_in_the_file(tmp_path: Path) -> None:
    encode(tmp_path / "rgb.mp4", coded(times(25, 2)))
    encode(tmp_path / "ir.mkv", coded(times(25, 2, start_s=0.48)), codec="libx264")
    found = list(VideoPairs(tmp_path / "rgb.mp4", tmp_path / "ir.mkv"))
    assert found[0].time_s == pytest.approx(0.48)
    assert max(map(_error_s, found)) <= 0.001


def test_video_pairs__keep_16_bits(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).integers(0, 65_536, (10, 24, 32)).astype(np.uint16)
    encode(tmp_path / "rgb.mp4", coded(times(10, 1)))
    encode(tmp_path / "ir.mkv", zip(times(10, 1), counts, strict=True), "ffv1", "gray16le")
    found = [pair.ir for pair in VideoPairs(tmp_path / "rgb.mp4", tmp_path / "ir.mkv")]
    np.testing.assert_array_equal(found, counts)


def test_video_pairs__that_do_not_overlap(tmp_path: Path) -> None:
    encode(tmp_path / "rgb.mp4", coded(times(25, 1)))
    encode(tmp_path / "ir.mp4", coded(times(25, 1)))
    with pytest.raises(DataError, match=r"rgb\.mp4 \(0\.000 to .* s\) and .*ir\.mp4 \(100\.000 to .* do not overlap"):
        list(VideoPairs(tmp_path / "rgb.mp4", tmp_path / "ir.mp4", offset_s=100))


def test_video_pairs__before_damage_stay(tmp_path: Path) -> None:
    encode(tmp_path / "rgb.ts", coded(times(25, 4)))
    encode(tmp_path / "ir.ts", coded(times(25, 4)))
    content = bytearray((tmp_path / "ir.ts").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(2000)
    (tmp_path / "ir.ts").write_bytes(content)
    found: list[FramePair] = []
    with pytest.raises(DataError, match=r"ir\.ts: damaged after [12]\.\d+ s"):
        found.extend(VideoPairs(tmp_path / "rgb.ts", tmp_path / "ir.ts"))
    assert len(found) > 20
    assert max(map(_error_s, found)) <= 0.001


def test_video_pairs__closed_early(tmp_path: Path) -> None:
    for name in ("rgb.mp4", "ir.mp4"):
        encode(tmp_path / name, coded(times(25, 1)))
    with VideoPairs(tmp_path / "rgb.mp4", tmp_path / "ir.mp4") as pairs:
        next(pairs)
    assert list(pairs) == []


def test_video_pairs__of_one_file_under_two_names_are_refused(tmp_path: Path) -> None:
    encode(tmp_path / "v.mp4", coded(times(25, 1)))
    (tmp_path / "link.mp4").symlink_to(tmp_path / "v.mp4")
    with pytest.raises(DataError, match="are one file"):
        VideoPairs(tmp_path / "v.mp4", tmp_path / "link.mp4")
