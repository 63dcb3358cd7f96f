"""Summarise a trace of torch.profiler: how long each part of a training step took."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from yolofuse.tables import csv_text, text_table

Part = Literal["data", "forward", "loss", "backward", "optimizer", "ema", "evaluation"]
PARTS: tuple[Part, ...] = get_args(Part)
OTHER = "other"

PREFIX = "yolofuse."
STEP = f"{PREFIX}step"
SETTLING = 1
"""Recorded steps that are left out, because the profiler itself starts in them."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class PartTime:
    """Time of one part.

    Attributes:
        name: One of ``PARTS``, or ``other`` for the loop's own work between them.
        host_ms: Wall time on the host, per step; of ``evaluation`` per evaluation.
        host_share: Of the step's wall time; None for ``evaluation``, which is no part of a step.
        device_ms: Sum of the kernels launched in it, per step; None without CUDA.
        device_share: Of the time of all kernels.
    """

    name: str
    host_ms: float
    host_share: float | None
    device_ms: float | None = None
    device_share: float | None = None


@dataclass(frozen=True)
class StepTimes:
    """Means over the profiled steps.

    Attributes:
        num_steps: Number of profiled steps.
        step_ms: Wall time of a step.
        parts: In the order of ``PARTS``, then ``other``; parts that did not occur are left out.
        busy: Share of the wall time in which at least one kernel ran; None without CUDA.
    """

    num_steps: int
    step_ms: float
    parts: tuple[PartTime, ...]
    busy: float | None = None


def read_step_times(trace: dict[str, Any], recorded: int) -> StepTimes:
    """Read the times from a Chrome trace with the marks of :class:`~yolofuse.engine.diagnostics.profiler.Profile`.

    Args:
        trace: The parsed file.
        recorded: Number of whole steps recorded; an incomplete one may follow.

    Raises:
        ValueError: If no whole step is in it.
    """
    events = [event for event in trace["traceEvents"] if event.get("ph") == "X"]
    marks = [event for event in events if event.get("cat") == "user_annotation"]
    steps = sorted(_interval(event) for event in marks if event["name"] == STEP)[SETTLING:recorded]
    if not steps:
        raise ValueError("the trace holds no whole step")
    first, last = steps[0][0], steps[-1][1]
    wall = last - first
    ranges = [
        (*_interval(event), event["name"].removeprefix(PREFIX))
        for event in marks
        if event["name"].startswith(PREFIX) and event["name"] != STEP and first <= event["ts"] < last
    ]
    host: dict[str, float] = {}
    for start, end, name in ranges:
        host[name] = host.get(name, 0.0) + end - start
    host[OTHER] = wall - sum(host.values())
    kernels = [_interval(event) for event in events if event.get("cat") == "kernel"]
    on_cuda = bool(kernels)
    device = _kernel_times(events, sorted(ranges), (first, last))
    scale, all_kernels = 1000 * len(steps), sum(device.values()) or 1.0
    parts = tuple(
        PartTime(
            name,
            host.get(name, 0.0) / scale,
            host.get(name, 0.0) / wall,
            device.get(name, 0.0) / scale if on_cuda else None,
            device.get(name, 0.0) / all_kernels if on_cuda else None,
        )
        for name in (*PARTS, OTHER)
        if name in host or name in device
    )
    return StepTimes(len(steps), wall / scale, parts, covered(kernels, first, last) / wall if on_cuda else None)


def _kernel_times(
    events: Sequence[dict[str, Any]], ranges: Sequence[tuple[float, float, str]], window: Interval
) -> dict[str, float]:
    """Sum the microseconds of kernels by part.

    A kernel belongs to the part in which the host launched it, on whatever thread: the backward pass launches from a
    thread of autograd while the main one waits inside of the part.
    """
    calls = [event for event in events if event.get("cat") in {"cuda_runtime", "cuda_driver"}]
    launches = {_correlation(event): float(event["ts"]) for event in calls}
    times: dict[str, float] = {}
    for event in events:
        if event.get("cat") != "kernel":
            continue
        launched = launches.get(_correlation(event))
        if launched is not None and window[0] <= launched < window[1]:
            name = owner(ranges, launched) or OTHER
            times[name] = times.get(name, 0.0) + float(event["dur"])
    return times


def _interval(event: dict[str, Any]) -> Interval:
    return float(event["ts"]), float(event["ts"]) + float(event["dur"])


def _correlation(event: dict[str, Any]) -> int:
    return int(event.get("args", {}).get("correlation", -1))


def covered(intervals: Sequence[Interval], first: float, last: float) -> float:
    """Return how much of ``first .. last`` is covered by at least one interval: kernels of several streams overlap."""
    total, until = 0.0, first
    for start, end in sorted(intervals):
        start, end = max(start, until), min(end, last)
        if end > start:
            total += end - start
            until = end
    return total


def owner(named: Sequence[tuple[float, float, str]], moment: float) -> str | None:
    """Return the name of the interval that contains a moment; None between intervals.

    Args:
        named: (start, end, name), sorted; they must not overlap.
        moment: A time.
    """
    index = bisect_right(named, moment, key=lambda interval: interval[0]) - 1
    return named[index][2] if index >= 0 and moment < named[index][1] else None


def format_times(times: StepTimes) -> str:
    """Format the times as a text table."""
    on_cuda = times.busy is not None
    rows = [["part", "host ms", "share", *(["device ms", "share"] if on_cuda else [])]]
    for part in times.parts:
        row = [part.name, f"{part.host_ms:.2f}", _percent(part.host_share)]
        if on_cuda:
            row += ["" if part.device_ms is None else f"{part.device_ms:.2f}", _percent(part.device_share)]
        rows.append(row)
    rows.append(["step", f"{times.step_ms:.2f}", *[""] * (len(rows[0]) - 2)])
    lines = [text_table(rows), f"mean of {times.num_steps} steps, with the profiler on"]
    if times.busy is not None:
        lines.append(f"the GPU was busy for {times.busy:.1%} of the time")
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def times_as_csv(times: StepTimes) -> str:
    """Format the times as CSV: a row for each part and one for the whole step."""
    whole = PartTime("step", times.step_ms, 1.0)
    rows: list[dict[str, object]] = []
    for row in (*times.parts, whole):
        values = {name: getattr(row, name) for name in ("host_ms", "host_share", "device_ms", "device_share")}
        busy = times.busy if row is whole else None
        rows.append(
            {"part": row.name}
            | {name: None if value is None else f"{value:.6g}" for name, value in values.items()}
            | {"steps": times.num_steps, "gpu_busy": None if busy is None else f"{busy:.4f}"}
        )
    return csv_text(rows)
