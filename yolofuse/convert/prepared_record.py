"""Describe a prepared folder in ``prepared.json``: source, options, counts, and what was left out.

It holds no dates, so that the same source and options give the same bytes.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from yolofuse.convert.classes import ClassChoice
from yolofuse.convert.clip import KeptPair
from yolofuse.convert.conversion_plan import Json, Option, Plan
from yolofuse.convert.output_folder import MADE_BY
from yolofuse.convert.source_folder import SourceFolder
from yolofuse.convert.writer import ImageMode, LabelFormat, splits_of
from yolofuse.data.index.matches import stamp_of

VERSION = 2
"""Raise it whenever the same source and options would give another folder."""


def recorded_options(
    options: Mapping[str, Option], choice: ClassChoice, images: ImageMode, label_format: LabelFormat, any_size: bool
) -> dict[str, Json]:
    """Return all options of a conversion as JSON values."""
    own: dict[str, Json] = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
    return {
        **own,
        "images": images,
        "form": label_format,
        "any_size": any_size,
        "classes": list(choice.classes) if choice.classes else None,
        "drop": [*choice.drop],
    }


def make_record(
    format_name: str,
    source: SourceFolder,
    plan: Plan,
    pairs: Sequence[KeptPair],
    options: Mapping[str, Json],
    num_clipped: int,
) -> dict[str, Json]:
    """Return the content of ``prepared.json``."""
    by_split = {split: [pair for pair in pairs if pair.source.split == split] for split in splits_of(pairs)}
    record: dict[str, Json] = {
        "made_by": MADE_BY,
        "version": VERSION,
        "format": format_name,
        "options": dict(options),
        "source_sha256": _signature(source, plan),
        "annotations_sha256": source.annotations_hash(),
        "names": list(plan.names),
        "counts": {
            f"labels{label_set.suffix}": {split: _counts(plan, found, number) for split, found in by_split.items()}
            for number, label_set in enumerate(plan.label_sets)
        },
        "boxes_cut_at_the_border": num_clipped,
        "left_out": _left_out(source),
        "warnings": [*source.all_warnings()],
        **plan.facts,
    }
    if options["images"] == "link" and not plan.border:
        record["links_to"] = str(source.root)
    return record


def _left_out(source: SourceFolder) -> dict[str, Json]:
    """Return count and first examples by reason, with paths relative to the data set's root."""
    root = f"{source.root}/"
    return {
        reason: {"count": count, "first": [example.replace(root, "") for example in examples]}
        for reason, (count, examples) in source.left_out().items()
    }


def _counts(plan: Plan, pairs: Sequence[KeptPair], number: int) -> Json:
    """Return the counts of one split with the label set of this number."""
    lists = [pair.boxes[number] for pair in pairs]
    per_class = Counter(box.class_id for boxes in lists for box in boxes if not box.ignore)
    return {
        "pairs": len(pairs),
        "boxes": per_class.total(),
        "ignore_regions": sum(box.ignore for boxes in lists for box in boxes),
        "backgrounds": sum(not any(not box.ignore for box in boxes) for boxes in lists),
        "classes": {name: per_class[index] for index, name in enumerate(plan.names)},
    }


def originals_stamp(plan: Plan) -> str:
    """Return a hash over size, times and inode of every image: a copy is old if its original was replaced."""
    stamps = [stamp_of(path) for pair in plan.pairs for path in (pair.rgb, pair.ir)]
    return hashlib.sha256(repr(stamps).encode()).hexdigest()


def _signature(source: SourceFolder, plan: Plan) -> str:
    """Return a hash over the content of every annotation read, and over name and size of every image."""
    digest = hashlib.sha256(f"{VERSION} {source.annotations_hash()}\n".encode())
    for pair in plan.pairs:
        for path in (pair.rgb, pair.ir):
            digest.update(f"{source.name_of(path)}\0{path.stat().st_size}\n".encode())
    return digest.hexdigest()
