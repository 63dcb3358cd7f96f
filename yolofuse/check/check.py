"""The whole check: survey each split, measure its pairs, and let every judge speak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from yolofuse.check.charts import draw_charts
from yolofuse.check.findings import Finding, Report, some, worst_first
from yolofuse.check.pair_stats import measure_pairs
from yolofuse.check.rules.boxes import judge_boxes
from yolofuse.check.rules.class_balance import class_counts, judge_classes, judge_light
from yolofuse.check.rules.duplicates import judge_leaks, judge_twins
from yolofuse.check.rules.files import judge_files
from yolofuse.check.rules.pixels import judge_pixels
from yolofuse.check.rules.registration import judge_alignment, measure_shifts
from yolofuse.check.split_data import Split
from yolofuse.data.descriptor.schema import DatasetDescriptor
from yolofuse.data.index.lenient_load import load_pairs_with_problems
from yolofuse.errors import ConfigError, DataError, listing

_TRAIN = "train"


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """How a data set is checked.

    Attributes:
        splits: Which splits; empty for all.
        sample: Up to how many pairs of a split the costly checks look at.
        imgsz: Longest side of an image in training, in pixels.
        workers: Threads.

    Raises:
        ConfigError: If a number is out of bounds.
    """

    splits: tuple[str, ...] = ()
    sample: int = 500
    imgsz: int = 640
    workers: int = 2

    def __post_init__(self) -> None:
        given = (("sample", self.sample), ("imgsz", self.imgsz), ("workers", self.workers))
        wrong = [f"--{name}: must be 1 or more (got {value})" for name, value in given if value < 1]
        if wrong:
            raise ConfigError(listing("check", wrong, "wrong value"))


def check(descriptor: DatasetDescriptor, options: CheckOptions | None = None) -> Report:
    """Everything that is wrong with a data set.

    Raises:
        ConfigError: If a split that was asked for does not exist.
    """
    options = options or CheckOptions()
    names = options.splits or tuple(descriptor.splits)
    unknown = [
        f"no split {name!r}; it has {', '.join(descriptor.splits)}" for name in names if name not in descriptor.splits
    ]
    if unknown:
        raise ConfigError(listing(str(descriptor.path), unknown, "wrong split"))
    findings: list[Finding] = []
    splits = []
    for name in dict.fromkeys(names):
        try:
            found = load_pairs_with_problems(descriptor, name, workers=options.workers)
        except DataError as error:  # not one good pair: told beside what the other splits have
            findings.append(_unusable(name, error))
            continue
        facts, faults = measure_pairs(found.pairs.records, workers=options.workers, where=f"{descriptor.path} [{name}]")
        splits.append(Split(name, found.pairs, facts, found.problems, found.warnings))
        if faults:
            text = f"{len(faults)} images could not be read a second time; is the disk failing?"
            findings.append(Finding("unstable", "error", name, text, "", len(faults), len(facts), some(faults)))
    shifts = {split.name: measure_shifts(split, options.sample, options.workers) for split in splits}
    for split in splits:
        findings += judge_files(split, descriptor.root)
        findings += judge_boxes(split, options.imgsz)
        findings += judge_pixels(split)
        findings += judge_alignment(split, shifts[split.name])
        findings += judge_twins(split, options.sample)
    if splits:
        findings += _between(splits)
    charts = draw_charts(splits, shifts, options.imgsz) if splits else ()
    columns = tuple(split.name for split in splits)
    return Report(str(descriptor.path), worst_first(findings), _figures(splits), columns, charts)


def _unusable(name: str, error: DataError) -> Finding:
    head, *lines = str(error).splitlines()
    return Finding("unusable", "error", name, f"the split can't be read: {head}", "mend it", 1, 1, some(lines))


def _between(splits: Sequence[Split]) -> list[Finding]:
    """What only shows when splits are compared."""
    train = next((split for split in splits if split.name == _TRAIN), splits[0])
    others = [split for split in splits if split is not train]
    findings = [*judge_classes(train, others), *judge_light(train, others)]
    for number, one in enumerate((train, *others)):
        for other in (train, *others)[number + 1 :]:
            findings += judge_leaks(one, other)
    return findings


def _figures(splits: Sequence[Split]) -> tuple[tuple[str, ...], ...]:
    if not splits:
        return ()
    counts = [class_counts(split) for split in splits]
    rows = [
        ("whole pairs", *(str(len(split.pairs)) for split in splits)),
        ("faults of files", *(str(len(split.problems)) for split in splits)),
        ("without a box", *(str(split.pairs.num_backgrounds) for split in splits)),
        ("boxes", *(str(split.pairs.num_boxes) for split in splits)),
    ]
    rows += [
        (f"  {name}", *(str(of_split[index]) for of_split in counts))
        for index, name in enumerate(splits[0].pairs.names)
    ]
    rows.append(("sizes", *(_sizes(split) for split in splits)))
    return tuple(rows)


def _sizes(split: Split) -> str:
    sizes = np.unique(split.pairs.sizes_hw, axis=0)
    return f"{sizes[0][1]}x{sizes[0][0]}" if len(sizes) == 1 else f"{len(sizes)} sizes"
