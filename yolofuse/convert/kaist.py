"""Read KAIST multispectral pedestrians: day and night, 640x512, two aligned cameras on a car.

Layout of images: ``[images/]set00/V000/{visible,lwir}/I00000.jpg``. Annotations are text of Piotr Dollar's toolbox
(bbGt version 3), a line being ``label x y w h occlusion vx vy vw vh ignore angle``, found as any of
``set00_V000_I00000.txt``, ``set00/V000/I00000.txt`` (one for both modalities, as the sanitised ones of Li et al.) or
``set00/V000/{visible,lwir}/I00000.txt`` (one for each, as the paired ones of Zhang et al.). x and y are used as
published, without shifting them by a pixel, as in the common evaluation files.

Reference:
    Multispectral Pedestrian Detection: Benchmark Dataset and Baselines (Hwang et al., CVPR 2015); sanitised training
    labels arXiv:1808.04818, paired labels arXiv:1901.02645. Sets 00 to 05 are train and 06 to 11 test. What differs
    here: val is held out of train by whole videos.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from yolofuse.convert.classes import ClassChoice
from yolofuse.convert.conversion_plan import Frame, LabelSet, Plan, SourceBox, SourceObject, SourcePair
from yolofuse.convert.source_folder import SourceFolder
from yolofuse.convert.val_split import VAL_SHARE, choose_groups
from yolofuse.files import is_hidden

_TRAIN = tuple(f"set{number:02d}" for number in range(6))
_TEST = tuple(f"set{number:02d}" for number in range(6, 12))
_NIGHT = frozenset({"set03", "set04", "set05", "set09", "set10", "set11"})
_FRAME = re.compile(r"I(\d{5})")
_MODALITY: dict[str, str] = {"rgb": "visible", "ir": "lwir"}
_PERSON, _CYCLIST = "person", "cyclist"
_IGNORED = frozenset({"people", "person?", "person?a", "person-fa"})
_HEAD = "% bbGt version=3"
_NUM_FIELDS = 12
_NO_LABELS = "frames without an annotation file"


@dataclass(frozen=True, slots=True)
class _Image:
    """One frame."""

    video: str
    name: str
    rgb: Path
    ir: Path

    @property
    def key(self) -> str:
        """Return ``set00_V000_I00000``, as the sanitised annotations are named."""
        return f"{self.video.replace('/', '_')}_{self.name}"

    @property
    def is_night(self) -> bool:
        return self.video[:5] in _NIGHT


def plan_kaist(
    source: SourceFolder,
    choice: ClassChoice,
    *,
    annotations: Sequence[str] = ("annotations",),
    labels_of: Frame = "ir",
    train_step: int = 2,
    test_step: int = 20,
    val_videos: Sequence[str] | None = None,
    cyclist: str = "ignore",
) -> Plan:
    """Return the pairs of KAIST with one class, person. ``people``, ``person?`` and flagged boxes are ignore regions.

    Args:
        source: The folder with the image sets.
        choice: Must be empty; ``cyclist`` decides what a person is.
        annotations: Folders with annotations, below the source or elsewhere; train and test may be in two.
        labels_of: Which labels to use where both modalities have their own.
        train_step: Use frames ``step - 1, 2 * step - 1, ...`` of a training video; 2 is usual.
        test_step: The same for test; 20 (I00019, I00039, ...) is the published test set.
        val_videos: Videos such as ``set00/V001`` to hold out as val. None: the day videos and the night videos whose
            frames add up nearest to a tenth of each.
        cyclist: ``ignore``, as in the reasonable test set, or ``person``, as in some training sets.
    """
    if choice.classes or choice.drop:
        source.problems.append("--classes and --drop: not for kaist, whose one class is person; see --cyclist")
    steps = (("train-step", train_step), ("test-step", test_step))
    source.problems += [f"--{name}: must be 1 or more (got {step})" for name, step in steps if step < 1]
    folders = [folder for given in annotations if (folder := source.add_root(given))]
    if source.problems:
        return Plan((_PERSON,), [])
    images = _find_images(source, {**dict.fromkeys(_TRAIN, train_step), **dict.fromkeys(_TEST, test_step)})
    labelled = [(image, file) for image in images if (file := _find_labels(source, folders, image, labels_of))]
    chosen = _val_videos(source, [image for image, _ in labelled], val_videos)
    positives = {_PERSON, _CYCLIST} if cyclist == "person" else {_PERSON}
    pairs = []
    for image, file in labelled:
        tags = {"daynight": "night" if image.is_night else "day", "video": image.video}
        boxes = _boxes(source, file, positives)
        pairs.append(SourcePair(_split(image, chosen), image.key, image.rgb, image.ir, (boxes,), tags))
    pairs.sort(key=lambda pair: (("train", "val", "test").index(pair.split), pair.key))
    return Plan(
        (_PERSON,),
        pairs,
        (LabelSet(frame=labels_of),),
        tag_columns=("daynight", "video"),
        comments=_comments(chosen, train_step, test_step, cyclist),
        facts={"val_videos": [*chosen]},
    )


def _split(image: _Image, val_videos: Sequence[str]) -> str:
    if image.video[:5] in _TEST:
        return "test"
    return "val" if image.video in val_videos else "train"


def _find_images(source: SourceFolder, steps: dict[str, int]) -> list[_Image]:
    base = source.root / "images" if (source.root / "images").is_dir() else source.root
    images: list[_Image] = []
    for set_name, step in steps.items():
        if not (base / set_name).is_dir():
            source.warnings.append(f"no folder {set_name}: it is left out")
            continue
        for folder in sorted(path for path in (base / set_name).iterdir() if path.is_dir()):
            images += [] if is_hidden(folder.name) else _video(source, folder, f"{set_name}/{folder.name}", step)
    return images


def _video(source: SourceFolder, folder: Path, video: str, step: int) -> list[_Image]:
    missing = [name for name in ("visible", "lwir") if not (folder / name).is_dir()]
    if missing:
        source.problems.append(f"{folder}: no folder {missing[0]}; unpack the set again")
        return []
    rgb, ir = source.images(folder / "visible"), source.images(folder / "lwir")
    images = []
    for name in sorted(rgb.keys() | ir.keys()):
        match = _FRAME.fullmatch(name)
        if match is None or (int(match[1]) + 1) % step:
            continue
        if name in rgb and name in ir:
            images.append(_Image(video, name, rgb[name], ir[name]))
        else:
            missing_part = "visible" if name in ir else "lwir"
            source.problems.append(f"{folder}: no {missing_part}/{name}.jpg; unpack the set again")
    return images


def _find_labels(source: SourceFolder, folders: Sequence[Path], image: _Image, labels_of: Frame) -> Path | None:
    modality = _MODALITY[labels_of]
    names = (
        *(f"{image.key}.txt", f"{modality}/{image.key}.txt"),
        *(f"{image.video}/{image.name}.txt", f"{image.video}/{modality}/{image.name}.txt"),
    )
    found = [path for folder in folders for name in names if (path := folder / name).is_file()]
    if len(found) > 1:
        source.problems.append(f"{found[1]}: {image.key} has labels in {found[0]}, too; name one --annotations")
    if not found:
        source.leave_out(_NO_LABELS, image.key)
    return found[0] if found else None


def _val_videos(source: SourceFolder, images: Sequence[_Image], given: Sequence[str] | None) -> tuple[str, ...]:
    train = [image for image in images if image.video[:5] in _TRAIN]
    if given is not None:
        videos = {image.video for image in train}
        unknown = [video for video in given if video not in videos]
        source.problems += [f"--val-videos: no labelled frame of train in {video}" for video in unknown]
        return tuple(given)
    chosen: tuple[str, ...] = ()
    for is_night in (False, True):
        chosen += choose_groups(Counter(image.video for image in train if image.is_night == is_night))
    if train and not chosen:
        source.warnings.append("train has too few videos to hold any out as val")
    return chosen


def _boxes(source: SourceFolder, file: Path, positives: set[str]) -> list[SourceBox]:
    """Read labels as positives and ignore regions."""
    known = (_PERSON, _CYCLIST, *sorted(_IGNORED))
    boxes = []
    for obj in read_bbgt(source, file):
        if obj.name not in known:
            source.problems.append(f"{obj.where}: unknown label {obj.name!r}; known are {', '.join(known)}")
            continue
        assert obj.xyxy is not None  # every line of this format has a box
        ignore = obj.ignore or obj.name not in positives
        boxes.append(SourceBox(0, obj.xyxy, obj.where, ignore, obj.occlusion))
    return boxes


def read_bbgt(source: SourceFolder, path: Path) -> list[SourceObject]:
    """Return the objects of one file, names in small letters; its errors become problems of the source."""
    lines = source.lines(path)
    if not lines or lines[0].strip().lower() != _HEAD.lower():
        found = lines[0][:40] if lines else "an empty file"
        source.problems.append(f"{path}:1: expected {_HEAD!r} (got {found!r})")
        return []
    objects = []
    for number, line in enumerate(lines[1:], start=2):
        fields = line.split()
        if not fields:
            continue
        where = f"{path}:{number}"
        try:
            values = [float(value) for value in fields[1:]]
        except ValueError:
            values = [math.nan]
        if len(fields) != _NUM_FIELDS or not all(map(math.isfinite, values)):
            source.problems.append(f"{where}: expected a label and {_NUM_FIELDS - 1} numbers (got {line[:60]!r})")
            continue
        x, y, width, height = values[:4]
        box = (x, y, x + width, y + height)
        objects.append(SourceObject(fields[0].lower(), box, where, ignore=values[9] != 0, occlusion=int(values[4])))
    return objects


def _comments(val_videos: Sequence[str], train_step: int, test_step: int, cyclist: str) -> tuple[str, ...]:
    return (
        "Hwang et al., CVPR 2015; for academic use.",
        "Class person. people, person? and boxes with the ignore flag are ignore regions (iscrowd 1), cyclists "
        + ("are persons." if cyclist == "person" else "too."),
        f"train: sets 00 to 05, one frame in {train_step}. test: sets 06 to 11, one frame in {test_step}; for the end.",
        f"val: whole videos held out of train: {', '.join(val_videos) or 'none'}.",
        f"Without --val-videos: of day and of night the videos whose frames come nearest to {VAL_SHARE:.0%}.",
        "Day: sets 00 01 02 06 07 08; night: 03 04 05 09 10 11. Log-average miss rate is the usual figure.",
    )
