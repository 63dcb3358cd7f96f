"""A step's parts: what a trace says of them, and what a profile leaves."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from yolofuse.engine.diagnostics import profiler
from yolofuse.engine.diagnostics.profiler import Profile, profile_span
from yolofuse.engine.diagnostics.trace_summary import covered, format_times, owner, read_step_times

_CPU = torch.device("cpu")


def _event(cat: str, name: str, start: float, duration: float, correlation: int | None = None) -> dict[str, Any]:
    args = {} if correlation is None else {"correlation": correlation}
    return {"ph": "X", "cat": cat, "name": name, "ts": start, "dur": duration, "args": args}


def _kernel(launched: float, start: float, duration: float, number: int, call: str = "cuda_runtime") -> list[Any]:
    return [
        _event(call, "cudaLaunchKernel", launched, 5, number),
        _event("kernel", "gemm", start, duration, number),
    ]


def _trace() -> dict[str, Any]:
    """Three steps of 1000 us, of which the first is left out; microseconds."""
    events: list[dict[str, Any]] = [{"ph": "M", "name": "process_name"}]
    for start in (0, 1000, 2000):
        events.append(_event("user_annotation", "yolofuse.step", start, 1000))
        events.append(_event("user_annotation", "yolofuse.backward", start + 300, 500))  # out of order on purpose
        events.append(_event("user_annotation", "yolofuse.forward", start + 100, 200))
        events.append(_event("gpu_user_annotation", "yolofuse.forward", start + 100, 900))
        number = int(start) + 1
        events += _kernel(start + 150, start + 160, 100, number)  # forward
        events += _kernel(start + 400, start + 210, 100, number + 1, "cuda_driver")  # backward, half beside the first
        events += _kernel(start + 950, start + 980, 60, number + 2)  # other; runs into the next step
    events.append(_event("user_annotation", "yolofuse.step", 3000, 10))  # broken off
    return {"traceEvents": events}


def test_covered__counts_overlaps_once() -> None:
    assert covered([(5, 8), (0, 3), (2, 4), (6, 7), (9, 20)], 1, 10) == 3 + 3 + 1
    assert covered([], 0, 1) == 0


def test_owner__of_moments_inside_between_and_outside() -> None:
    named = [(1.0, 2.0, "a"), (2.0, 3.0, "b"), (5.0, 6.0, "c")]
    assert [owner(named, moment) for moment in (0.5, 1.0, 1.9, 2.0, 3.0, 5.5, 6.0)] == [
        None, "a", "a", "b", None, "c", None,
    ]  # fmt: skip


def test_step_times__host_and_device_by_launch() -> None:
    times = read_step_times(_trace(), recorded=3)
    assert times.num_steps == 2
    assert times.step_ms == pytest.approx(1.0)
    found = {row.name: (row.host_ms, row.host_share, row.device_ms, row.device_share) for row in times.parts}
    assert list(found) == ["forward", "backward", "other"]
    assert found["forward"] == pytest.approx((0.2, 0.2, 0.1, 100 / 260))
    assert found["backward"] == pytest.approx((0.5, 0.5, 0.1, 100 / 260))
    assert found["other"] == pytest.approx((0.3, 0.3, 0.06, 60 / 260))
    # Each step 160..310 and 980..1000, and 0..40 of the one before.
    assert times.busy == pytest.approx((150 + 20 + 40) / 1000)
    assert "the GPU was busy for 21.0% of the time" in format_times(times)


def test_step_times__without_kernels_says_nothing_of_the_device() -> None:
    trace = _trace()
    trace["traceEvents"] = [event for event in trace["traceEvents"] if event.get("cat") == "user_annotation"]
    times = read_step_times(trace, recorded=3)
    assert times.busy is None
    assert all(row.device_ms is None for row in times.parts)
    assert "device" not in format_times(times)


def test_step_times__a_trace_without_a_measured_step_is_refused() -> None:
    with pytest.raises(ValueError, match="no whole step"):
        read_step_times(_trace(), recorded=1)


def _steps(profile: Profile, count: int) -> None:
    for _ in range(count):
        with profile_span("forward"):
            torch.rand(8).sum()
            time.sleep(0.012)
        with profile_span("backward"):
            time.sleep(0.002)
        profile.step()


def _rows(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "parts.csv").open(newline="") as stream:
        return {row["part"]: row for row in csv.DictReader(stream)}


def test_profile__leaves_a_trace_and_a_table(tmp_path: Path) -> None:
    folder = tmp_path / "profile"
    with Profile(folder, 3, _CPU) as profile:
        _steps(profile, 6)
        assert not folder.exists()  # three are skipped, one settles, two are measured
        _steps(profile, 1)
        assert sorted(file.name for file in folder.iterdir()) == ["parts.csv", "parts.txt", "trace.json"]
        assert "evaluation" not in _rows(folder)
        _steps(profile, 2)
        with profile_span("evaluation"):
            time.sleep(0.02)
        evaluated = (folder / "parts.csv").read_text()
        with profile_span("evaluation"):  # only the first one is timed
            time.sleep(0.02)
    assert (folder / "parts.csv").read_text() == evaluated
    rows = _rows(folder)
    assert list(rows) == ["forward", "backward", "other", "evaluation", "step"]
    assert {row["steps"] for row in rows.values()} == {"3"}
    assert float(rows["forward"]["host_ms"]) > float(rows["backward"]["host_ms"]) >= 2
    assert float(rows["evaluation"]["host_ms"]) >= 20
    shares = [float(rows[name]["host_share"]) for name in ("forward", "backward", "other")]
    assert sum(shares) == pytest.approx(1, abs=1e-4)
    assert any(
        event.get("name") == "aten::rand" for event in json.loads((folder / "trace.json").read_text())["traceEvents"]
    )


def test_profile__ends_with_the_epoch(tmp_path: Path) -> None:
    """The evaluation is not traced, and an epoch that gave no measured step is made up for in the next."""
    with Profile(tmp_path, 10, _CPU) as profile:
        for count in (4, 3):
            _steps(profile, count)
            with profile_span("evaluation"):
                torch.zeros(3).cumsum(0)
    rows = _rows(tmp_path)
    assert {row["steps"] for row in rows.values()} == {"1"}  # epoch 2: one starts it, one settles
    assert "evaluation" in rows
    names = {event.get("name") for event in json.loads((tmp_path / "trace.json").read_text())["traceEvents"]}
    assert "aten::cumsum" not in names


def test_profile__off_costs_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    with Profile(tmp_path / "profile", 0, _CPU) as profile:
        assert profile_span("forward") is profile_span("evaluation") is profiler._FREE
        _steps(profile, 8)
    assert not (tmp_path / "profile").exists()


def test_profile__a_run_that_breaks_off_writes_none(tmp_path: Path) -> None:
    def run() -> None:
        with Profile(tmp_path, 9, _CPU) as profile:
            _steps(profile, 6)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert not list(tmp_path.iterdir())
    assert profile_span("forward") is profiler._FREE  # nothing stays open for the next run of this process


def test_profile__a_full_disk_is_told_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(profiler, "save_text", full)
    with Profile(tmp_path, 1, _CPU) as profile:
        _steps(profile, 9)
    assert [record.getMessage() for record in caplog.records if "could not be written" in record.getMessage()] == [
        f"warning: {tmp_path}: the profile could not be written ([Errno 28] No space left on device)"
    ]
