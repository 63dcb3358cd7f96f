"""Measure the accuracy of the shift estimate between RGB and IR, on real pairs moved by a known vector.

    python -m scripts.benchmarks.alignment --csv results/alignment.csv

Both images are cropped to their common part, so that no border reveals the vector, and encoded as JPEG again, so that
the block grids coincide as in a badly registered pair. The pairs have an offset to begin with; therefore the error is
given twice: relative to the vector alone, and relative to it plus the estimate for the pair before it was moved.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from scripts.benchmarks.results_table import append_rows
from scripts.paths import REAL_DATA
from yolofuse.check.measure_shift import WORK_SIDE, Shift, estimate_shift, reach_of, shift_at_peak
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.data.images.read_pair import read_pair, to_bytes
from yolofuse.data.index.pair_set import load_pairs
from yolofuse.types import ByteArray, FloatArray

_SETS = ("roadscene-flir", "llvip-hr")
_LENGTHS = (3, 10, 20, 30, 40)  # px, bounds of the ranges in the table
_TOLERANCE = 2.0  # px
_JPEG_QUALITY = 90
_SHIPPED = "orientation"
_MI_LEVELS = 8
_MI_SIDE = 320  # px

Estimator = Callable[[ByteArray, ByteArray, float], Shift]
"""(luma, ir, frame pixels per pixel of these images) -> shift."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One estimate.

    Attributes:
        length: Of the known vector, px.
        error: Distance of the estimate from the known vector, px.
        corrected_error: The same after subtracting the pair's own offset, px.
        is_measured: Whether the estimator is confident.
    """

    length: float
    error: float
    corrected_error: float
    is_measured: bool


def main() -> None:
    """Measure every set with every estimator, print the results and optionally append them to a CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=REAL_DATA, help="folder with the sets")
    parser.add_argument("--sets", nargs="+", default=_SETS, metavar="NAME")
    parser.add_argument("--estimators", nargs="+", default=[_SHIPPED], choices=_ESTIMATORS, metavar="NAME")
    parser.add_argument("--repeats", type=int, default=1, help="vectors per pair")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--csv", type=Path, help="file to append the results to")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    rows = []
    for name in args.sets:
        images = _load_images(args.data / name)
        for estimator in args.estimators:
            trials, offsets, seconds = _run_trials(images, _ESTIMATORS[estimator], args.repeats, args.seed)
            rows += _summarise(name, estimator, trials, offsets, seconds)
    if args.csv:
        append_rows(args.csv, rows, {"seed": args.seed}, origin=("date", "commit"))


def _load_images(folder: Path) -> list[tuple[ByteArray, ByteArray]]:
    """Return luma and IR of every pair of a data set."""
    descriptor = load_descriptor(folder / "data.yaml")
    images = []
    with tempfile.TemporaryDirectory() as cache:
        for split in descriptor.splits:
            for record in load_pairs(descriptor, split, cache_dir=Path(cache)).records:
                pixels = to_bytes(read_pair(record))
                luma = cv2.cvtColor(np.ascontiguousarray(pixels[..., :3]), cv2.COLOR_RGB2GRAY)
                images.append((np.asarray(luma, np.uint8), np.ascontiguousarray(pixels[..., 3])))
    return images


def _run_trials(
    images: list[tuple[ByteArray, ByteArray]], estimator: Estimator, repeats: int, seed: int
) -> tuple[list[Trial], list[float], float]:
    """Return all trials, the pairs' own offsets in px, and the median seconds of one estimate."""
    rng = np.random.default_rng(seed)
    trials, offsets, seconds = [], [], []
    for luma, ir in tqdm(images, "estimating", unit="pair", disable=None):
        own = _estimate(luma, ir, estimator)[0]
        offsets.append(own.length)
        for _ in range(repeats):
            length, angle = rng.uniform(_LENGTHS[0], _LENGTHS[-1]), rng.uniform(0, 2 * np.pi)
            dx, dy = round(length * np.cos(angle)), round(length * np.sin(angle))
            moved, ir_moved = _crop_with_shift(luma, ir, dx, dy)
            shift, spent = _estimate(_reencode(moved), _reencode(ir_moved), estimator)
            seconds.append(spent)
            error = float(np.hypot(shift.dx - dx, shift.dy - dy))
            corrected = float(np.hypot(shift.dx - dx - own.dx, shift.dy - dy - own.dy))
            trials.append(Trial(length, error, corrected, shift.is_measured))
    return trials, offsets, float(np.median(seconds))


def _crop_with_shift(luma: ByteArray, ir: ByteArray, dx: int, dy: int) -> tuple[ByteArray, ByteArray]:
    """Crop both images so that IR shows at (x + dx, y + dy) what it showed at (x, y)."""
    height, width = luma.shape[0] - abs(dy), luma.shape[1] - abs(dx)
    top, left, ir_top, ir_left = max(dy, 0), max(dx, 0), max(-dy, 0), max(-dx, 0)
    return luma[top : top + height, left : left + width], ir[ir_top : ir_top + height, ir_left : ir_left + width]


def _reencode(image: ByteArray) -> ByteArray:
    _, content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return cast(ByteArray, cv2.imdecode(content, cv2.IMREAD_GRAYSCALE))


def _estimate(luma: ByteArray, ir: ByteArray, estimator: Estimator) -> tuple[Shift, float]:
    """Return the shift at the working size of ``check``, and the seconds it took."""
    scale = max(max(luma.shape) / WORK_SIDE, 1.0)
    size_wh = (round(luma.shape[1] / scale), round(luma.shape[0] / scale))
    small = [np.asarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA), np.uint8) for image in (luma, ir)]
    start = time.perf_counter()
    shift = estimator(small[0], small[1], scale)
    return shift, time.perf_counter() - start


