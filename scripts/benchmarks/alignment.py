"""Measure how well the shift between RGB and IR is found, on real pairs moved by a known vector.

    python scripts/bench_alignment.py --csv results/alignment.csv

Both images are cut to their common part, so that no border gives the vector away, and encoded anew, so that the grids
of JPEG blocks lie on each other as in a pair that came badly registered. Pairs have an offset of their own; therefore
the error is given twice: against the vector alone, and against the vector plus what the same estimator says of the pair
before it was moved.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt
from scripts.benchmarks.results_table import REPO, commit
from tqdm import tqdm

from yolofuse.check.registration import WORK_SIDE, Shift, estimate_shift, reach_of, shift_at_peak
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.data.images.read_pair import read_pair, to_bytes
from yolofuse.data.index.pair_set import load_pairs
from yolofuse.types import ByteArray, FloatArray

_SETS = ("roadscene-flir", "llvip-hr")
_LENGTHS = (3, 10, 20, 30, 40)
_RIGHT = 2.0
_QUALITY = 90
_SHIPPED = "orientation"
_LEVELS = 8
_MI_SIDE = 320

Estimator = Callable[[ByteArray, ByteArray, float], Shift]
"""Brightness, thermal image, pixels of the frame per pixel of theirs."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One estimate; lengths in pixels of the frame."""

    length: float
    error: float
    error_of_own: float
    is_measured: bool


def main() -> None:
    """Print a table for each set, and append it to a CSV when asked to."""
    shared = Path(os.environ.get("YOLOFUSE_REAL_DATA", REPO.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=shared, help="folder with the sets")
    parser.add_argument("--sets", nargs="+", default=_SETS, metavar="NAME")
    parser.add_argument("--estimators", nargs="+", default=[_SHIPPED], choices=_ESTIMATORS, metavar="NAME")
    parser.add_argument("--repeats", type=int, default=1, help="vectors for each pair")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--csv", type=Path, help="file to append the results to")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    rows = []
    for name in args.sets:
        images = _load(args.data / name)
        for estimator in args.estimators:
            trials, offsets, seconds = _run(images, _ESTIMATORS[estimator], args.repeats, args.seed)
            rows += _report(name, estimator, trials, offsets, seconds)
    if args.csv:
        _append(args.csv, args.seed, rows)


def _load(folder: Path) -> list[tuple[ByteArray, ByteArray]]:
    descriptor = load_descriptor(folder / "data.yaml")
    found = []
    with tempfile.TemporaryDirectory() as cache:
        for split in descriptor.splits:
            for record in load_pairs(descriptor, split, cache_dir=Path(cache)).records:
                pixels = to_bytes(read_pair(record))
                luma = cv2.cvtColor(np.ascontiguousarray(pixels[..., :3]), cv2.COLOR_RGB2GRAY)
                found.append((np.asarray(luma, np.uint8), np.ascontiguousarray(pixels[..., 3])))
    return found


def _run(
    images: list[tuple[ByteArray, ByteArray]], estimator: Estimator, repeats: int, seed: int
) -> tuple[list[Trial], list[float], float]:
    """All trials, the pairs' own offsets in pixels, and the seconds of one estimate."""
    rng = np.random.default_rng(seed)
    trials, offsets, seconds = [], [], []
    for luma, ir in tqdm(images, "estimating", unit="pair", disable=None):
        own = _estimate(luma, ir, estimator)[0]
        offsets.append(own.length)
        for _ in range(repeats):
            length, angle = rng.uniform(_LENGTHS[0], _LENGTHS[-1]), rng.uniform(0, 2 * np.pi)
            dx, dy = round(length * np.cos(angle)), round(length * np.sin(angle))
            moved, ir_moved = _moved(luma, ir, dx, dy)
            found, spent = _estimate(_encoded(moved), _encoded(ir_moved), estimator)
            seconds.append(spent)
            error = float(np.hypot(found.dx - dx, found.dy - dy))
            of_own = float(np.hypot(found.dx - dx - own.dx, found.dy - dy - own.dy))
            trials.append(Trial(length, error, of_own, found.is_measured))
    return trials, offsets, float(np.median(seconds))


def _moved(luma: ByteArray, ir: ByteArray, dx: int, dy: int) -> tuple[ByteArray, ByteArray]:
    """Both images cut so that IR has at (x + dx, y + dy) what it had at (x, y)."""
    height, width = luma.shape
    high, wide = height - abs(dy), width - abs(dx)
    top, left, ir_top, ir_left = max(dy, 0), max(dx, 0), max(-dy, 0), max(-dx, 0)
    return luma[top : top + high, left : left + wide], ir[ir_top : ir_top + high, ir_left : ir_left + wide]


def _encoded(image: ByteArray) -> ByteArray:
    _, content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return cast(ByteArray, cv2.imdecode(content, cv2.IMREAD_GRAYSCALE))


def _estimate(luma: ByteArray, ir: ByteArray, estimator: Estimator) -> tuple[Shift, float]:
    scale = max(max(luma.shape) / WORK_SIDE, 1.0)
    size_wh = (round(luma.shape[1] / scale), round(luma.shape[0] / scale))
    small = [np.asarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA), np.uint8) for image in (luma, ir)]
    start = time.perf_counter()
    shift = estimator(small[0], small[1], scale)
    return shift, time.perf_counter() - start


