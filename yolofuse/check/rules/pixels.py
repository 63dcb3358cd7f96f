"""Check the pixels of single pairs: copies of one modality, swapped modalities, dead and low-contrast frames, depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yolofuse.check.finding_images import draw_pair
from yolofuse.check.findings import Finding, Severity, first_examples, severity_by_share
from yolofuse.check.pair_stats import PairStats, Split, image_colour
from yolofuse.errors import plural
from yolofuse.types import ByteArray, PairRecord

_COPY, _COPY_DETAIL = 0.975, 0.9
"""Near infrared through one lens reaches 0.93 and 0.95, thermal images 0.87 and 0.52; copies have 0.99 and 0.955."""
_GREY_COPY, _GREY_COPY_DETAIL = 0.93, 0.6
"""For RGB without colour: copies of a noisy thermal image that was compressed twice have 0.96 and 0.76."""
_GREY, _COLOURED = 4.0, 10.0
"""Grey images compressed as colour reach 3, a visible camera by night has 11 or more."""
_DEAD_STD = 1.0
_POOR_RANGE = 20.0
_CLIPPED = 0.5
_OUTSIDE = 0.99
_MISSING = 0.05
_DRAWN = 3


def is_copy(stats: PairStats) -> bool:
    """Return whether both files show the image of one camera."""
    if stats.rgb_colour <= _GREY:
        return stats.correlation >= _GREY_COPY and stats.detail_correlation >= _GREY_COPY_DETAIL
    return stats.correlation >= _COPY and stats.detail_correlation >= _COPY_DETAIL


def _is_dead(stats: PairStats) -> bool:
    return min(stats.rgb_std, stats.ir_std) < _DEAD_STD


@dataclass(frozen=True, slots=True)
class _Rule:
    """A rule for single pairs."""

    kind: str
    applies: Callable[[PairStats], bool]
    text: str  # of the finding, after "3 pairs"
    advice: str
    format_values: Callable[[PairStats], str]  # of one pair
    severity: Severity | None = None  # None: by the share of pairs
    severity_of_most: Severity | None = None  # where more than half of the pairs are affected; None: as otherwise


def _format_correlation(stats: PairStats) -> str:
    return f"correlation {stats.correlation:.3f}, of detail {stats.detail_correlation:.3f}"


def _format_colour(stats: PairStats) -> str:
    return f"colour {stats.rgb_colour:.0f} in the RGB file, {stats.ir_colour:.0f} in the IR file"


def _is_outside(stats: PairStats) -> bool:
    """Return whether a 16-bit image has values, and the window shows hardly any of them."""
    low, high, _ = stats.ir_levels
    return low < high and stats.ir_clipped >= _OUTSIDE


def _format_counts(stats: PairStats) -> str:
    return "counts {} .. {}".format(*stats.ir_levels[:2])


def _format_std(stats: PairStats) -> str:
    return f"std {stats.rgb_std:.1f} in RGB, {stats.ir_std:.1f} in IR, of 255"


_RULES = (
    _Rule(
        "ir-is-rgb",
        lambda stats: is_copy(stats) and stats.rgb_colour > _GREY,
        "whose IR file is the RGB image, in grey or as it is",
        "replace it with the thermal file; the pair has one modality only",
        _format_correlation,
    ),
    _Rule(
        "rgb-is-ir",
        lambda stats: is_copy(stats) and stats.rgb_colour <= _GREY,
        "whose RGB file holds no colour and shows what the IR file shows",
        "replace it with the visible file; the pair has one modality only",
        _format_correlation,
    ),
    _Rule(
        "swapped",
        lambda stats: not is_copy(stats) and stats.rgb_colour <= _GREY and stats.ir_colour >= _COLOURED,
        "whose IR file has colour while its RGB file has none: probably swapped",
        "swap the two files",
        _format_colour,
    ),
    _Rule(
        "rgb-grey",
        lambda stats: (
            not is_copy(stats) and not _is_dead(stats) and stats.rgb_colour <= _GREY and stats.ir_colour < _COLOURED
        ),
        "whose RGB file has no colour (a grey camera, or two thermal files)",
        "look at such pairs; without colour it can't be decided whether the modalities are swapped",
        _format_colour,
        "warning",
    ),
    _Rule(
        "ir-coloured",
        lambda stats: not is_copy(stats) and stats.rgb_colour > _GREY and stats.ir_colour >= _COLOURED,
        "whose IR file has colour: false colours, or a visible image of another moment",
        "store temperatures in grey; false colours are converted to brightness, which is not monotonic",
        _format_colour,
        "warning",
    ),
    _Rule(
        "dead-ir",
        lambda stats: stats.ir_std < _DEAD_STD and not _is_outside(stats),
        "whose IR image is constant, or nearly",
        "a shutter was closed, the file was written empty, or its counts fill a small part of ir_window: remove such "
        "pairs, or make them a source with an ir_window of its own",
        _format_std,
    ),
    _Rule(
        "outside-ir",
        _is_outside,
        "whose IR counts lie outside ir_window: black or white for the model",
        "was it another camera, or the other gain of one? Make such pairs a source with an ir_window of its own",
        _format_counts,
    ),
    _Rule(
        "dead-rgb",
        lambda stats: stats.rgb_std < _DEAD_STD,
        "whose RGB image is constant",
        "remove such pairs: the lens was covered, or the file was written empty",
        _format_std,
    ),
    _Rule(
        "poor-ir",
        lambda stats: stats.ir_std >= _DEAD_STD and stats.ir_range < _POOR_RANGE and not _is_outside(stats),
        f"whose IR image uses fewer than {_POOR_RANGE:.0f} of 255 levels",
        "widen ir_window, or stretch the images",
        lambda stats: f"{stats.ir_range:.0f} levels",
        "warning",
    ),
    _Rule(
        "clipped-ir",
        lambda stats: stats.ir_clipped > _CLIPPED and stats.ir_std >= _DEAD_STD and not _is_outside(stats),
        f"with more than {_CLIPPED:.0%} of their IR pixels at the end of the scale",
        "look at such pairs; where the files hold more, give another ir_window",
        lambda stats: f"{stats.ir_clipped:.0%}",
        "note",
        "warning",
    ),
    _Rule(
        "missing-ir",
        lambda stats: stats.ir_missing > _MISSING,
        f"with more than {_MISSING:.0%} of their IR pixels not measured (NaN, infinite, or GDAL_NODATA)",
        "look at such pairs: NaN is read as black, other values as ir_window says; crop the images if it is a border",
        lambda stats: f"{stats.ir_missing:.0%}",
        "warning",
    ),
    _Rule(
        "clipped-rgb",
        lambda stats: stats.rgb_clipped > _CLIPPED and stats.rgb_std >= _DEAD_STD,
        f"with more than {_CLIPPED:.0%} of their RGB pixels overexposed",
        "",
        lambda stats: f"{stats.rgb_clipped:.0%}",
        "note",
    ),
    _Rule(
        "swapped-bytes",
        lambda stats: stats.ir_swapped,
        "whose 16-bit IR file is noise, but an image with the bytes of each count swapped",
        "swap them, as for the raw images in a camera's JPEG: numpy's byteswap() and save again",
        _format_counts,
    ),
    _Rule(
        "shallow-ir",
        lambda stats: stats.ir_levels[1] > 0 and (stats.ir_levels[1] < 256 or stats.ir_levels[2] in (256, 257)),
        "with 8 bits of IR in a 16-bit file",
        "store the camera's original counts, or 8-bit files; check ir_window",
        lambda stats: "counts {} .. {} in steps of {}".format(*stats.ir_levels),
        "warning",
    ),
)


def looks_swapped(rgb: str | Path | ByteArray, ir: str | Path | ByteArray) -> bool:
    """Return whether an IR image has colour while the RGB image has none, as by the rule ``swapped``."""
    return image_colour(rgb) <= _GREY and image_colour(ir) >= _COLOURED


def check_pixels(split: Split) -> list[Finding]:
    """Apply all rules for single pairs to a split."""
    measured = list(split.measured())
    findings = [_apply(rule, split.name, measured) for rule in _RULES]
    return [*(finding for finding in findings if finding is not None), *_mixed_depth(split)]


def _apply(rule: _Rule, where: str, measured: Sequence[tuple[PairRecord, PairStats]]) -> Finding | None:
    affected = [(record, stats) for record, stats in measured if rule.applies(stats)]
    if not affected:
        return None
    count, total = len(affected), len(measured)
    is_most, advice = 2 * count > total, rule.advice
    severity = (rule.severity_of_most if is_most else None) or rule.severity or severity_by_share(count, total)
    if rule.kind == "swapped" and is_most:
        advice = "swap the folders in the descriptor: most pairs are affected"
    return Finding(
        kind=rule.kind,
        severity=severity,
        where=where,
        text=f"{plural(count, 'pair')} {rule.text}",
        advice=advice,
        count=count,
        total=total,
        examples=first_examples([f"{record.key} ({rule.format_values(stats)})" for record, stats in affected]),
        images=tuple(
            draw_pair(record, rule.format_values(stats))
            for record, stats in affected[: _DRAWN if severity != "note" else 1]
        ),
    )


def _mixed_depth(split: Split) -> list[Finding]:
    depths, counts = np.unique(split.pairs.scan.ir_bits, return_counts=True)
    if len(depths) < 2:
        return []
    listed = ", ".join(f"{count} of {bits} bits" for bits, count in zip(depths.tolist(), counts.tolist(), strict=True))
    text = f"IR files of several bit depths: {listed}"
    return [Finding("mixed-depth", "note", split.name, text, "check that each source has its own ir_window")]
