"""Compute the thermal window of a data set: counts at percentiles, with a cache."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from yolofuse.data.cache_files import make_cache_dir, open_cached
from yolofuse.data.descriptor.source import IrWindow
from yolofuse.data.images.decode import decode, inspect_image, measured_pixels
from yolofuse.data.index.pair_table import WindowBits
from yolofuse.data.index.scan import Parts
from yolofuse.data.problems import Problem
from yolofuse.data.strict_json import parse_json
from yolofuse.errors import DataError, plural
from yolofuse.files import save_json
from yolofuse.spacing import evenly_spaced
from yolofuse.types import IntArray, Orientation

_log = logging.getLogger(__name__)
_MAX_IMAGES = 2000  # evenly spaced; with more, only the last digit of the percentiles changes
_PIXELS_EACH = 4096
_FORMAT = 4
_MAX_BYTES = 4096  # of the cache
_COUNTS_OF_8_BITS = 256
_REPEATED = 0.001
"""Share of the pixels above which one count far from all others stands for "not measured", or a saturated sensor."""
_FAR = 3.0  # times the range of the others, which then get less than a quarter of the window


def find_shallow(window_bits: WindowBits) -> list[Problem]:
    """Return a problem for each window of more counts than 8 bits hold over such images: all would be near black."""
    return [
        Problem(
            "bit-depth",
            str(files[8]),
            f"{files[8]}: 8 bits hold counts of 0 .. 255, but its ir_window is [{low:g}, {high:g}]; leave ir_window "
            "out, or use the files with the camera's counts",
        )
        for (low, high), files in window_bits.items()
        if 8 in files and high > _COUNTS_OF_8_BITS
    ]


def compare_depths(one: WindowBits, other: WindowBits) -> list[str]:
    """Return a problem for each window that is used for images of another depth in another split."""
    return [
        f"ir_window [{low:g}, {high:g}]: {' and '.join(f'{file} has {bits} bits' for bits, file in files.items())}; "
        "counts of one depth mean others in another: store all splits in one depth, or give each its own ir_window"
        for (low, high), known in one.items()
        if len(files := {**known, **other.get((low, high), {})}) > 1
    ]


def percentile_window(window: IrWindow, parts: Parts, cache_dir: Path) -> tuple[float, float]:
    """Return the counts at a window's percentiles over the thermal images of some sources, cached.

    Up to 2,000 evenly spaced images give about 4,096 pixels each on a square grid, so the result depends on the files
    alone. Pixels that hold no measurement (see ``measured_pixels``) are left out.

    Raises:
        DataError: If an image can't be read, all pixels are equal, or a percentile is a repeated count far from all
            others.
    """
    paths = [(source.root / name, source.orientation) for source, matches in parts for name in matches.ir if name]
    stamps = np.concatenate([matches.stamps[matches.has("ir"), 1] for _, matches in parts])
    positions = evenly_spaced(len(paths), _MAX_IMAGES)
    files = [paths[i] for i in positions]
    signature = _signature(window, files, stamps[positions])
    cache = cache_dir / f"window-{signature[:20]}.json"
    cached = _read_cache(cache, signature)
    if cached is not None:
        return cached
    with ThreadPoolExecutor(4) as pool:
        sampled = pool.map(_sample_pixels, *zip(*files, strict=True))
        bar = tqdm(sampled, "thermal window", len(files), unit="image", delay=3, disable=None)
        values = np.concatenate(list(bar))
    num_pixels, values = len(values), values[~np.isnan(values)]
    _refuse_outlier(window, values)
    limits = np.percentile(values, [window.low, window.high]) if len(values) else (math.nan, math.nan)
    low, high = (float(value) for value in limits)
    if not -math.inf < low < high < math.inf:
        raise DataError(
            f"{window.name}: ir_window: percentiles {window.low:g} and {window.high:g} are {low:g} and {high:g} "
            "counts; the images are flat or hold no numbers, so give [low, high]"
        )
    try:
        make_cache_dir(cache_dir)
        save_json(cache, {"signature": signature, "low": low, "high": high, "images": len(files)})
    except OSError as error:
        _log.warning("%s: cache can't be written (%s)", cache, error)
    count, missing = plural(len(files), "image"), 1 - len(values) / num_pixels
    left_out = f"; {missing:.2%} of the pixels hold no measurement and are left out" if missing else ""
    _log.info("ir_window: [%g, %g] counts, the percentiles of %s (%s)%s", low, high, count, window.name, left_out)
    return low, high


def _sample_pixels(file: Path, orientation: Orientation) -> np.ndarray:
    info = inspect_image(file, verify=False, orientation=orientation)
    step = max(math.isqrt(info.height * info.width // _PIXELS_EACH), 1)
    grid = slice(step // 2, None, step)  # centres of cells: the outermost lines of a sensor may be dead
    pixels = decode(file, "ir", 1, info[:2], orientation)[grid, grid]
    return np.where(measured_pixels(file, pixels), pixels, np.nan).ravel().astype(np.float32)


def _refuse_outlier(window: IrWindow, values: np.ndarray) -> None:
    """Refuse a percentile that is one repeated count and leaves less than a quarter of the window to the others."""
    if not len(values):
        return
    ends = [float(np.percentile(values, window.low, method="lower"))]
    ends.append(float(np.percentile(values, window.high, method="higher")))
    others = values[(values != ends[0]) & (values != ends[1])]
    if not len(others):
        return
    first, last = np.percentile(others, [window.low, window.high]).tolist()
    for end, distance in zip(ends, (first - ends[0], ends[1] - last), strict=True):
        share = float((values == end).mean())
        if share >= _REPEATED and distance > _FAR * (last - first) > 0:
            raise DataError(
                f"{window.name}: ir_window: {share:.1%} of the thermal pixels are {end:g} counts, far from all others "
                f"({first:g} .. {last:g}): not measured, or saturated? It would take most of the window, so give "
                f"ir_window: [low, high] in counts, for example [{first:g}, {last:g}]"
            )


def _signature(window: IrWindow, files: Sequence[tuple[Path, Orientation]], stamps: IntArray) -> str:
    digest = hashlib.sha256(f"{_FORMAT} {window.low} {window.high}\n".encode())
    digest.update("\n".join(f"{file} {orientation}" for file, orientation in files).encode(errors="surrogateescape"))
    digest.update(np.ascontiguousarray(stamps, "<i8").tobytes())
    return digest.hexdigest()


def _read_cache(cache: Path, signature: str) -> tuple[float, float] | None:
    try:
        with open_cached(cache) as file:
            content = parse_json(file.read(_MAX_BYTES))
        low, high = float(content["low"]), float(content["high"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        _log.warning("%s: cache can't be used and is rebuilt (%s)", cache, error)
        return None
    return (low, high) if content.get("signature") == signature and low < high else None
