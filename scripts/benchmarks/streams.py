"""Measure whether both streams run faster together: with grouped convolutions, and with torch.compile.

    python -m scripts.benchmarks.streams --csv results/streams.csv

Both streams of a two-stream backbone have the same layers with separate weights, so each pair of convolutions can be
computed as one, with twice the channels in two groups. Every kind of convolution in the IR stream of a base model is
timed both ways, forward and backward; with CUDA, also with each in its own CUDA stream. (The first ones read three
channels and one channel and could not be grouped as they are; here both read one.) Then whole training passes: eager,
compiled as a whole, and compiled stream by stream. Variants alternate within a round; the table has the medians.
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
from torch import Tensor, nn

from scripts.benchmarks.measure import device_name, flatten_tensors, synchronize
from scripts.benchmarks.results_table import append_rows, print_rows
from yolofuse.config import ModelConfig
from yolofuse.engine.precision import autocast
from yolofuse.model import Detector, build_detector

Variant = Callable[[], None]


@dataclass(frozen=True)
class ConvShape:
    """Parameters of a convolution, and the size of its input in px."""

    c_in: int
    c_out: int
    kernel: int
    stride: int
    groups: int
    height: int
    width: int

    def make(self, streams: int) -> nn.Conv2d:
        """Return the convolution of one stream, or that of several streams as groups."""
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
    """Measure convolutions and passes, print the table and optionally append it to a CSV."""
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
    kinds = {"convolutions": _measure_convolutions, "passes": _measure_passes}
    rows = [row for kind in args.measure for row in kinds[kind](detector, args, device)]
    print_rows(rows)
    if args.csv:
        settings = {"device": device_name(device), "torch": torch.__version__}
        settings |= {key: getattr(args, key) for key in ("base", "imgsz", "batch", "rounds", "threads", "precision")}
        append_rows(args.csv, rows, settings)


def _measure_convolutions(
    detector: Detector, args: argparse.Namespace, device: torch.device
) -> list[dict[str, object]]:
    """Time every kind of convolution of a stream, separate and grouped; the last rows are the sums."""
    rows: list[dict[str, object]] = []
    sums: dict[str, float] = {}
    for shape, count in _conv_shapes(detector, args.imgsz, device).items():
        medians = _measure(_conv_variants(shape, args, device), args.rounds, device)
        rows += _as_rows(str(shape), count, medians)
        for variant, seconds in medians.items():
            sums[variant] = sums.get(variant, 0.0) + count * seconds
    return rows + _as_rows("all convolutions of both streams", 1, sums)


def _conv_shapes(detector: Detector, imgsz: int, device: torch.device) -> Counter[ConvShape]:
    """Return the convolutions that both streams have, and how many of each."""
    shapes: Counter[ConvShape] = Counter()

    def record(module: nn.Conv2d, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        height, width = inputs[0].shape[2:]
        kernel, stride = int(module.kernel_size[0]), int(module.stride[0])
        shapes[ConvShape(module.in_channels, module.out_channels, kernel, stride, module.groups, height, width)] += 1

    stream = detector.parts["ir"]
    convolutions: list[Any] = [module for module in stream.modules() if isinstance(module, nn.Conv2d)]
    hooks = [module.register_forward_hook(record) for module in convolutions]
    with torch.no_grad():
        stream({-1: torch.rand(2, 1, imgsz, imgsz, device=device)})
    for hook in hooks:
        hook.remove()
    return shapes


def _conv_variants(shape: ConvShape, args: argparse.Namespace, device: torch.device) -> dict[str, Variant]:
    def random_input(channels: int) -> Tensor:
        pixels = torch.rand(args.batch, channels, shape.height, shape.width, device=device)
        return pixels.contiguous(memory_format=torch.channels_last).requires_grad_()

    one, two, both = (shape.make(streams).to(device).to(memory_format=torch.channels_last) for streams in (1, 1, 2))
    first, second, stacked = (random_input(channels) for channels in (shape.c_in, shape.c_in, 2 * shape.c_in))

    def run(*calls: tuple[nn.Conv2d, Tensor]) -> None:
        with autocast(device, args.precision):
            outputs = [conv(features) for conv, features in calls]
        torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])

    variants: dict[str, Variant] = {
        "two calls": lambda: run((one, first), (two, second)),
        "grouped": lambda: run((both, stacked)),
    }
    if device.type == "cuda":
        side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

        def overlapped() -> None:
            main_stream = torch.cuda.current_stream(device)
            side.wait_stream(main_stream)
            with torch.cuda.stream(side):
                run((two, second))
            run((one, first))
            main_stream.wait_stream(side)

        variants["two CUDA streams"] = overlapped
    return variants


def _measure_passes(detector: Detector, args: argparse.Namespace, device: torch.device) -> list[dict[str, object]]:
    """Time forward and backward of the whole detector, eager and compiled."""
    rgb, ir = (torch.rand(args.batch, channels, args.imgsz, args.imgsz, device=device) for channels in (3, 1))
    rgb, ir = (pixels.contiguous(memory_format=torch.channels_last) for pixels in (rgb, ir))

    def training_pass(model: Detector) -> Variant:
        def run() -> None:
            with autocast(device, args.precision):
                outputs = model(rgb, ir)
            torch.stack([tensor.float().mean() for tensor in flatten_tensors(outputs)]).sum().backward()  # type: ignore[no-untyped-call]
            model.zero_grad(set_to_none=True)

        return run

    variants = {"eager": training_pass(detector)}
    for kind in args.compile:
        compiled = copy.deepcopy(detector)
        for module in [compiled] if kind == "model" else compiled.parts.values():
            module.compile()
        variants[f"compiled {kind}"] = training_pass(compiled)
        started = time.perf_counter()
        variants[f"compiled {kind}"]()
        print(f"compiling {kind} took {time.perf_counter() - started:.0f} s", flush=True)
    return _as_rows("forward and backward, mid", 1, _measure(variants, args.rounds, device))


def _measure(variants: dict[str, Variant], rounds: int, device: torch.device) -> dict[str, float]:
    """Return the seconds of each variant: the median over the rounds; two more rounds warm up."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 2):
        for name, run in variants.items():
            synchronize(device)
            started = time.perf_counter()
            run()
            synchronize(device)
            if number > 1:
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in times.items()}


def _as_rows(what: str, count: int, seconds: dict[str, float]) -> list[dict[str, object]]:
    reference = next(iter(seconds.values()))
    return [
        {
            "what": what,
            "times": count,
            "way": variant,
            "ms": f"{1000 * value:.3f}",
            "of_first": f"{value / reference:.3f}",
        }
        for variant, value in seconds.items()
    ]


if __name__ == "__main__":
    main()
