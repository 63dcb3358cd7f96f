"""Findings about single pairs' pixels: copies of one modality, exchanged modalities, dead and poor frames, depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from yolofuse.check.findings import Finding, Severity, by_share, plural, some
from yolofuse.check.pair_stats import PairFacts
from yolofuse.check.pictures import draw_pair
from yolofuse.check.split_data import Split
from yolofuse.types import PairRecord

_COPY, _COPY_DETAIL = 0.975, 0.9
"""Near infrared through one lens reaches 0.93 and 0.95, thermal images 0.87 and 0.52; copies have 0.99 and 0.955."""
_GREY_COPY, _GREY_COPY_DETAIL = 0.93, 0.6
"""Where RGB has no colour: noise of a thermal image that is compressed twice leaves copies 0.96 and 0.76."""
_GREY, _COLOURED = 4.0, 10.0
"""Grey images compressed as colour reach 3, a visible camera by night has 11 or more."""
_DEAD = 1.0
_POOR_RANGE = 20.0
_CLIPPED = 0.5
_HALF = 0.5
_DRAWN = 3


def is_copy(facts: PairFacts) -> bool:
    """Whether both files show what one camera saw."""
    if facts.rgb_colour <= _GREY:
        return facts.likeness >= _GREY_COPY and facts.detail_likeness >= _GREY_COPY_DETAIL
    return facts.likeness >= _COPY and facts.detail_likeness >= _COPY_DETAIL


def _is_dead(facts: PairFacts) -> bool:
    return min(facts.rgb_spread, facts.ir_spread) < _DEAD


@dataclass(frozen=True, slots=True)
class _Rule:
    """A fault of single pairs: how it shows, how bad it is, what to say."""

    kind: str
    holds: Callable[[PairFacts], bool]
    text: str
    advice: str
    figures: Callable[[PairFacts], str]
    severity: Severity | None = None
    """None: by share."""


def _likeness(facts: PairFacts) -> str:
    return f"correlation {facts.likeness:.3f}, of detail {facts.detail_likeness:.3f}"


def _colours(facts: PairFacts) -> str:
    return f"colour {facts.rgb_colour:.0f} in the RGB file, {facts.ir_colour:.0f} in the IR file"


def _spreads(facts: PairFacts) -> str:
    return f"spread {facts.rgb_spread:.1f} in RGB, {facts.ir_spread:.1f} in IR, of 255"


_RULES = (
    _Rule(
        "ir-is-rgb",
        lambda facts: is_copy(facts) and facts.rgb_colour > _GREY,
        "whose IR file is the RGB image, in grey or as it is",
        "put the thermal file there; the pair has one modality only",
        _likeness,
    ),
    _Rule(
        "rgb-is-ir",
        lambda facts: is_copy(facts) and facts.rgb_colour <= _GREY,
        "whose RGB file holds no colour and shows what the IR file shows",
        "put the visible file there; the pair has one modality only",
        _likeness,
    ),
    _Rule(
        "swapped",
        lambda facts: not is_copy(facts) and facts.rgb_colour <= _GREY and facts.ir_colour >= _COLOURED,
        "whose IR file has colour while its RGB file has none: probably exchanged",
        "exchange the two files",
        _colours,
    ),
    _Rule(
        "rgb-grey",
        lambda facts: (
            not is_copy(facts) and not _is_dead(facts) and facts.rgb_colour <= _GREY and facts.ir_colour < _COLOURED
        ),
        "whose RGB file has no colour (a grey camera, or two thermal files)",
        "look at them; whether the modalities are exchanged can't be told without colour",
        _colours,
        "warning",
    ),
    _Rule(
        "ir-coloured",
        lambda facts: not is_copy(facts) and facts.rgb_colour > _GREY and facts.ir_colour >= _COLOURED,
        "whose IR file has colour: false colours, or a visible image of another moment",
        "store temperatures in grey; false colours are read as brightness, which is not monotonous",
        _colours,
        "warning",
    ),
    _Rule(
        "dead-ir",
        lambda facts: facts.ir_spread < _DEAD,
        "whose IR image is constant",
        "remove them: a shutter was closed, or the file was written empty",
        _spreads,
    ),
    _Rule(
        "dead-rgb",
        lambda facts: facts.rgb_spread < _DEAD,
        "whose RGB image is constant",
        "remove them: the lens was covered, or the file was written empty",
        _spreads,
    ),
    _Rule(
        "poor-ir",
        lambda facts: facts.ir_spread >= _DEAD and facts.ir_range < _POOR_RANGE,
        f"whose IR image uses fewer than {_POOR_RANGE:.0f} of 255 levels",
        "widen ir_window, or stretch the images",
        lambda facts: f"{facts.ir_range:.0f} levels",
        "warning",
    ),
    _Rule(
        "clipped-ir",
        lambda facts: facts.ir_clipped > _CLIPPED and facts.ir_spread >= _DEAD,
        f"with more than {_CLIPPED:.0%} of their IR pixels at the end of the scale",
        "",
        lambda facts: f"{facts.ir_clipped:.0%}",
        "note",
    ),
    _Rule(
        "clipped-rgb",
        lambda facts: facts.rgb_clipped > _CLIPPED and facts.rgb_spread >= _DEAD,
        f"with more than {_CLIPPED:.0%} of their RGB pixels blown out",
        "",
        lambda facts: f"{facts.rgb_clipped:.0%}",
        "note",
    ),
    _Rule(
        "shallow-ir",
        lambda facts: facts.ir_levels[1] > 0 and (facts.ir_levels[1] < 256 or facts.ir_levels[2] in (256, 257)),
        "with 8 bits of IR in a 16-bit file",
        "store counts as the camera gave them, or 8-bit files; check ir_window",
        lambda facts: "counts {} .. {} in steps of {}".format(*facts.ir_levels),
        "warning",
    ),
)


def judge_pixels(split: Split) -> list[Finding]:
    """Faults that a pair's own pixels show."""
    measured = list(split.measured())
    found = [_apply(rule, split.name, measured) for rule in _RULES]
    return [*(finding for finding in found if finding is not None), *_mixed_depth(split)]


def _apply(rule: _Rule, where: str, measured: Sequence[tuple[PairRecord, PairFacts]]) -> Finding | None:
    hits = [(record, facts) for record, facts in measured if rule.holds(facts)]
    if not hits:
        return None
    count, total = len(hits), len(measured)
    advice = rule.advice
    if rule.kind == "swapped" and count > _HALF * total:
        advice = "exchange the folders in the descriptor: nearly all pairs are so"
    return Finding(
        kind=rule.kind,
        severity=rule.severity or by_share(count, total),
        where=where,
        text=f"{plural(count, 'pair')} {rule.text}",
        advice=advice,
        count=count,
        total=total,
        examples=some([f"{record.key} ({rule.figures(facts)})" for record, facts in hits]),
        pictures=tuple(
            draw_pair(f"{rule.kind}-{where}-{record.image_id}", record, rule.figures(facts))
            for record, facts in hits[: _DRAWN if rule.severity != "note" else 1]
        ),
    )


def _mixed_depth(split: Split) -> list[Finding]:
    depths, counts = np.unique(split.pairs.scan.ir_bits, return_counts=True)
    if len(depths) < 2:
        return []
    listed = ", ".join(f"{count} of {bits} bits" for bits, count in zip(depths.tolist(), counts.tolist(), strict=True))
    text = f"IR files of several depths: {listed}"
    return [Finding("mixed-depth", "note", split.name, text, "check that each source has its own ir_window")]
