"""Findings about what a split holds: classes that are rare or missing, day and night."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from yolofuse.check.findings import Finding, Severity, plural
from yolofuse.check.split_data import Split
from yolofuse.types import IntArray

_RARE_SHARE, _RARE_COUNT = 0.02, 20
_MANY_TIMES = 50
_DARK_SKY = 120
"""Of 255. Tags are believed where they are given; this is for sets without."""
_ABSENT, _PRESENT = 0.02, 0.10
_SHIFT = 0.3
_LIGHT = ("day", "night")
_TAGS = "tags"


def class_counts(split: Split) -> IntArray:
    """Boxes of each class."""
    scan = split.pairs.scan
    return np.bincount(scan.class_ids[~scan.crowd], minlength=len(split.pairs.names)).astype(np.int64)


def judge_classes(train: Split, others: Sequence[Split]) -> list[Finding]:
    """Classes that training never sees, that nothing tests, or that hardly occur."""
    names = train.pairs.names
    counts = class_counts(train)
    found = []
    elsewhere = sum((class_counts(split) for split in others), np.zeros(len(names), np.int64))
    unseen = [name for name, here, there in zip(names, counts, elsewhere, strict=True) if not here and there]
    unused = [name for name, here, there in zip(names, counts, elsewhere, strict=True) if not here and not there]
    if unseen:
        text = f"{', '.join(unseen)}: in other splits, but never in {train.name}; it can't be learnt"
        found.append(
            Finding("class-unseen", "error", train.name, text, "move pairs, or drop the class", len(unseen), len(names))
        )
    if unused:
        text = f"{', '.join(unused)}: named by the descriptor, but without a single box"
        found.append(
            Finding("class-unused", "warning", "all", text, "drop the class from names", len(unused), len(names))
        )
    for split in others:
        here = class_counts(split)
        missing = [name for name, learnt, tested in zip(names, counts, here, strict=True) if learnt and not tested]
        if missing:
            text = f"{', '.join(missing)}: never in {split.name}; its AP says nothing about it"
            found.append(Finding("class-untested", "warning", split.name, text, "move pairs", len(missing), len(names)))
    total = int(counts.sum())
    if total and len(names) > 1:
        rare = [
            f"{name} {count}" for name, count in zip(names, counts.tolist(), strict=True)
            if count > 0 and (count < _RARE_SHARE * total or count < _RARE_COUNT)
        ]  # fmt: skip
        if rare:
            text = f"of {plural(total, 'box')}: {', '.join(rare)}; its AP will be mostly chance"
            advice = "collect more of it, and don't read its AP"
            found.append(Finding("class-rare", "warning", train.name, text, advice, len(rare), len(names)))
        used = counts[counts > 0]
        if used.max() >= _MANY_TIMES * used.min():
            text = f"the most frequent class has {used.max() / used.min():.0f} times the boxes of the rarest"
            found.append(Finding("imbalance", "warning", train.name, text, "weigh or resample", 0, total))
    return found


def lights(split: Split) -> tuple[Counter[str], Counter[str], float | None]:
    """Pairs by day and night: as tagged, as estimated from RGB, and the share in which both agree."""
    tagged: Counter[str] = Counter()
    estimated: Counter[str] = Counter()
    agree = 0
    for record, facts in split.measured():
        guess = "night" if facts.sky < _DARK_SKY else "day"
        estimated[guess] += 1
        word = light_tag(record.tags)
        if word:
            tagged[word] += 1
            agree += word == guess
    return tagged, estimated, agree / tagged.total() if tagged else None


def light_tag(tags: Mapping[str, str]) -> str | None:
    """The first of a pair's tags that says day or night."""
    return next((value.lower() for value in tags.values() if value.lower() in _LIGHT), None)


def judge_light(train: Split, others: Sequence[Split]) -> list[Finding]:
    """Light that is tested but hardly trained, and what the balance is."""
    found = []
    shares, sources = {}, {}
    for split in (train, *others):
        tagged, estimated, agreement = lights(split)
        counts = tagged or estimated
        if not counts:
            continue
        shares[split.name] = counts["night"] / counts.total()
        sources[split.name] = _TAGS if tagged else "estimated from RGB, roughly"
        extra = (
            f"; brightness of the upper third agrees with {agreement:.0%} of the tags" if agreement is not None else ""
        )
        text = f"{counts['day']} day, {counts['night']} night ({sources[split.name]}){extra}"
        found.append(Finding("light", "note", split.name, text, "", counts["night"], counts.total()))
    if train.name not in shares:
        return found
    of_train = shares[train.name]
    for split in others:
        share = shares.get(split.name)
        if share is None:
            continue
        for word, here, learnt in (("night", share, of_train), ("day", 1 - share, 1 - of_train)):
            if here >= _PRESENT and learnt < _ABSENT:
                source = sources[split.name]
                text = f"{here:.0%} of {split.name} is {word}, but only {learnt:.0%} of {train.name} ({source})"
                severity: Severity = "warning" if source == _TAGS else "note"
                advice = f"add {word} pairs to {train.name}"
                found.append(Finding("light-unseen", severity, split.name, text, advice))
        if abs(share - of_train) >= _SHIFT and min(share, 1 - share, of_train, 1 - of_train) >= _ABSENT:
            text = f"night is {share:.0%} of {split.name} and {of_train:.0%} of {train.name} ({sources[split.name]})"
            found.append(Finding("light-shift", "note", split.name, text))
    return found
