from __future__ import annotations

import pytest

from tests.support.detectors import build
from yolofuse.model import format_summary, summarise


def test_summary__counts_four_channels_and_both_streams() -> None:
    stacked = summarise(build(base="yolo11n", cut="input"), 640)
    single = summarise(build(base="yolo11n", streams="rgb"), 640)
    extra = stacked[0].gflops - single[0].gflops
    assert extra == pytest.approx(2 * 16 * 9 * 320 * 320 / 1e9, rel=1e-6)  # one more input channel in the stem
    mid = {row.name: row for row in summarise(build(base="yolo11n", cut="mid"), 640)}
    assert sum(row.gflops for row in mid.values()) > 1.4 * single[0].gflops
    assert mid["rgb"].gflops - mid["ir"].gflops == pytest.approx(2 * extra, rel=1e-6)
    shared = {row.name: row for row in summarise(build(base="yolo11n", cut="mid", share=True), 640)}
    assert shared["rgb"].shared
    assert shared["rgb"].gflops == pytest.approx(2 * mid["rgb"].gflops)


def test_format__has_a_row_per_part_and_a_total() -> None:
    detector = build(base="yolo11n", cut="mid", share=True)
    rows = summarise(detector, 64)
    head, *parts, total = format_summary(rows, detector).splitlines()
    assert head.split() == ["part", "layers", "parameters", "GFLOPs"]
    assert [line.split()[0] for line in parts] == ["rgb", "fusion", "trunk"]
    assert [line.endswith("shared by RGB and IR") for line in parts] == [True, False, False]
    assert total.startswith("total   two streams")
    assert f"{sum(row.num_parameters for row in rows):,}" in total
