"""Check the balance of a data set: classes that are rare or missing, day and night."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from yolofuse.check.findings import Finding
from yolofuse.check.pair_stats import Split
from yolofuse.errors import plural
from yolofuse.types import IntArray

_RARE_SHARE, _RARE_COUNT = 0.02, 20
_IMBALANCE = 50
_NIGHT_SKY = 120
"""Of 255: a darker upper third counts as night, for pairs without tags."""
_ABSENT, _PRESENT = 0.02, 0.10
_LIGHT_SHIFT = 0.3
_DAY_NIGHT = ("day", "night")


def class_counts(split: Split) -> IntArray:
    """Count the boxes of each class."""
    scan = split.pairs.scan
    return np.bincount(scan.class_ids[~scan.crowd], minlength=len(split.pairs.names)).astype(np.int64)


def check_classes(train: Split, others: Sequence[Split]) -> list[Finding]:
    """Find classes that are missing in training, missing in another split, or rare."""
    names = train.pairs.names
    counts = class_counts(train)
    findings = []
    elsewhere = sum((class_counts(split) for split in others), np.zeros(len(names), np.int64))
    unseen = [name for name, here, there in zip(names, counts, elsewhere, strict=True) if not here and there]
    unused = [name for name, here, there in zip(names, counts, elsewhere, strict=True) if not here and not there]
    if unseen:
        text = f"{', '.join(unseen)}: in other splits, but never in {train.name}: nothing to learn from"
        advice = "move pairs, or drop what has none from names"
        findings.append(Finding("class-unseen", "error", train.name, text, advice, len(unseen), len(names)))
    if unused:
        text = f"{', '.join(unused)}: named by the descriptor, but without a single box"
        advice = "drop what has none from names"
        findings.append(Finding("class-unused", "warning", "all", text, advice, len(unused), len(names)))
    for split in others:
        missing = [
            name for name, tested in zip(names, class_counts(split), strict=True) if not tested and name not in unused
        ]
        if missing:
            text, advice = f"{', '.join(missing)}: never in {split.name}, so AP says nothing of that", "move pairs"
            findings.append(Finding("class-untested", "warning", split.name, text, advice, len(missing), len(names)))
    return [*findings, *_frequencies(train, counts)]


def _frequencies(train: Split, counts: IntArray) -> Iterator[Finding]:
    """Find rare classes, and a large ratio between the most frequent and the rarest."""
    names, total = train.pairs.names, int(counts.sum())
    if not total or len(names) < 2:
        return
    rare = [
        f"{name} {count}" for name, count in zip(names, counts.tolist(), strict=True)
        if count > 0 and (count < _RARE_SHARE * total or count < _RARE_COUNT)
    ]  # fmt: skip
    if rare:
        text = f"of {plural(total, 'box')}: {', '.join(rare)}; AP of so few is mostly chance"
        advice = "collect more, and don't rely on that AP"
        yield Finding("class-rare", "warning", train.name, text, advice, len(rare), len(names))
    used = counts[counts > 0]
    if used.max() >= _IMBALANCE * used.min():
        text = f"the most frequent class has {used.max() / used.min():.0f} times the boxes of the rarest"
        yield Finding("imbalance", "warning", train.name, text, "weight or resample the classes", 0, total)


@dataclass(frozen=True, slots=True)
class LightCounts:
    """Pairs by day and night."""

    tagged: Counter[str] = field(default_factory=Counter)  # by their tags; empty if no pair has one
    estimated: Counter[str] = field(default_factory=Counter)  # by the brightness of the visible image's upper third
    num_agreeing: int = 0  # tagged pairs whose estimate agrees with the tag

    @property
    def counts(self) -> Counter[str]:
        """By tags if there are any, otherwise estimated."""
        return self.tagged or self.estimated

    @property
    def source(self) -> str:
        """Where ``counts`` comes from."""
        return "tags" if self.tagged else "estimated from RGB, roughly"

    def share(self, light: str) -> float:
        """Return the share of ``day`` or ``night``."""
        return self.counts[light] / self.counts.total()


def count_light(split: Split) -> LightCounts:
    """Count the pairs by day and by night."""
    tagged: Counter[str] = Counter()
    estimated: Counter[str] = Counter()
    num_agreeing = 0
    for record, stats in split.measured():
        estimate = "night" if stats.sky < _NIGHT_SKY else "day"
        estimated[estimate] += 1
        tag = light_tag(record.tags)
        if tag:
            tagged[tag] += 1
            num_agreeing += tag == estimate
    return LightCounts(tagged, estimated, num_agreeing)


def light_tag(tags: Mapping[str, str]) -> str | None:
    """Return the first of a pair's tags whose value is day or night."""
    return next((value.lower() for value in tags.values() if value.lower() in _DAY_NIGHT), None)


def check_light(train: Split, others: Sequence[Split]) -> list[Finding]:
    """Report the balance of day and night, and find light that is evaluated but hardly trained on."""
    findings = []
    lights = {split.name: count_light(split) for split in (train, *others)}
    lights = {name: light for name, light in lights.items() if light.counts}
    for name, light in lights.items():
        counts, extra = light.counts, ""
        if light.tagged:
            agreement = light.num_agreeing / light.tagged.total()
            extra = f"; brightness of the upper third agrees with {agreement:.0%} of the tags"
        text = f"{counts['day']} day, {counts['night']} night ({light.source}){extra}"
        findings.append(Finding("light", "note", name, text, "", counts["night"], counts.total()))
    if train.name in lights:
        for split in others:
            if split.name in lights:
                findings += _compare_light(train.name, lights[train.name], split.name, lights[split.name])
    return findings


def _compare_light(train: str, trained: LightCounts, other: str, tested: LightCounts) -> Iterator[Finding]:
    for light in ("night", "day"):
        here, learnt = tested.share(light), trained.share(light)
        if here >= _PRESENT and learnt < _ABSENT:
            text = f"{here:.0%} of {other} is {light}, but only {learnt:.0%} of {train} ({tested.source})"
            advice = f"add {light} pairs to {train}"
            yield Finding("light-unseen", "warning" if tested.tagged else "note", other, text, advice)
    here, learnt = tested.share("night"), trained.share("night")
    if abs(here - learnt) >= _LIGHT_SHIFT and min(here, 1 - here, learnt, 1 - learnt) >= _ABSENT:
        text = f"night is {here:.0%} of {other} and {learnt:.0%} of {train} ({tested.source})"
        yield Finding("light-shift", "note", other, text)
