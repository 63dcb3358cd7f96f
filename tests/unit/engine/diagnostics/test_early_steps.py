"""The monitor of the first steps: what it warns of, and what it writes."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import pytest
import torch

from yolofuse.engine.diagnostics.early_steps import Monitor, Step, detect_anomalies, read_steps


def _steps(totals: list[float], norms: list[float | None] | None = None) -> list[Step]:
    norms = norms or [1.0] * len(totals)
    return [Step(i + 1, {"box": v / 2, "cls": v / 2}, n) for i, (v, n) in enumerate(zip(totals, norms, strict=True))]


_FALLING = [10 - 0.1 * i for i in range(40)]
_NAN = math.nan


@pytest.mark.parametrize(
    ("totals", "window", "kinds"),
    [
        (_FALLING, 40, []),
        ([5.0] * 40, 40, ["not falling"]),
        ([5.0] * 39, 40, []),
        ([5.0] * 39 + [1.0], 40, []),
        ([5.0] * 3, 3, []),
        ([*_FALLING[:20], 31.0, *_FALLING[21:]], 40, ["spike"]),
        ([*_FALLING[:20], 24.0, *_FALLING[21:]], 40, []),
        ([1.0] * 9 + [30.0], 40, []),
        ([1.0] * 10 + [30.0], 40, ["spike"]),
        ([5.0, _NAN], 40, ["loss not finite"]),
        ([5.0, math.inf], 40, ["loss not finite"]),
    ],
    ids=[
        "falls",
        "flat",
        "too-early",
        "falls-late",
        "no-quarter",
        "spike",
        "bump",
        "no-median",
        "median",
        "nan",
        "inf",
    ],
)
def test_judge__losses(totals: list[float], window: int, kinds: list[str]) -> None:
    assert [alarm.kind for alarm in detect_anomalies(_steps(totals), window)] == kinds


@pytest.mark.parametrize(
    ("norms", "scaled", "kinds"),
    [
        ([1.0, math.inf, math.inf, 1.0, math.inf, 1.0], True, []),
        ([1.0, math.inf, None, math.inf, _NAN, 1.0], True, ["skipped"]),
        ([1.0, math.inf, None, None, math.inf, 1.0], True, []),
        ([1.0, math.inf, None, 1.0, 1.0, 1.0], False, ["gradients not finite"]),
    ],
    ids=["two-and-one", "three", "no-updates-between", "no-scaler"],
)
def test_judge__gradients(norms: list[float | None], scaled: bool, kinds: list[str]) -> None:
    assert [alarm.kind for alarm in detect_anomalies(_steps([5.0] * 6, norms), 40, scaled=scaled)] == kinds


def test_judge__only_what_is_new() -> None:
    steps = _steps([1.0] * 10 + [30.0] + [1.0] * 5)
    assert [alarm.kind for alarm in detect_anomalies(steps, 40, since=10)] == ["spike"]
    assert detect_anomalies(steps, 40, since=11) == []


def _feed(monitor: Monitor, totals: list[float], first: int = 1) -> None:
    for number, total in enumerate(totals, start=first):
        monitor.add(number, {"box": torch.tensor(total / 2), "cls": torch.tensor(total / 2)})
        if number % 2 == 0:
            monitor.add_norm(number, torch.tensor(0.1 * number))
    monitor.read()


def test_monitor__writes_the_window_and_no_more(tmp_path: Path) -> None:
    file = tmp_path / "first_steps.csv"
    monitor = Monitor(file, 25)
    _feed(monitor, _FALLING)
    lines = file.read_text().splitlines()
    assert lines[0] == "step,box,cls,total,grad_norm"
    assert len(lines) == 26
    assert lines[1] == "1,5,5,10,"
    assert lines[2].endswith(",0.200000003")


@pytest.mark.parametrize("stop", [0, 3, 10, 17, 25, 30])
def test_monitor__resumed_file_equals_the_uninterrupted_one(tmp_path: Path, stop: int) -> None:
    """The checkpoint stands at ``stop``; five more steps were written after it, the last line was cut by the kill."""
    whole, killed = tmp_path / "whole.csv", tmp_path / "killed.csv"
    _feed(Monitor(whole, 25), _FALLING)
    _feed(Monitor(killed, 25), _FALLING[: stop + 5])
    if stop < 20:
        killed.write_text(killed.read_text()[:-4])
    _feed(Monitor(killed, 25, step=stop), _FALLING[stop:], first=stop + 1)
    assert killed.read_text() == whole.read_text()


def test_monitor__warns_once_per_kind_even_over_a_resume(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "first_steps.csv"
    with caplog.at_level(logging.WARNING, logger="yolofuse"):
        _feed(Monitor(file, 40), [1.0] * 10 + [30.0, 1.0, 40.0])
        assert len(caplog.messages) == 1
        assert caplog.messages[0].startswith("warning: the loss jumped to 30 at step 11")
        _feed(Monitor(file, 40, step=13), [1.0, 50.0], first=14)
        assert len(caplog.messages) == 1


@pytest.mark.parametrize(("window", "is_main"), [(0, True), (40, False)], ids=["off", "not-rank-0"])
def test_monitor__silent_one_writes_nothing(
    tmp_path: Path, window: int, is_main: bool, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "first_steps.csv"
    monitor = Monitor(file, window, is_main=is_main)
    _feed(monitor, [1.0] * 10 + [30.0])
    assert not file.exists()
    assert caplog.messages == []


def test_read_steps__of_nothing(tmp_path: Path) -> None:
    assert read_steps(tmp_path / "none.csv") == []
    (tmp_path / "cut.csv").write_text("step,bo")
    assert read_steps(tmp_path / "cut.csv") == []
