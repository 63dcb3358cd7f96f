"""Turn a published data set into a folder of ours: plan, clip, compare with what is there, write, swap."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from yolofuse.convert.classes import ClassChoice
from yolofuse.convert.clip import KeptPair, clip_plan
from yolofuse.convert.conversion_plan import Json, Option, Plan
from yolofuse.convert.formats import FORMATS
from yolofuse.convert.layout import Form, Images, Layout, descriptor_name, splits_of, write_tree
from yolofuse.convert.origin import Origin
from yolofuse.convert.place import MADE_BY, PREPARED, Place, building, choose_place, settle

VERSION = 2
"""Raise it whenever the same source and options would give another folder."""
_MAX_WARNED = 5
_IGNORED = "ignore regions, which YOLO text files can't say (--to coco keeps them)"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prepared folder.

    Attributes:
        descriptor: Its ``data.yaml``.
        is_new: False if it was there already, made of the same source with the same options.
        record: What ``prepared.json`` says.
    """

    descriptor: Path
    is_new: bool
    record: Mapping[str, Json]


def prepare(
    format_name: str,
    src: Path,
    out: Path,
    *,
    options: Mapping[str, Option] | None = None,
    choice: ClassChoice | None = None,
    images: Images = "link",
    form: Form | None = None,
    any_size: bool = False,
    force: bool = False,
) -> Prepared:
    """Make ``out`` from the published data set in ``src``, which is only ever read.

    The folder appears whole or not at all. One that was made of the same source with the same options stays as it is;
    an older one of ours is replaced. Images count as the same by name and size, annotations by content.

    Args:
        format_name: A key of ``FORMATS``.
        src: The unpacked data set.
        out: Folder to make.
        options: Keyword arguments of the format.
        choice: Which classes to keep and to drop; by default what published practice does.
        images: ``link`` or ``copy``. Images that must be cut are written anew.
        form: ``yolo`` or ``coco``; by default what the format needs.
        any_size: Take boxes as pixels of the image even where the annotations give it another size.
        force: Make it anew even if nothing changed.

    Raises:
        DataError: With every problem of the source, or if ``out`` is no place to write to.
    """
    origin = Origin(src)
    settle(choose_place(out, origin.folders))  # before anything can fail: an older folder is back in its place
    known = FORMATS[format_name]
    choice = choice or ClassChoice()
    plan = known.plan(origin, choice, **(options or {}))
    form = form or known.form
    if not plan.pairs and not origin.problems:
        origin.problems.append("no pairs found; is --src the folder that the format's help describes?")
    origin.check()
    place = choose_place(out, origin.folders)
    kept, num_cut = clip_plan(origin, plan, any_size)
    _check_keys(origin, kept)
    if form == "yolo":
        _note_ignored(origin, kept)
    origin.check()

    chosen = _chosen(options or {}, choice, images=images, form=form, any_size=any_size)
    record = _record(format_name, origin, plan, kept, chosen, num_cut)
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    descriptor = place.out / descriptor_name(plan.label_sets[0])
    if not force and _is_whole(place, plan, kept, form, text):
        _log.info("%s: made of this source with these options already; nothing to do", place.out)
        return Prepared(descriptor, False, record)
    head = (f"{known.title}, prepared by: yolofuse.cli.data prepare {format_name}", *plan.comments)
    with building(place) as folder:
        write_tree(folder, plan, kept, Layout(images, form, head, origin.folders))
        marker = folder / f".{PREPARED}"
        marker.write_text(text, encoding="utf-8")
        marker.replace(folder / PREPARED)
    _tell(place.out, origin, record)
    return Prepared(descriptor, True, record)


def _chosen(options: Mapping[str, Option], choice: ClassChoice, **common: Json) -> dict[str, Json]:
    """All options as JSON says them."""
    classes: Json = list(choice.classes) if choice.classes else None
    own: dict[str, Json] = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
    return {**own, **common, "classes": classes, "drop": [*choice.drop]}


def _check_keys(origin: Origin, kept: Sequence[KeptPair]) -> None:
    """Two pairs of one name in a split would overwrite each other."""
    counts = Counter((pair.source.split, pair.source.key) for pair in kept)
    origin.problems += [
        f"{split}/{key}: {count} pairs of this name" for (split, key), count in counts.items() if count > 1
    ]


def _note_ignored(origin: Origin, kept: Sequence[KeptPair]) -> None:
    for pair in kept:
        for boxes in pair.boxes:
            for _ in filter(lambda box: box.ignore, boxes):
                origin.leave_out(_IGNORED, f"{pair.source.split}/{pair.source.key}")


