"""Check a data set: load each split, measure its pairs, and apply all rules."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from yolofuse.check.charts import draw_charts
from yolofuse.check.findings import Finding, Report, first_examples, worst_first
from yolofuse.check.pair_stats import Split, measure_pairs
from yolofuse.check.rules.boxes import check_boxes
from yolofuse.check.rules.class_balance import check_classes, check_light, class_counts
from yolofuse.check.rules.duplicates import find_duplicates, find_leaks
from yolofuse.check.rules.files import check_files
from yolofuse.check.rules.frozen import find_frozen
from yolofuse.check.rules.pixels import check_pixels
from yolofuse.check.rules.registration import check_registration, measure_shifts
from yolofuse.check.rules.timing import check_timing
from yolofuse.data import DatasetDescriptor
from yolofuse.data.index.lenient_load import load_pairs_with_problems
from yolofuse.errors import ConfigError, DataError, listing, plural

_TRAIN = "train"


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """Options of a check.

    Raises:
        ConfigError: If a number is out of bounds.
    """

    splits: tuple[str, ...] = ()  # empty: all
    sample: int = 500  # maximum number of pairs of a split for the costly rules
    imgsz: int = 640  # longest side of an image in training, px
    workers: int = 2  # threads

    def __post_init__(self) -> None:
        given = (("sample", self.sample), ("imgsz", self.imgsz), ("workers", self.workers))
        wrong = [f"--{name}: must be 1 or more (got {value})" for name, value in given if value < 1]
        if wrong:
            raise ConfigError(listing("check", wrong, "wrong value"))


def check_dataset(descriptor: DatasetDescriptor, options: CheckOptions | None = None) -> Report:
    """Check a data set with all rules.

    Raises:
        ConfigError: If a requested split does not exist.
    """
    options = options or CheckOptions()
    splits, findings = _load_splits(descriptor, options)
    shifts = {split.name: measure_shifts(split, options.sample, options.workers) for split in splits}
    for split in splits:
        findings += check_files(split, descriptor.root)
        findings += check_boxes(split, options.imgsz)
        findings += check_pixels(split)
        findings += check_registration(split, shifts[split.name])
        findings += check_timing(split, options.sample, options.workers)
        findings += find_duplicates(split, options.sample)
        findings += find_frozen(split, options.sample)
    if splits:
        findings += _compare_splits(splits)
    return Report(
        data=str(descriptor.path),
        findings=worst_first(findings),
        splits=tuple(split.name for split in splits),
        counts=count_rows(splits),
        sizes=tuple(_image_sizes(split) for split in splits),
        charts=draw_charts(splits, shifts, options.imgsz) if splits else (),
    )


def _load_splits(descriptor: DatasetDescriptor, options: CheckOptions) -> tuple[list[Split], list[Finding]]:
    """Load and measure the requested splits; a split that can't be loaded becomes a finding."""
    names = options.splits or tuple(descriptor.splits)
    unknown = [
        f"no split {name!r}; it has {', '.join(descriptor.splits)}" for name in names if name not in descriptor.splits
    ]
    if unknown:
        raise ConfigError(listing(str(descriptor.path), unknown, "wrong split"))
    splits, findings = [], []
    for name in dict.fromkeys(names):
        try:
            loaded = load_pairs_with_problems(descriptor, name, workers=options.workers)
        except DataError as error:  # no pair can be read; the other splits are still checked
            head, *lines = str(error).splitlines()
            text, advice = f"the split can't be read: {head}", "fix its files or the descriptor"
            findings.append(Finding("unusable", "error", name, text, advice, 1, 1, first_examples(lines)))
            continue
        where = f"{descriptor.path} [{name}]"
        stats, errors = measure_pairs(loaded.pairs.records, workers=options.workers, where=where)
        splits.append(Split(name, loaded.pairs, stats, loaded.problems, loaded.warnings))
        if errors:
            text = f"{plural(len(errors), 'pair')} could not be read a second time; is the disk failing?"
            examples = first_examples(errors)
            findings.append(Finding("unstable", "error", name, text, "", len(errors), len(stats), examples))
    return splits, findings


def _compare_splits(splits: Sequence[Split]) -> list[Finding]:
    """Apply the rules that compare splits with each other."""
    train = next((split for split in splits if split.name == _TRAIN), splits[0])
    others = [split for split in splits if split is not train]
    findings = [*check_classes(train, others), *check_light(train, others)]
    for one, other in itertools.combinations((train, *others), 2):
        findings += find_leaks(one, other)
    return findings


def count_rows(splits: Sequence[Split]) -> tuple[tuple[str, ...], ...]:
    """Count pairs and boxes, in all and by class: rows of a name and a number for each split."""
    if not splits:
        return ()
    by_class = [class_counts(split) for split in splits]
    rows = {
        "readable pairs": [len(split.pairs) for split in splits],
        "file problems": [len(split.problems) for split in splits],
        "pairs without a box": [split.pairs.num_backgrounds for split in splits],
        "boxes": [split.pairs.num_boxes for split in splits],
    }
    rows |= {f"  {name}": [counts[i] for counts in by_class] for i, name in enumerate(splits[0].pairs.names)}
    return tuple((name, *map(str, numbers)) for name, numbers in rows.items())


def _image_sizes(split: Split) -> str:
    sizes = np.unique(split.pairs.sizes_hw, axis=0)
    return f"{sizes[0][1]}x{sizes[0][0]}" if len(sizes) == 1 else f"{len(sizes)} sizes"