def _magnitude(grey: ByteArray) -> FloatArray:
    smooth = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 1.0)
    length = np.hypot(cv2.Scharr(smooth, cv2.CV_32F, 1, 0), cv2.Scharr(smooth, cv2.CV_32F, 0, 1))
    logarithm = np.log1p(length / (np.median(length) + 1e-3))
    return np.asarray(logarithm - logarithm.mean(), np.float32)


def _correlated(luma: ByteArray, ir: ByteArray, scale: float, whiten: float) -> Shift:
    """Cross-correlation of gradient magnitudes; ``whiten`` 1 is phase correlation."""
    height, width = luma.shape
    reach = reach_of(luma.shape)
    size_hw = (cv2.getOptimalDFTSize(height + reach), cv2.getOptimalDFTSize(width + reach))
    product = np.conj(np.fft.rfft2(_magnitude(luma), size_hw)) * np.fft.rfft2(_magnitude(ir), size_hw)
    around = np.fft.irfft2(product / (np.abs(product) ** whiten + 1e-9), size_hw)
    lost = np.abs(np.arange(-reach, reach + 1))
    surface = _window(around, reach) / np.sqrt(np.outer(height - lost, width - lost))
    return shift_at_peak(surface.astype(np.float32), scale)


def _window(around: npt.NDArray[np.float64], reach: int) -> npt.NDArray[np.float64]:
    return np.roll(around, (reach, reach), (0, 1))[: 2 * reach + 1, : 2 * reach + 1]


def _mutual_information(luma: ByteArray, ir: ByteArray, scale: float) -> Shift:
    """Of brightness in eight equally populated levels, at half the size: joint histograms of all shifts at once."""
    factor = max(max(luma.shape) / _MI_SIDE, 1.0)
    size_wh = (round(luma.shape[1] / factor), round(luma.shape[0] / factor))
    small = [cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA) for image in (luma, ir)]
    reach = reach_of(small[0].shape)
    size_hw = tuple(cv2.getOptimalDFTSize(side + reach) for side in small[0].shape)
    spectra = [[np.fft.rfft2(layer, size_hw) for layer in _levels(np.asarray(image, np.uint8))] for image in small]
    joint = np.array([[_window(np.fft.irfft2(np.conj(a) * b, size_hw), reach) for b in spectra[1]] for a in spectra[0]])
    joint = joint.clip(min=0.01)
    joint /= joint.sum(axis=(0, 1))
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    surface = (joint * np.log(joint / apart)).sum(axis=(0, 1))
    return shift_at_peak(surface.astype(np.float32), scale * factor)


def _levels(grey: ByteArray) -> list[FloatArray]:
    edges = np.quantile(grey, np.arange(1, _LEVELS) / _LEVELS)
    level = np.digitize(grey, edges)
    return [(level == number).astype(np.float32) for number in range(_LEVELS)]


_ESTIMATORS: dict[str, Estimator] = {
    _SHIPPED: estimate_shift,
    "magnitude": lambda luma, ir, scale: _correlated(luma, ir, scale, 0.0),
    "magnitude-half-whitened": lambda luma, ir, scale: _correlated(luma, ir, scale, 0.5),
    "magnitude-phase": lambda luma, ir, scale: _correlated(luma, ir, scale, 1.0),
    "mutual-information": _mutual_information,
}


def _report(
    name: str, estimator: str, trials: list[Trial], offsets: list[float], seconds: float
) -> list[dict[str, str]]:
    """Print a line for all lengths and one for each range; give the same as rows."""
    rows = []
    is_shipped = estimator == _SHIPPED
    bounds = [(_LENGTHS[0], _LENGTHS[-1]), *itertools.pairwise(_LENGTHS)]
    print(f"\n{name}, {estimator}: {seconds * 1e3:.0f} ms; offset of its own: median {np.median(offsets):.1f} px")
    for low, high in bounds:
        chosen = [trial for trial in trials if low <= trial.length <= high]
        sure = [trial for trial in chosen if trial.is_measured]
        row = {
            "set": name,
            "estimator": estimator,
            "length": f"{low}-{high}",
            "trials": str(len(chosen)),
            "within_2px": _share([trial.error <= _RIGHT for trial in chosen]),
            "within_2px_of_own": _share([trial.error_of_own <= _RIGHT for trial in chosen]),
            # The bounds of confidence are those of the shipped estimator.
            "measurable": _share([trial.is_measured for trial in chosen]) if is_shipped else "",
            "measurable_within_2px_of_own": _share([t.error_of_own <= _RIGHT for t in sure]) if is_shipped else "",
            "own_offset_px": f"{np.median(offsets):.2f}",
            "own_offset_within_2px": _share([offset <= _RIGHT for offset in offsets]),
            "ms": f"{seconds * 1e3:.1f}",
        }
        rows.append(row)
        print("  " + "  ".join(f"{key} {row[key]}" for key in list(row)[2:8] if row[key]))
    return rows


def _share(hits: list[bool]) -> str:
    return f"{100 * sum(hits) / len(hits):.1f}" if hits else ""


def _append(file: Path, seed: int, rows: list[dict[str, str]]) -> None:
    about = {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "commit": commit(),
        "seed": str(seed),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    is_new = not file.exists()
    with file.open("a", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=[*about, *rows[0]])
        if is_new:
            writer.writeheader()
        writer.writerows({**about, **row} for row in rows)


if __name__ == "__main__":
    main()
