"""Measure pairs a second from two video files, and where the time goes, in every runtime.

    OMP_WAIT_POLICY=PASSIVE python -m scripts.benchmarks.video_speed --csv results/video_speed.csv

The pairs of a data set become two H.264 videos of 25 frames a second. Variants take turns within a round; the table has
the medians over the rounds, in ms of a pair: ``decode`` (both videos, and what the generator itself costs), ``read``
(letterbox), ``detect`` (the model and NMS), and the sum as pairs a second. Weights are fresh, and each variant keeps
the 300 best boxes above 0.001, so that NMS has as much to do as in evaluation.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
import torch

from scripts.benchmarks.latency import fresh_detector, write_fresh
from scripts.benchmarks.results_table import append_rows, print_rows
from scripts.paths import REAL_DATA
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.data.images.read_pair import read_pair
from yolofuse.data.index.pair_set import load_pairs
from yolofuse.exporters.options import ExportOptions
from yolofuse.predict.load import load
from yolofuse.predict.model import Limits, Model
from yolofuse.video import VideoWriter

_FPS = 25
_LIMITS: Limits = {"conf": 0.001, "iou": 0.7, "max_det": 300}


def main() -> None:
    """Measure, print the table and optionally append it to a CSV."""
    default = REAL_DATA / "llvip-hr" / "data.yaml"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=default, help="descriptor of a paired data set")
    parser.add_argument("--base", default="yolo11n", metavar="NAME")
    parser.add_argument("--imgsz", type=int, default=640, help="px (default: 640)")
    parser.add_argument("--pairs", type=int, default=50, help="length of the videos (default: 50)")
    parser.add_argument("--rounds", type=int, default=5, help="turns per variant (default: 5)")
    parser.add_argument("--csv", type=Path, help="file to append the results to")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rgb, ir, size_hw = _write_videos(args.data, args.pairs, Path(scratch))
        models = _models(args.base, Path(scratch))
        rows = _measure(models, (rgb, ir), args.rounds, args.imgsz)
    print_rows(rows)
    if args.csv:
        shared = {
            "base": args.base,
            "imgsz": args.imgsz,
            "frame": "x".join(map(str, size_hw[::-1])),
            "pairs": args.pairs,
            "rounds": args.rounds,
        }
        append_rows(args.csv, rows, shared)


def _write_videos(data: Path, count: int, folder: Path) -> tuple[Path, Path, tuple[int, int]]:
    """Write the frames of both cameras; return the files and the frames' size."""
    records = load_pairs(load_descriptor(data), "train", cache_dir=folder / "cache", verify=False).records
    first = read_pair(records[0]).shape[:2]
    size_hw = (first[0], first[1])
    with VideoWriter(folder / "rgb.mp4", _FPS, size_hw) as rgb, VideoWriter(folder / "ir.mp4", _FPS, size_hw) as ir:
        for number, record in enumerate(islice(cycle(records), count)):
            pixels = cv2.resize(read_pair(record), size_hw[::-1])
            rgb.write(np.ascontiguousarray(pixels[..., :3]), number / _FPS)
            ir.write(np.repeat(pixels[..., 3:], 3, axis=2), number / _FPS)
    return folder / "rgb.mp4", folder / "ir.mp4", size_hw


def _models(base: str, folder: Path) -> dict[str, Model]:
    """Return the detector in each runtime."""
    loaded = fresh_detector(base)
    models = {"torch": Model(loaded)}
    for name, options in (
        ("onnxruntime", ExportOptions()),
        ("openvino fp32", ExportOptions(format="openvino")),
        ("openvino bf16", ExportOptions(format="openvino", precision="bf16")),
    ):
        models[name] = load(write_fresh(loaded, options, folder / f"{name.replace(' ', '-')}{options.suffix}"))
    return models


def _measure(models: dict[str, Model], videos: tuple[Path, Path], rounds: int, imgsz: int) -> list[dict[str, object]]:
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in models}
    for number in range(rounds + 1):  # the first is not counted
        for name in list(models) if number % 2 else reversed(models):
            found[name].append(_pass(models[name], videos, imgsz))
    rows: list[dict[str, object]] = []
    for name, passes in found.items():
        decode, read, detect = (statistics.median(column) for column in zip(*passes[1:], strict=True))
        whole = statistics.median(sum(times) for times in passes[1:])
        rows.append(
            {
                "runtime": name,
                "threads": os.cpu_count() if name != "torch" else torch.get_num_threads(),
                "decode_ms": f"{decode:.1f}",
                "read_ms": f"{read:.1f}",
                "detect_ms": f"{detect:.1f}",
                "pairs_per_s": f"{1000 / whole:.1f}",
            }
        )
    return rows


def _pass(model: Model, videos: tuple[Path, Path], imgsz: int) -> tuple[float, float, float]:
    """Return the time in ms that a pair of the videos took to decode, read and detect in."""
    limits: Limits = {**_LIMITS, "imgsz": imgsz}
    started = time.perf_counter()
    results = [result.ms for result in model.stream(*videos, **limits)]
    whole = 1000 * (time.perf_counter() - started) / len(results)
    read, detect = (statistics.mean(ms[step] for ms in results) for step in ("read", "detect"))
    return whole - read - detect, read, detect


if __name__ == "__main__":
    main()