def _gradient_magnitude(grey: ByteArray) -> FloatArray:
    smooth = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 1.0)
    length = np.hypot(cv2.Scharr(smooth, cv2.CV_32F, 1, 0), cv2.Scharr(smooth, cv2.CV_32F, 0, 1))
    logarithm = np.log1p(length / (np.median(length) + 1e-3))
    return np.asarray(logarithm - logarithm.mean(), np.float32)


def _correlate(luma: ByteArray, ir: ByteArray, scale: float, whiten: float) -> Shift:
    """Estimate by cross-correlation of gradient magnitudes; ``whiten=1`` is phase correlation."""
    height, width = luma.shape
    reach = reach_of(luma.shape)
    size_hw = (cv2.getOptimalDFTSize(height + reach), cv2.getOptimalDFTSize(width + reach))
    product = np.conj(np.fft.rfft2(_gradient_magnitude(luma), size_hw)) * np.fft.rfft2(_gradient_magnitude(ir), size_hw)
    correlation = np.fft.irfft2(product / (np.abs(product) ** whiten + 1e-9), size_hw)
    lost = np.abs(np.arange(-reach, reach + 1))
    surface = _centred_window(correlation, reach) / np.sqrt(np.outer(height - lost, width - lost))
    return shift_at_peak(surface.astype(np.float32), scale)


def _centred_window(correlation: npt.NDArray[np.float64], reach: int) -> npt.NDArray[np.float64]:
    return np.roll(correlation, (reach, reach), (0, 1))[: 2 * reach + 1, : 2 * reach + 1]


def _mutual_information(luma: ByteArray, ir: ByteArray, scale: float) -> Shift:
    """Estimate by mutual information of luma in equally populated levels: joint histograms of all shifts at once."""
    factor = max(max(luma.shape) / _MI_SIDE, 1.0)
    size_wh = (round(luma.shape[1] / factor), round(luma.shape[0] / factor))
    small = [cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA) for image in (luma, ir)]
    reach = reach_of(small[0].shape)
    size_hw = tuple(cv2.getOptimalDFTSize(side + reach) for side in small[0].shape)
    spectra = [[np.fft.rfft2(layer, size_hw) for layer in _level_masks(np.asarray(image, np.uint8))] for image in small]
    joint = np.array(
        [[_centred_window(np.fft.irfft2(np.conj(a) * b, size_hw), reach) for b in spectra[1]] for a in spectra[0]]
    )
    joint = joint.clip(min=0.01)
    joint /= joint.sum(axis=(0, 1))
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    surface = (joint * np.log(joint / independent)).sum(axis=(0, 1))
    return shift_at_peak(surface.astype(np.float32), scale * factor)


def _level_masks(grey: ByteArray) -> list[FloatArray]:
    edges = np.quantile(grey, np.arange(1, _MI_LEVELS) / _MI_LEVELS)
    level = np.digitize(grey, edges)
    return [(level == number).astype(np.float32) for number in range(_MI_LEVELS)]


_ESTIMATORS: dict[str, Estimator] = {
    _SHIPPED: estimate_shift,
    "magnitude": lambda luma, ir, scale: _correlate(luma, ir, scale, 0.0),
    "magnitude-half-whitened": lambda luma, ir, scale: _correlate(luma, ir, scale, 0.5),
    "magnitude-phase": lambda luma, ir, scale: _correlate(luma, ir, scale, 1.0),
    "mutual-information": _mutual_information,
}


def _summarise(
    name: str, estimator: str, trials: list[Trial], offsets: list[float], seconds: float
) -> list[dict[str, str]]:
    """Print a line for all lengths and one per range of lengths; return the same as rows."""
    rows = []
    is_shipped = estimator == _SHIPPED
    bounds = [(_LENGTHS[0], _LENGTHS[-1]), *itertools.pairwise(_LENGTHS)]
    print(f"\n{name}, {estimator}: {seconds * 1e3:.0f} ms; own offset: median {np.median(offsets):.1f} px")
    for low, high in bounds:
        chosen = [trial for trial in trials if low <= trial.length <= high]
        confident = [trial for trial in chosen if trial.is_measured]
        row = {
            "set": name,
            "estimator": estimator,
            "length": f"{low}-{high}",
            "trials": str(len(chosen)),
            "within_2px": _share([trial.error <= _TOLERANCE for trial in chosen]),
            "within_2px_of_own": _share([trial.corrected_error <= _TOLERANCE for trial in chosen]),
            # The confidence thresholds are those of the shipped estimator.
            "measurable": _share([trial.is_measured for trial in chosen]) if is_shipped else "",
            "measurable_within_2px_of_own": _share([t.corrected_error <= _TOLERANCE for t in confident])
            if is_shipped
            else "",
            "own_offset_px": f"{np.median(offsets):.2f}",
            "own_offset_within_2px": _share([offset <= _TOLERANCE for offset in offsets]),
            "ms": f"{seconds * 1e3:.1f}",
        }
        rows.append(row)
        print("  " + "  ".join(f"{key} {row[key]}" for key in list(row)[2:8] if row[key]))
    return rows


def _share(hits: list[bool]) -> str:
    """Return the percentage of hits."""
    return f"{100 * sum(hits) / len(hits):.1f}" if hits else ""


if __name__ == "__main__":
    main()
