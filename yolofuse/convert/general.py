"""Pairs of no published layout: two folders of images, and labels as Pascal VOC, COCO or YOLO text.

Folders and files are named below the source; ``{split}`` in them stands for each of the splits. Without splits, all
pairs are divided by rule: ranked by the SHA-256 of ``"<seed>:<key>"``, the first share is val.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Generic, Literal, TypeVar

from yolofuse.convert.classes import ClassChoice, ClassTable
from yolofuse.convert.clip import image_size
from yolofuse.convert.coco_json import CocoFile, CocoImage, coco_boxes, read_coco
from yolofuse.convert.conversion_plan import Frame, LabelSet, Plan, SourceBox, SourcePair
from yolofuse.convert.holdout import choose_by_hash
from yolofuse.convert.origin import Origin
from yolofuse.convert.paired_folders import ImagePair, pair_folders
from yolofuse.convert.voc import VocFile, read_voc, voc_boxes
from yolofuse.data.index.yolo_labels import read_labels

Unlabelled = Literal["error", "background", "leave-out"]
T = TypeVar("T")
_SPLIT = "{split}"
_NOT_LABELLED = "pairs without labels"


@dataclass(frozen=True, slots=True)
class Folders:
    """Where images lie and how they are divided; paths are below the source.

    Attributes:
        rgb: Folder of visible images.
        ir: Folder of thermal images.
        splits: Names to put for ``{split}``. None: one folder, divided by rule into train and val.
        seed: Which division by rule.
        val_share: Share of val in it.
        frame: Whose pixels the labels are in.
        stretch: The other image is of another size and is to be stretched over the frame.
    """

    rgb: str
    ir: str
    splits: Sequence[str] | None = None
    seed: int = 0
    val_share: float = 0.2
    frame: Frame = "rgb"
    stretch: bool = False


def plan_voc(
    origin: Origin, choice: ClassChoice, *, xml: str, unlabelled: Unlabelled = "error", **folders: object
) -> Plan:
    """Pairs with one VOC file each, of the same path below ``xml`` or of the same name.

    Args:
        origin: The source.
        choice: Classes; by default all that are found, sorted.
        xml: Folder of XML files.
        unlabelled: What a pair without a file is.
        folders: Fields of ``Folders``.
    """
    where = _folders(folders)
    found: list[tuple[str, ImagePair, VocFile]] = []
    for split, pairs in _splits(origin, where):
        folder = origin.find_folder(_named(xml, split))
        files = _Index(origin.files(folder, (".xml",))) if folder else _Index({})
        for pair in pairs:
            path = files.find(pair.key)
            if path is not None or _take_unlabelled(origin, pair, unlabelled):
                found.append((split, pair, read_voc(origin, path) if path else VocFile()))
    names = tuple(sorted({thing.name for _, _, voc in found for thing in voc.objects if thing.name}))
    table = ClassTable(origin, choice, _without(names, choice))
    planned = [
        SourcePair(split, pair.key, pair.rgb, pair.ir, (voc_boxes(origin, voc, table),), says_wh=voc.size_wh)
        for split, pair, voc in found
    ]
    return _plan(table, planned, where)


def plan_coco(
    origin: Origin, choice: ClassChoice, *, json: str, unlabelled: Unlabelled = "error", **folders: object
) -> Plan:
    """Pairs with COCO annotations; ``file_name`` is a path below the images' folder or a bare name.

    Args:
        origin: The source.
        choice: Classes; by default the file's categories, in their order.
        json: The file.
        unlabelled: What a pair is that the file does not list.
        folders: Fields of ``Folders``.
    """
    where = _folders(folders)
    found: list[tuple[str, ImagePair, CocoImage]] = []
    files: dict[Path, CocoFile] = {}
    listed: set[str] = set()
    for split, pairs in _splits(origin, where):
        path = origin.find_file(_named(json, split))
        if path is None:
            continue
        if path not in files:
            files[path] = read_coco(origin, path)
        index = _Index({str(PurePosixPath(image.file_name).with_suffix("")): image for image in files[path].images})
        for pair in pairs:
            image = index.find(pair.key)
            if image is not None or _take_unlabelled(origin, pair, unlabelled):
                found.append((split, pair, image or CocoImage(pair.key, None)))
                listed.add(found[-1][2].file_name)
    for file in files.values():
        for image in file.images:
            if image.file_name not in listed:
                origin.leave_out("records of the COCO file without a pair", image.file_name)
    names = tuple(dict.fromkeys(name for file in files.values() for name in file.names))
    table = ClassTable(origin, choice, _without(names, choice))
    planned = [
        SourcePair(split, pair.key, pair.rgb, pair.ir, (coco_boxes(image, table),), says_wh=image.size_wh)
        for split, pair, image in found
    ]
    return _plan(table, planned, where)


def plan_yolo(origin: Origin, choice: ClassChoice, *, labels: str, **folders: object) -> Plan:
    """Pairs with YOLO text labels of the same path; a pair without a file is background, as is usual there.

    Args:
        origin: The source.
        choice: Classes, which must be given: the files know only numbers.
        labels: Folder of text files.
        folders: Fields of ``Folders``.
    """
    where = _folders(folders)
    table = ClassTable(origin, choice, ())
    if not table.names or choice.drop:
        origin.problems.append(
            "--classes: needed for YOLO labels, in the order of their numbers; --drop does not apply"
        )
        return Plan((), [])
    planned = []
    for split, pairs in _splits(origin, where):
        folder = origin.find_folder(_named(labels, split))
        files = _Index(origin.files(folder, (".txt",))) if folder else _Index({})
        for pair in pairs:
            path = files.find(pair.key)
            boxes = _yolo_boxes(origin, path, pair, where.frame, len(table.names)) if path else []
            planned.append(SourcePair(split, pair.key, pair.rgb, pair.ir, (boxes,)))
    return _plan(table, planned, where)


def _yolo_boxes(origin: Origin, path: Path, pair: ImagePair, frame: Frame, num_classes: int) -> list[SourceBox]:
    origin.read(path)  # for the signature
    found = read_labels(path, num_classes)
    origin.problems += [str(problem) for problem in found.problems]
    origin.warnings += [str(warning) for warning in found.warnings]
    size = image_size(pair.rgb if frame == "rgb" else pair.ir)
    if isinstance(size, str):  # clip_plan reports it
        return []
    height, width = size
    boxes = []
    for class_id, (x, y, w, h) in zip(found.class_ids, found.boxes_xywhn, strict=True):
        xyxy = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
        boxes.append(SourceBox(class_id, xyxy, str(path)))
    return boxes


class _Index(Generic[T]):
    """Finds by path without suffix, or by bare name where that is unique."""

    def __init__(self, by_path: Mapping[str, T]) -> None:
        self._by_path = by_path
        self._by_name: dict[str, list[T]] = {}
        for path, value in by_path.items():
            self._by_name.setdefault(PurePosixPath(path).name, []).append(value)

    def find(self, key: str) -> T | None:
        if key in self._by_path:
            return self._by_path[key]
        named = self._by_name.get(PurePosixPath(key).name, [])
        return named[0] if len(named) == 1 else None


def _folders(given: Mapping[str, object]) -> Folders:
    return Folders(**given)  # type: ignore[arg-type]  # names and types are those of the command line's options


def _named(text: str, split: str) -> str:
    return text.replace(_SPLIT, split)


def _splits(origin: Origin, where: Folders) -> Iterator[tuple[str, list[ImagePair]]]:
    """Each split with its pairs, sorted by key."""
    if where.splits is None:
        if not 0 < where.val_share < 1:
            origin.problems.append(f"--val-share: must lie between 0 and 1 (got {where.val_share})")
        pairs = _pairs(origin, where.rgb, where.ir)
        val = choose_by_hash([pair.key for pair in pairs], where.seed, where.val_share)
        yield "train", [pair for pair in pairs if pair.key not in val]
        yield "val", [pair for pair in pairs if pair.key in val]
        return
    lacking = [name for name, text in (("rgb", where.rgb), ("ir", where.ir)) if _SPLIT not in text]
    if lacking and len(where.splits) > 1:
        origin.problems.append(f"--{lacking[0]}: needs {_SPLIT} in it, as there are several --splits")
        return
    odd = [split for split in where.splits if PurePosixPath(split).name != split or split in ("", "..")]
    if odd:
        origin.problems.append(f"--splits: {odd[0]!r} is no name of a folder")
        return
    for split in where.splits:
        yield split, _pairs(origin, _named(where.rgb, split), _named(where.ir, split))


def _pairs(origin: Origin, rgb: str, ir: str) -> list[ImagePair]:
    rgb_folder, ir_folder = origin.find_folder(rgb), origin.find_folder(ir)
    return pair_folders(origin, rgb_folder, ir_folder) if rgb_folder and ir_folder else []


def _take_unlabelled(origin: Origin, pair: ImagePair, unlabelled: Unlabelled) -> bool:
    """Whether a pair without labels becomes a background."""
    if unlabelled == "error":
        hint = "add them, or say --unlabelled background or leave-out"
        origin.problems.append(f"{pair.rgb}: no labels; {hint}")
    elif unlabelled == "leave-out":
        origin.leave_out(_NOT_LABELLED, pair.key)
    return unlabelled == "background"


def _without(names: tuple[str, ...], choice: ClassChoice) -> tuple[str, ...]:
    return tuple(name for name in names if name not in choice.drop)


def _plan(table: ClassTable, pairs: list[SourcePair], where: Folders) -> Plan:
    table.finish()
    rule = f"pairs ranked by the SHA-256 of '<seed>:<key>', the first {where.val_share:.0%} are val; seed {where.seed}."
    comments = () if where.splits is not None else (f"Split by rule: {rule}",)
    return Plan(table.names, pairs, (LabelSet(frame=where.frame),), stretch=where.stretch, comments=comments)
