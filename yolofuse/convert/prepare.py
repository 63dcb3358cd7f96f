"""Convert a published data set: plan, clip, compare with what is there, write, swap."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolofuse.convert.classes import ClassChoice
from yolofuse.convert.clip import KeptPair, clip_plan
from yolofuse.convert.conversion_plan import Json, Option, Plan
from yolofuse.convert.formats import FORMATS
from yolofuse.convert.output_folder import (
    PREPARED,
    build_folder,
    check_output,
    check_replaceable,
    read_record,
    record_files,
    recover_interrupted,
)
from yolofuse.convert.prepared_record import make_record, originals_stamp, recorded_options
from yolofuse.convert.source_folder import SourceFolder
from yolofuse.convert.writer import ImageMode, LabelFormat, WriteOptions, descriptor_name, expected_files, write_tree
from yolofuse.files import read_regular, save_json

_MAX_WARNED = 5
_IGNORED = "ignore regions, which YOLO text files can't say (--to coco keeps them)"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prepared folder."""

    descriptor: Path  # its ``data.yaml``
    is_new: bool  # False if it existed already, made of the same source with the same options
    record: Mapping[str, Json]  # content of ``prepared.json``

    def empty_splits(self) -> list[str]:
        """Return a message for each split without a single box."""
        counts: Any = self.record["counts"]
        return [
            f"{split}: none of its {found['pairs']} pairs has a box in {labels}"
            for labels, splits in counts.items()
            for split, found in splits.items()
            if not found["boxes"]
        ]


def prepare(
    format_name: str,
    src: Path,
    out: Path,
    *,
    options: Mapping[str, Option] | None = None,
    choice: ClassChoice | None = None,
    images: ImageMode = "link",
    label_format: LabelFormat | None = None,
    any_size: bool = False,
    force: bool = False,
) -> Prepared:
    """Make ``out`` from the published data set in ``src``, which is only ever read.

    The folder appears whole or not at all. One that was made of the same source with the same options stays as it is;
    an older one made by this function is replaced if nothing in it was added or changed since. Annotations count as
    equal by content, images by name and size, and those that are copied also by the times of their files.

    Args:
        format_name: A key of ``FORMATS``.
        src: The unpacked data set.
        out: Folder to make.
        options: Keyword arguments of the format's ``plan``.
        choice: Which classes to keep and to drop; by default those of published practice.
        images: ``link`` or ``copy``. Images that must be cropped are always encoded again.
        label_format: ``yolo`` or ``coco``; by default what the format needs.
        any_size: Read boxes as pixels of the image even where the annotations give it another size.
        force: Make it again even if nothing changed.

    Raises:
        DataError: With every problem of the source, or if ``out`` may not be written or replaced.
    """
    source = SourceFolder(src)
    recover_interrupted(check_output(out, source.folders))  # first, so that a failure below leaves the older folder
    known, choice, options = FORMATS[format_name], choice or ClassChoice(), options or {}
    label_format = label_format or known.label_format
    plan = known.plan(source, choice, **options)
    source.report_unused()
    if not plan.pairs and not source.problems:
        source.problems.append("no pairs found; is --src the folder that the format's help describes?")
    source.check()
    target = check_output(out, source.folders)  # again: a plan may add folders of originals
    pairs, num_clipped = _clip_and_check(source, plan, label_format, any_size)
    recorded = recorded_options(options, choice, images, label_format, any_size)
    record = make_record(format_name, source, plan, pairs, recorded, num_clipped)
    descriptor = target.path / descriptor_name(plan.label_sets[0])
    stamp = originals_stamp(plan) if plan.border or images == "copy" else ""
    if not force and _is_up_to_date(target.path, expected_files(plan, pairs, label_format), record, stamp):
        _log.info("%s: already made of this source with these options; nothing to do", target.path)
        return Prepared(descriptor, False, record)
    check_replaceable(target.path)
    head = (f"{known.title}, prepared by: yolofuse prepare {format_name}", *plan.comments)
    with build_folder(target) as folder:
        write_tree(folder, plan, pairs, WriteOptions(images, label_format, head, source.folders))
        record_files(folder, stamp)
        save_json(folder / PREPARED, record, indent=1)  # replaces the marker of an unfinished folder, at once
    _log_result(target.path, source, record)
    return Prepared(descriptor, True, record)


def _clip_and_check(
    source: SourceFolder, plan: Plan, label_format: LabelFormat, any_size: bool
) -> tuple[list[KeptPair], int]:
    """Return all pairs with their boxes clipped, and how many boxes became smaller by it.

    Raises:
        DataError: With every problem of images and boxes.
    """
    pairs, num_clipped = clip_plan(source, plan, any_size)
    _check_keys(source, pairs)
    if label_format == "yolo":
        _count_ignore_regions(source, pairs)
    source.check()
    return pairs, num_clipped


def _check_keys(source: SourceFolder, pairs: Sequence[KeptPair]) -> None:
    """Report pairs of one name in a split, which would overwrite each other."""
    counts = Counter((pair.source.split, pair.source.key) for pair in pairs)
    source.problems += [
        f"{split}/{key}: {count} pairs of this name" for (split, key), count in counts.items() if count > 1
    ]


def _count_ignore_regions(source: SourceFolder, pairs: Sequence[KeptPair]) -> None:
    """Note every ignore region as left out: YOLO text files have no field for it."""
    for pair in pairs:
        for boxes in pair.boxes:
            for _ in filter(lambda box: box.ignore, boxes):
                source.leave_out(_IGNORED, f"{pair.source.split}/{pair.source.key}")


def _is_up_to_date(out: Path, files: Sequence[str], record: Mapping[str, Json], stamp: str) -> bool:
    """Return whether the folder was made of the same source and options, and still has all its files."""
    try:
        if json.loads(read_regular(out / PREPARED)) != record or read_record(out)[0] != stamp:
            return False
    except (OSError, ValueError, RecursionError):
        return False
    missing = [name for name in files if not (out / name).is_file()]
    if missing:
        _log.warning("%s: %d of its files are missing (first %s); making it again", out, len(missing), missing[0])
    return not missing


def _log_result(out: Path, source: SourceFolder, record: Mapping[str, Json]) -> None:
    warnings = source.all_warnings()
    for warning in warnings[:_MAX_WARNED]:
        _log.warning(warning)
    if len(warnings) > _MAX_WARNED:
        _log.warning("... and %d more warnings in %s", len(warnings) - _MAX_WARNED, out / PREPARED)
    for reason, (count, examples) in source.left_out().items():
        _log.warning("left out: %d %s; first %s", count, reason, examples[0])
    counts = record["counts"]
    assert isinstance(counts, dict)
    for labels, splits in counts.items():
        assert isinstance(splits, dict)
        for split, found in splits.items():
            assert isinstance(found, dict)
            numbers = (found["pairs"], found["boxes"], found["backgrounds"])
            _log.info("%s [%s, %s]: %s pairs, %s boxes, %s backgrounds", out, split, labels, *numbers)