def _record(
    format_name: str,
    origin: Origin,
    plan: Plan,
    kept: Sequence[KeptPair],
    options: Mapping[str, Json],
    num_cut: int,
) -> dict[str, Json]:
    """What ``prepared.json`` says: no dates, so that the same source gives the same bytes."""
    labels: dict[str, Json] = {}
    for number, label_set in enumerate(plan.label_sets):
        splits: dict[str, Json] = {}
        for split in splits_of(kept):
            splits[split] = _counts(plan, [pair for pair in kept if pair.source.split == split], number)
        labels[f"labels{label_set.suffix}"] = splits
    left_out: dict[str, Json] = {
        reason: {"count": count, "first": [*examples]} for reason, (count, examples) in _shown(origin).items()
    }
    record: dict[str, Json] = {
        "made_by": MADE_BY,
        "version": VERSION,
        "format": format_name,
        "options": dict(options),
        "source_sha256": _signature(origin, plan),
        "annotations_sha256": origin.annotations_hash(),
        "names": list(plan.names),
        "counts": labels,
        "boxes_cut_at_the_border": num_cut,
        "left_out": left_out,
        "warnings": [*origin.warnings],
        **plan.facts,
    }
    if options["images"] == "link" and not plan.border:
        record["links_to"] = str(origin.root)
    return record


def _shown(origin: Origin) -> dict[str, tuple[int, list[str]]]:
    """What was left out, with places named from the data set's root on."""
    root = f"{origin.root}/"
    found = origin.left_out().items()
    return {reason: (count, [what.replace(root, "") for what in examples]) for reason, (count, examples) in found}


def _counts(plan: Plan, pairs: Sequence[KeptPair], number: int) -> Json:
    lists = [pair.boxes[number] for pair in pairs]
    per_class = Counter(box.class_id for boxes in lists for box in boxes if not box.ignore)
    return {
        "pairs": len(pairs),
        "boxes": per_class.total(),
        "ignore_regions": sum(box.ignore for boxes in lists for box in boxes),
        "backgrounds": sum(not any(not box.ignore for box in boxes) for boxes in lists),
        "classes": {name: per_class[index] for index, name in enumerate(plan.names)},
    }


def _signature(origin: Origin, plan: Plan) -> str:
    """A hash over the content of every annotation read, and over name and size of every image."""
    digest = hashlib.sha256(f"{VERSION} {origin.annotations_hash()}\n".encode())
    for pair in plan.pairs:
        for path in (pair.rgb, pair.ir):
            digest.update(f"{origin.name_of(path)}\0{path.stat().st_size}\n".encode())
    return digest.hexdigest()


def _is_whole(place: Place, plan: Plan, kept: Sequence[KeptPair], form: Form, text: str) -> bool:
    """Whether the folder was made of just this, and still has all its files."""
    try:
        if (place.out / PREPARED).read_text(encoding="utf-8") != text:
            return False
    except (FileNotFoundError, UnicodeDecodeError):
        return False
    wanted = [f"{part}/{pair.source.split}/{pair.file_name(path)}" for pair in kept for part, path in _images(pair)]
    for label_set in plan.label_sets:
        wanted.append(descriptor_name(label_set))
        if form == "yolo":
            wanted += [f"labels{label_set.suffix}/{pair.source.split}/{pair.source.key}.txt" for pair in kept]
        else:
            wanted += [f"annotations{label_set.suffix}/{split}.json" for split in splits_of(kept)]
    missing = [name for name in wanted if not (place.out / name).is_file()]
    if missing:
        _log.warning("%s: %d of its files are gone (first %s); it is made anew", place.out, len(missing), missing[0])
    return not missing


def _images(pair: KeptPair) -> tuple[tuple[str, Path], tuple[str, Path]]:
    return ("images", pair.source.rgb), ("imagesIR", pair.source.ir)


def _tell(out: Path, origin: Origin, record: Mapping[str, Json]) -> None:
    for warning in origin.warnings[:_MAX_WARNED]:
        _log.warning(warning)
    if len(origin.warnings) > _MAX_WARNED:
        _log.warning("... and %d more warnings in %s", len(origin.warnings) - _MAX_WARNED, out / PREPARED)
    for reason, (count, examples) in origin.left_out().items():
        _log.warning("left out: %d %s; first %s", count, reason, examples[0])
    counts = record["counts"]
    assert isinstance(counts, dict)
    for labels, splits in counts.items():
        assert isinstance(splits, dict)
        for split, found in splits.items():
            assert isinstance(found, dict)
            _log.info("%s [%s, %s]: %s pairs, %s boxes", out, split, labels, found["pairs"], found["boxes"])
