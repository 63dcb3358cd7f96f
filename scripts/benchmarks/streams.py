"""Measure whether the work of both streams runs better together: grouped convolutions, and torch.compile.

    python scripts/bench_streams.py --csv results/streams.csv

Both streams of a two-stream backbone hold the same layers with weights of their own. So each pair of convolutions can
be made as one, with twice the channels in two groups. Here every kind of convolution that the IR stream of a base holds
is timed both ways, forward and backward; where there is CUDA, also with each in a CUDA stream of its own. (The first
ones read three channels and one: those could not be grouped as they are. Here both read one.) Then whole training
passes: eager, compiled as a whole, and compiled part by part. Ways take turns within a round; medians are given.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from scripts.benchmarks.results_table import append_rows
from torch import Tensor, nn

from yolofuse.config import ModelConfig
from yolofuse.engine.precision import autocast
from yolofuse.model import Detector, build_detector

Way = Callable[[], None]


@dataclass(frozen=True)
class Shape:
    """A convolution as it is used: its own figures and the size of what it reads."""

    c_in: int
    c_out: int
    kernel: int
    stride: int
    groups: int
    height: int
    width: int

    def make(self, streams: int) -> nn.Conv2d:
        """The convolution of one stream, or of several as groups of one."""
        return nn.Conv2d(
            streams * self.c_in,
            streams * self.c_out,
            self.kernel,
            self.stride,
            self.kernel // 2,
            groups=streams * self.groups,
            bias=False,
        )

    def __str__(self) -> str:
        kind = "depthwise" if self.groups > 1 else f"{self.kernel}x{self.kernel}"
        return f"{kind} {self.c_in}->{self.c_out} /{self.stride} at {self.height}x{self.width}"


def main() -> None:
    """Print the tables, and append them to a CSV when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="yolo11n")
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--measure", nargs="+", choices=["convolutions", "passes"], default=["convolutions", "passes"])
    parser.add_argument("--compile", nargs="*", choices=["model", "streams"], default=["model", "streams"])
    parser.add_argument("--csv", type=Path, help="file to append the results to")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    detector = build_detector(ModelConfig(base=args.base), num_classes=1).to(device).train()
    detector.to(memory_format=torch.channels_last)
    kinds = {"convolutions": _convolutions, "passes": _passes}
    rows = [row for kind in args.measure for row in kinds[kind](detector, args, device)]
    for row in rows:
        print(f"{row['what']:<34} x{row['times']:<3} {row['way']:<16} {row['ms']:>9} ms  {row['of_first']:>6}")
    if args.csv:
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        about = {key: getattr(args, key) for key in ("base", "imgsz", "batch", "rounds", "threads", "precision")}
        append_rows(args.csv, rows, device=name, torch=torch.__version__, **about)


def _convolutions(detector: Detector, args: argparse.Namespace, device: torch.device) -> list[dict[str, object]]:
    """Every kind of convolution of a stream, one after the other and as one; then all of them in sum."""
    rows: list[dict[str, object]] = []
    sums: dict[str, float] = {}
    for shape, times in _shapes(detector, args.imgsz, device).items():
        medians = _measure(_ways(shape, args, device), args.rounds, device)
        rows += _as_rows(str(shape), times, medians)
        for way, seconds in medians.items():
            sums[way] = sums.get(way, 0.0) + times * seconds
    return rows + _as_rows("all convolutions of both streams", 1, sums)


def _shapes(detector: Detector, imgsz: int, device: torch.device) -> Counter[Shape]:
    """The convolutions that both streams hold, and how many there are of each."""
    found: Counter[Shape] = Counter()

    def see(module: nn.Conv2d, given: tuple[Tensor, ...], _: Tensor) -> None:
        height, width = given[0].shape[2:]
        kernel, stride = int(module.kernel_size[0]), int(module.stride[0])
        found[Shape(module.in_channels, module.out_channels, kernel, stride, module.groups, height, width)] += 1

    stream = detector.parts["ir"]
    convolutions: list[Any] = [module for module in stream.modules() if isinstance(module, nn.Conv2d)]
    hooks = [module.register_forward_hook(see) for module in convolutions]
    with torch.no_grad():
        stream({-1: torch.rand(2, 1, imgsz, imgsz, device=device)})
    for hook in hooks:
        hook.remove()
    return found


def _ways(shape: Shape, args: argparse.Namespace, device: torch.device) -> dict[str, Way]:
    def image(channels: int) -> Tensor:
        pixels = torch.rand(args.batch, channels, shape.height, shape.width, device=device)
        return pixels.contiguous(memory_format=torch.channels_last).requires_grad_()

    one, two, both = (shape.make(streams).to(device).to(memory_format=torch.channels_last) for streams in (1, 1, 2))
    first, second, stacked = image(shape.c_in), image(shape.c_in), image(2 * shape.c_in)

    def run(*calls: tuple[nn.Conv2d, Tensor]) -> None:
        with autocast(device, args.precision):
            outputs = [conv(given) for conv, given in calls]
        torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])

    ways: dict[str, Way] = {
        "two calls": lambda: run((one, first), (two, second)),
        "grouped": lambda: run((both, stacked)),
    }
    if device.type == "cuda":
        side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

        def overlapped() -> None:
            here = torch.cuda.current_stream(device)
            side.wait_stream(here)
            with torch.cuda.stream(side):
                run((two, second))
            run((one, first))
            here.wait_stream(side)

        ways["two CUDA streams"] = overlapped
    return ways


def _passes(detector: Detector, args: argparse.Namespace, device: torch.device) -> list[dict[str, object]]:
    """Forward and backward of the whole detector, eager and compiled."""
    rgb, ir = (torch.rand(args.batch, channels, args.imgsz, args.imgsz, device=device) for channels in (3, 1))
    rgb, ir = (pixels.contiguous(memory_format=torch.channels_last) for pixels in (rgb, ir))

    def way(model: Detector) -> Way:
        def run() -> None:
            with autocast(device, args.precision):
                outputs = model(rgb, ir)
            torch.stack([tensor.float().mean() for tensor in _tensors(outputs)]).sum().backward()  # type: ignore[no-untyped-call]
            model.zero_grad(set_to_none=True)

        return run

    ways = {"eager": way(detector)}
    for kind in args.compile:
        compiled = copy.deepcopy(detector)
        for module in [compiled] if kind == "model" else compiled.parts.values():
            module.compile()
        ways[f"compiled {kind}"] = way(compiled)
        started = time.perf_counter()
        ways[f"compiled {kind}"]()
        print(f"compiling {kind} took {time.perf_counter() - started:.0f} s", flush=True)
    return _as_rows("forward and backward, mid", 1, _measure(ways, args.rounds, device))


def _measure(ways: dict[str, Way], rounds: int, device: torch.device) -> dict[str, float]:
    """Seconds of each way: the median over rounds; two rounds only warm up."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 2):
        for name, run in ways.items():
            _sync(device)
            started = time.perf_counter()
            run()
            _sync(device)
            if turn > 1:
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in times.items()}


def _as_rows(what: str, times: int, seconds: dict[str, float]) -> list[dict[str, object]]:
    reference = next(iter(seconds.values()))
    return [
        {
            "what": what,
            "times": times,
            "way": way,
            "ms": f"{1000 * value:.3f}",
            "of_first": f"{value / reference:.3f}",
        }
        for way, value in seconds.items()
    ]


def _sync(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value
    return [tensor for item in items for tensor in _tensors(item)]


if __name__ == "__main__":
    main()
