"""Read pairs of your own layout: two folders of images, and labels as Pascal VOC, COCO or YOLO text.

Paths are relative to the source; ``{split}`` in them is replaced by each of the splits. Without splits, all pairs are
divided by rule: ranked by the SHA-256 of ``"<seed>:<key>"``, the first share is val.
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
from yolofuse.convert.paired_folders import ImagePair, pair_folders
from yolofuse.convert.source_folder import SourceFolder
from yolofuse.convert.val_split import choose_by_hash
from yolofuse.convert.voc import VocFile, read_voc, voc_boxes
from yolofuse.data.index.yolo_labels import read_labels

Unlabelled = Literal["error", "background", "leave-out"]
T = TypeVar("T")
_SPLIT = "{split}"
_NOT_LABELLED = "pairs without labels"


@dataclass(frozen=True, slots=True)
class FolderLayout:
    """Where the images are and how they are split; paths are relative to the source.

    Attributes:
        rgb: Folder of visible images.
        ir: Folder of thermal images.
        splits: Values of ``{split}``. None: one folder, divided by rule into train and val.
        seed: Seed of the division by rule.
        val_share: Share of val in it.
        frame: Modality in whose pixels the labels are.
        stretch: Whether the other image, of another size, is scaled to the frame's size.
    """

    rgb: str
    ir: str
    splits: Sequence[str] | None = None
    seed: int = 0
    val_share: float = 0.2
    frame: Frame = "rgb"
    stretch: bool = False


def plan_voc(
    source: SourceFolder, choice: ClassChoice, *, xml: str, unlabelled: Unlabelled = "error", **folders: object
) -> Plan:
    """Return the pairs with their VOC files, found by the same path below ``xml`` or by a unique name.

    Args:
        source: The unpacked data set.
        choice: Classes; by default all in the files, sorted.
        xml: Folder of XML files.
        unlabelled: What to do with a pair without a file.
        folders: Fields of ``FolderLayout``.
    """
    layout = _folder_layout(folders)
    found: list[tuple[str, ImagePair, VocFile]] = []
    for split, pairs in _pairs_by_split(source, layout):
        folder = source.find_folder(_named(xml, split))
        files = _Index(source.files(folder, (".xml",))) if folder else _Index({})
        for pair in pairs:
            path = files.find(pair.key)
            if path is not None or _keeps_unlabelled(source, pair, unlabelled):
                found.append((split, pair, read_voc(source, path) if path else VocFile()))
    names = tuple(sorted({obj.name for _, _, voc in found for obj in voc.objects if obj.name}))
    table = ClassTable(source, choice, _without(names, choice))
    planned = [
        SourcePair(split, pair.key, pair.rgb, pair.ir, (voc_boxes(source, voc, table),), annotated_wh=voc.size_wh)
        for split, pair, voc in found
    ]
    return _plan(table, planned, layout)


def plan_coco(
    source: SourceFolder, choice: ClassChoice, *, json: str, unlabelled: Unlabelled = "error", **folders: object
) -> Plan:
    """Return the pairs with COCO annotations; ``file_name`` is relative to the images' folder, or a bare name.

    Args:
        source: The unpacked data set.
        choice: Classes; by default the file's categories, in their order.
        json: The file.
        unlabelled: What to do with a pair that the file does not list.
        folders: Fields of ``FolderLayout``.
    """
    layout = _folder_layout(folders)
    found: list[tuple[str, ImagePair, CocoImage]] = []
    files: dict[Path, CocoFile] = {}
    listed: set[str] = set()
    for split, pairs in _pairs_by_split(source, layout):
        path = source.find_file(_named(json, split))
        if path is None:
            continue
        if path not in files:
            files[path] = read_coco(source, path)
        index = _Index({str(PurePosixPath(image.file_name).with_suffix("")): image for image in files[path].images})
        for pair in pairs:
            image = index.find(pair.key)
            if image is not None or _keeps_unlabelled(source, pair, unlabelled):
                found.append((split, pair, image or CocoImage(pair.key, None)))
                listed.add(found[-1][2].file_name)
    for file in files.values():
        for image in file.images:
            if image.file_name not in listed:
                source.leave_out("records of the COCO file without a pair", image.file_name)
    names = tuple(dict.fromkeys(name for file in files.values() for name in file.names))
    table = ClassTable(source, choice, _without(names, choice))
    planned = [
        SourcePair(split, pair.key, pair.rgb, pair.ir, (coco_boxes(image, table),), annotated_wh=image.size_wh)
        for split, pair, image in found
    ]
    return _plan(table, planned, layout)


def plan_yolo(source: SourceFolder, choice: ClassChoice, *, labels: str, **folders: object) -> Plan:
    """Return the pairs with YOLO text labels of the same path; a pair without a file is background.

    Args:
        source: The unpacked data set.
        choice: Classes, required, since the files hold only numbers.
        labels: Folder of text files.
        folders: Fields of ``FolderLayout``.
    """
    layout = _folder_layout(folders)
    table = ClassTable(source, choice, ())
    if not table.names or choice.drop:
        source.problems.append(
            "--classes: required for YOLO labels, in the order of their numbers; --drop does not apply"
        )
        return Plan((), [])
    planned = []
    for split, pairs in _pairs_by_split(source, layout):
        folder = source.find_folder(_named(labels, split))
        files = _Index(source.files(folder, (".txt",))) if folder else _Index({})
        for pair in pairs:
            path = files.find(pair.key)
            boxes = _yolo_boxes(source, path, pair, layout.frame, len(table.names)) if path else []
            planned.append(SourcePair(split, pair.key, pair.rgb, pair.ir, (boxes,)))
    return _plan(table, planned, layout)


def _yolo_boxes(source: SourceFolder, path: Path, pair: ImagePair, frame: Frame, num_classes: int) -> list[SourceBox]:
    source.read(path)  # so that its hash is recorded
    found = read_labels(path, num_classes)
    source.problems += [str(problem) for problem in found.problems]
    source.warnings += [str(warning) for warning in found.warnings]
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
    """Finds values by path without suffix, or by file name where that is unique."""

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


def _folder_layout(given: Mapping[str, object]) -> FolderLayout:
    return FolderLayout(**given)  # type: ignore[arg-type]  # names and types are those of the command line's options


def _named(text: str, split: str) -> str:
    return text.replace(_SPLIT, split)


def _pairs_by_split(source: SourceFolder, layout: FolderLayout) -> Iterator[tuple[str, list[ImagePair]]]:
    """Yield each split with its pairs, sorted by key."""
    if layout.splits is None:
        if not 0 < layout.val_share < 1:
            source.problems.append(f"--val-share: must lie between 0 and 1 (got {layout.val_share})")
        pairs = _pairs(source, layout.rgb, layout.ir)
        val = choose_by_hash([pair.key for pair in pairs], layout.seed, layout.val_share)
        yield "train", [pair for pair in pairs if pair.key not in val]
        yield "val", [pair for pair in pairs if pair.key in val]
        return
    missing = [name for name, text in (("rgb", layout.rgb), ("ir", layout.ir)) if _SPLIT not in text]
    if missing and len(layout.splits) > 1:
        source.problems.append(f"--{missing[0]}: must contain {_SPLIT}, since there are several --splits")
        return
    invalid = [split for split in layout.splits if PurePosixPath(split).name != split or split in ("", "..")]
    if invalid:
        source.problems.append(f"--splits: {invalid[0]!r} is not the name of a folder")
        return
    for split in layout.splits:
        yield split, _pairs(source, _named(layout.rgb, split), _named(layout.ir, split))


def _pairs(source: SourceFolder, rgb: str, ir: str) -> list[ImagePair]:
    rgb_folder, ir_folder = source.find_folder(rgb), source.find_folder(ir)
    return pair_folders(source, rgb_folder, ir_folder) if rgb_folder and ir_folder else []


def _keeps_unlabelled(source: SourceFolder, pair: ImagePair, unlabelled: Unlabelled) -> bool:
    """Return whether a pair without labels is kept, as background."""
    if unlabelled == "error":
        hint = "add them, or set --unlabelled background or leave-out"
        source.problems.append(f"{pair.rgb}: no labels; {hint}")
    elif unlabelled == "leave-out":
        source.leave_out(_NOT_LABELLED, pair.key)
    return unlabelled == "background"


def _without(names: tuple[str, ...], choice: ClassChoice) -> tuple[str, ...]:
    return tuple(name for name in names if name not in choice.drop)


def _plan(table: ClassTable, pairs: list[SourcePair], layout: FolderLayout) -> Plan:
    table.report_unknown()
    rule = (
        f"pairs ranked by the SHA-256 of '<seed>:<key>', the first {layout.val_share:.0%} are val; seed {layout.seed}."
    )
    comments = () if layout.splits is not None else (f"Split by rule: {rule}",)
    return Plan(table.names, pairs, (LabelSet(frame=layout.frame),), stretch=layout.stretch, comments=comments)
