"""Read pairs of your own layout: two folders of images, and labels as Pascal VOC, COCO or YOLO text.

Paths are relative to the source; ``{split}`` in them is replaced by each of the splits. Without splits, all pairs are
divided by rule: ranked by the SHA-256 of ``"<seed>:<key>"``, the first share is val.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from yolofuse.convert.classes import ClassChoice, ClassTable
from yolofuse.convert.clip import image_size
from yolofuse.convert.coco_json import CocoFile, read_coco
from yolofuse.convert.conversion_plan import Frame, ImageLabels, LabelSet, Plan, SourceObject, SourcePair
from yolofuse.convert.match_labels import assign_labels, refuse_foreign, warn_other_images
from yolofuse.convert.source_folder import ImagePair, SourceFolder, pair_folders
from yolofuse.convert.val_split import split_by_hash
from yolofuse.convert.voc import read_voc
from yolofuse.data.descriptor.path_guard import PathGuard
from yolofuse.data.index.class_lists import compare_class_lists
from yolofuse.data.index.long_lines import LongLines
from yolofuse.data.index.yolo_labels import read_labels

Unlabelled = Literal["error", "background", "leave-out"]
_SPLIT = "{split}"


@dataclass(frozen=True, slots=True)
class FolderLayout:
    """Where the images are and how they are split; paths are relative to the source."""

    rgb: str
    ir: str
    splits: Sequence[str] | None = None  # values of {split}; None: one folder, divided by rule into train and val
    seed: int = 0  # of the division by rule
    val_share: float = 0.2
    frame: Frame = "rgb"  # modality in whose pixels the labels are
    stretch: bool = False  # scale the other image, of another size, to the frame's size


_Labelled = tuple[str, ImagePair, ImageLabels]
"""Split, pair, and its labels."""


def plan_voc(
    source: SourceFolder, choice: ClassChoice, *, xml: str, unlabelled: Unlabelled = "error", **folders: object
) -> Plan:
    """Return the pairs with their VOC files, found by the same path below ``xml``, the end of a path or a unique name.

    ``folders`` are the fields of ``FolderLayout``. The classes are by default all in the files, sorted.
    """
    layout = FolderLayout(**folders)  # type: ignore[arg-type]  # the command line's options
    found: list[_Labelled] = []
    for split, pair, path in _with_files(source, layout, xml, ".xml"):
        if path is not None or _keeps_unlabelled(source, pair, unlabelled):
            found.append((split, pair, read_voc(source, path) if path else ImageLabels()))
    warn_other_images(source, [(pair, image) for _, pair, image in found])
    names = sorted({obj.name for _, _, image in found for obj in image.objects if obj.name})
    return _plan(source, choice, layout, names, found)


def plan_coco(
    source: SourceFolder, choice: ClassChoice, *, json: str, unlabelled: Unlabelled = "error", **folders: object
) -> Plan:
    """Return the pairs with COCO annotations; ``file_name`` is relative to the images' folder, or a bare name.

    ``folders`` are the fields of ``FolderLayout``. The classes are by default the file's categories, in their order.
    """
    layout = FolderLayout(**folders)  # type: ignore[arg-type]  # the command line's options
    found: list[_Labelled] = []
    files: list[CocoFile] = []
    for where, members in _by_place(source, layout, json):
        path = source.find_file(where)
        if path is None:
            continue
        files.append(read_coco(source, path))
        images = ((str(PurePosixPath(image.file_name).with_suffix("")), image) for image in files[-1].images)
        assigned = assign_labels(source, where, [pair for _, pair in members], images)
        for i, (split, pair) in enumerate(members):
            if i in assigned or _keeps_unlabelled(source, pair, unlabelled):
                found.append((split, pair, assigned.get(i) or ImageLabels()))
    used = {id(image) for _, _, image in found}
    for image in (image for file in files for image in file.images if id(image) not in used):
        source.leave_out("records of the COCO file without a pair", image.file_name)
    return _plan(source, choice, layout, dict.fromkeys(name for file in files for name in file.names), found)


def plan_yolo(source: SourceFolder, choice: ClassChoice, *, labels: str, **folders: object) -> Plan:
    """Return the pairs with YOLO text labels, found as VOC files are; a pair without a file is background.

    ``folders`` are the fields of ``FolderLayout``. The classes are required, since the files hold only numbers.
    """
    layout = FolderLayout(**folders)  # type: ignore[arg-type]  # the command line's options
    if not choice.classes or choice.drop:
        source.problems.append(
            "--classes: required for YOLO labels, in the order of their numbers; --drop does not apply"
        )
        return Plan((), [])
    found: list[_Labelled] = []
    long_lines = LongLines()
    for split, pair, path in _with_files(source, layout, labels, ".txt", choice.classes):
        image = pair.rgb if layout.frame == "rgb" else pair.ir
        objects = _yolo_objects(source, path, image, choice.classes, long_lines) if path else []
        found.append((split, pair, ImageLabels(None, objects)))
    source.problems += map(str, long_lines.problems(labels))
    source.warnings += map(str, long_lines.warnings(labels))
    return _plan(source, choice, layout, (), found)


def _yolo_objects(
    source: SourceFolder, path: Path, image: Path, names: Sequence[str], long_lines: LongLines
) -> list[SourceObject]:
    source.read(path)  # so that its hash is recorded
    found = read_labels(path, len(names))
    source.problems += [str(problem) for problem in found.problems]
    source.warnings += [str(warning) for warning in found.warnings]
    long_lines.add(found.long_lines)
    size = image_size(image)
    if isinstance(size, str):  # clip_plan reports it
        return []
    height, width = size
    objects = []
    for class_id, (x, y, w, h) in zip(found.class_ids, found.boxes_xywhn, strict=True):
        xyxy = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
        objects.append(SourceObject(names[class_id], xyxy, str(path)))
    return objects


def _with_files(
    source: SourceFolder, layout: FolderLayout, place: str, suffix: str, names: Sequence[str] = ()
) -> Iterator[tuple[str, ImagePair, Path | None]]:
    """Yield each split's pairs with their label files below a folder; None for a pair without one.

    A class list beside them that contradicts ``names`` becomes a problem of the source.
    """
    for where, members in _by_place(source, layout, place):
        folder = source.find_folder(where)
        if folder is not None:
            pairs = [pair for _, pair in members]
            found = assign_labels(source, where, pairs, source.labels(folder, suffix).items())
            refuse_foreign(source, folder, suffix, pairs, found)
            root = source.root if folder.is_relative_to(source.root) else folder.parent
            paths = [path.relative_to(root).as_posix() for path in found.values()]
            guard = PathGuard(root, [Path(root.anchor)])  # links of originals may lead anywhere
            source.problems += map(str, compare_class_lists(guard, names, paths))
            yield from ((split, pair, found.get(i)) for i, (split, pair) in enumerate(members))


def _by_place(
    source: SourceFolder, layout: FolderLayout, place: str
) -> Iterable[tuple[str, list[tuple[str, ImagePair]]]]:
    """Return the pairs, each with its split, by the place of their labels, which all splits may share."""
    places: dict[str, list[tuple[str, ImagePair]]] = {}
    for split, pairs in _pairs_by_split(source, layout):
        places.setdefault(place.replace(_SPLIT, split), []).extend((split, pair) for pair in pairs)
    return places.items()


def _pairs_by_split(source: SourceFolder, layout: FolderLayout) -> Iterator[tuple[str, list[ImagePair]]]:
    """Yield each split with its pairs, sorted by key."""
    if layout.splits is None:
        yield from split_by_hash(source, _pairs(source, layout.rgb, layout.ir), layout.seed, layout.val_share)
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
        yield split, _pairs(source, layout.rgb.replace(_SPLIT, split), layout.ir.replace(_SPLIT, split))


def _pairs(source: SourceFolder, rgb: str, ir: str) -> list[ImagePair]:
    rgb_folder, ir_folder = source.find_folder(rgb), source.find_folder(ir)
    return pair_folders(source, rgb_folder, ir_folder) if rgb_folder and ir_folder else []


def _keeps_unlabelled(source: SourceFolder, pair: ImagePair, unlabelled: Unlabelled) -> bool:
    """Return whether a pair without labels is kept, as background."""
    if unlabelled == "error":
        source.problems.append(f"{pair.rgb}: no labels; add them, or set --unlabelled background or leave-out")
    elif unlabelled == "leave-out":
        source.leave_out("pairs without labels", pair.key)
    return unlabelled == "background"


def _plan(
    source: SourceFolder, choice: ClassChoice, layout: FolderLayout, names: Iterable[str], found: Sequence[_Labelled]
) -> Plan:
    """Return the plan of labelled pairs; ``names`` are the classes where the user chose none."""
    table = ClassTable(source, choice, tuple(name for name in names if name not in choice.drop))
    pairs = []
    for split, pair, image in found:
        boxes = table.boxes(image.objects)
        pairs.append(SourcePair(split, pair.key, pair.rgb, pair.ir, (boxes,), annotated_wh=image.size_wh))
    table.report_unknown()
    rule = (
        f"pairs ranked by the SHA-256 of '<seed>:<key>', the first {layout.val_share:.0%} are val; seed {layout.seed}."
    )
    comments = () if layout.splits is not None else (f"Split by rule: {rule}",)
    return Plan(table.names, pairs, (LabelSet(frame=layout.frame),), stretch=layout.stretch, comments=comments)
