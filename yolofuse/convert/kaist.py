"""KAIST multispectral pedestrians: day and night, 640x512, two aligned cameras on a car.

Layout of images: ``[images/]set00/V000/{visible,lwir}/I00000.jpg``. Annotations are text of Piotr Dollar's toolbox
(bbGt version 3), a line being ``label x y w h occlusion vx vy vw vh ignore angle``, found as any of
``set00_V000_I00000.txt``, ``set00/V000/I00000.txt`` (one for both modalities, as the sanitised ones of Li et al.) or
``set00/V000/{visible,lwir}/I00000.txt`` (one for each, as the paired ones of Zhang et al.). x and y are taken as
published, without shifting them by a pixel, as the common evaluation files do.

Reference:
    Multispectral Pedestrian Detection: Benchmark Dataset and Baselines (Hwang et al., CVPR 2015); sanitised training
    labels arXiv:1808.04818, paired labels arXiv:1901.02645. Sets 00 to 05 are train and 06 to 11 test. What differs
    here: val is held out of train by whole videos.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from yolofuse.convert.bbgt import read_bbgt
from yolofuse.convert.classes import ClassChoice
from yolofuse.convert.conversion_plan import Frame, LabelSet, Plan, SourceBox, SourcePair
from yolofuse.convert.holdout import VAL_SHARE, choose_groups
from yolofuse.convert.origin import Origin

_TRAIN = tuple(f"set{number:02d}" for number in range(6))
_TEST = tuple(f"set{number:02d}" for number in range(6, 12))
_NIGHT = frozenset({"set03", "set04", "set05", "set09", "set10", "set11"})
_FRAME = re.compile(r"I(\d{5})")
_MODALITY: dict[str, str] = {"rgb": "visible", "ir": "lwir"}
_PERSON, _CYCLIST = "person", "cyclist"
_IGNORED = frozenset({"people", "person?", "person?a", "person-fa"})
_NO_LABELS = "frames without an annotation file"


@dataclass(frozen=True, slots=True)
class _Image:
    """One frame; ``number`` counts from 0 within its video."""

    video: str
    name: str
    number: int
    rgb: Path
    ir: Path

    @property
    def key(self) -> str:
        """``set00_V000_I00000``, as the sanitised annotations are named."""
        return f"{self.video.replace('/', '_')}_{self.name}"

    @property
    def is_night(self) -> bool:
        return self.video[:5] in _NIGHT


def plan_kaist(
    origin: Origin,
    choice: ClassChoice,
    *,
    annotations: Sequence[str] = ("annotations",),
    labels_of: Frame = "ir",
    train_step: int = 2,
    test_step: int = 20,
    val_videos: Sequence[str] | None = None,
    cyclist: str = "ignore",
) -> Plan:
    """Pairs of KAIST with one class, person. ``people``, ``person?`` and flagged boxes become ignore regions.

    Args:
        origin: The folder with the image sets.
        choice: Not used but for an error: what is a person is said by ``cyclist``.
        annotations: Folders with annotations, below the origin or elsewhere; train and test may come from two.
        labels_of: Whose labels to take where both modalities have their own.
        train_step: Take frames ``step - 1, 2 * step - 1, ...`` of a training video; 2 is usual.
        test_step: The same for test; 20 (I00019, I00039, ...) is the published test set.
        val_videos: Videos such as ``set00/V001`` to hold out as val. None: of the day and of the night videos those
            whose frames come nearest to a tenth.
        cyclist: ``ignore``, as the reasonable test set has it, or ``person``, as some train.
    """
    if choice.classes or choice.drop:
        origin.problems.append("--classes and --drop: not for kaist, whose one class is person; see --cyclist")
    problems = [f"--{name}: must be 1 or more (got {step})" for name, step in _steps(train_step, test_step) if step < 1]
    origin.problems += problems
    folders = [folder for given in annotations if (folder := origin.add_root(given))]
    if origin.problems:
        return Plan((_PERSON,), [])
    images = _find_images(origin, {**dict.fromkeys(_TRAIN, train_step), **dict.fromkeys(_TEST, test_step)})
    labelled = [(image, file) for image in images if (file := _find_labels(origin, folders, image, labels_of))]
    chosen = _val_videos(origin, [image for image, _ in labelled], val_videos)
    reader = _Boxes(origin, cyclist)
    pairs = []
    for image, file in labelled:
        tags = {"daynight": "night" if image.is_night else "day", "video": image.video}
        pairs.append(SourcePair(_split(image, chosen), image.key, image.rgb, image.ir, (reader.read(file),), tags))
    pairs.sort(key=lambda pair: (("train", "val", "test").index(pair.split), pair.key))
    return Plan(
        (_PERSON,),
        pairs,
        (LabelSet(frame=labels_of),),
        tag_columns=("daynight", "video"),
        comments=_comments(chosen, train_step, test_step, cyclist),
        facts={"val_videos": [*chosen]},
    )


def _steps(train_step: int, test_step: int) -> tuple[tuple[str, int], tuple[str, int]]:
    return ("train-step", train_step), ("test-step", test_step)


def _split(image: _Image, val_videos: Sequence[str]) -> str:
    if image.video[:5] in _TEST:
        return "test"
    return "val" if image.video in val_videos else "train"


def _find_images(origin: Origin, steps: dict[str, int]) -> list[_Image]:
    base = origin.root / "images" if (origin.root / "images").is_dir() else origin.root
    images: list[_Image] = []
    for set_name, step in steps.items():
        if not (base / set_name).is_dir():
            origin.warnings.append(f"no folder {set_name}: it is left out")
            continue
        for folder in sorted(path for path in (base / set_name).iterdir() if path.is_dir()):
            images += _video(origin, folder, f"{set_name}/{folder.name}", step)
    return images


def _video(origin: Origin, folder: Path, video: str, step: int) -> list[_Image]:
    lost = [name for name in ("visible", "lwir") if not (folder / name).is_dir()]
    if lost:
        origin.problems.append(f"{folder}: no folder {lost[0]}; unpack the set again")
        return []
    rgb, ir = origin.images(folder / "visible"), origin.images(folder / "lwir")
    images = []
    for name in sorted(rgb.keys() | ir.keys()):
        match = _FRAME.fullmatch(name)
        if match is None or (int(match[1]) + 1) % step:
            continue
        if name in rgb and name in ir:
            images.append(_Image(video, name, int(match[1]), rgb[name], ir[name]))
        else:
            gone = "visible" if name in ir else "lwir"
            origin.problems.append(f"{folder}: no {gone}/{name}.jpg; unpack the set again")
    return images


def _find_labels(origin: Origin, folders: Sequence[Path], image: _Image, labels_of: Frame) -> Path | None:
    modality = _MODALITY[labels_of]
    names = (
        *(f"{image.key}.txt", f"{modality}/{image.key}.txt"),
        *(f"{image.video}/{image.name}.txt", f"{image.video}/{modality}/{image.name}.txt"),
    )
    found = [path for folder in folders for name in names if (path := folder / name).is_file()]
    if len(found) > 1:
        origin.problems.append(f"{found[1]}: {image.key} has labels in {found[0]}, too; name one --annotations")
    if not found:
        origin.leave_out(_NO_LABELS, image.key)
    return found[0] if found else None


def _val_videos(origin: Origin, images: Sequence[_Image], given: Sequence[str] | None) -> tuple[str, ...]:
    train = [image for image in images if image.video[:5] in _TRAIN]
    if given is not None:
        videos = {image.video for image in train}
        unknown = [video for video in given if video not in videos]
        origin.problems += [f"--val-videos: no labelled frame of train in {video}" for video in unknown]
        return tuple(given)
    chosen: tuple[str, ...] = ()
    for is_night in (False, True):
        chosen += choose_groups(Counter(image.video for image in train if image.is_night == is_night))
    if train and not chosen:
        origin.warnings.append("train has too few videos to hold any out as val")
    return chosen


class _Boxes:
    """Turns labels into positives and ignore regions."""

    def __init__(self, origin: Origin, cyclist: str) -> None:
        self.origin = origin
        self.positives = {_PERSON, _CYCLIST} if cyclist == "person" else {_PERSON}

    def read(self, file: Path) -> list[SourceBox]:
        boxes = []
        for line in read_bbgt(self.origin, file):
            is_known = line.label in (_PERSON, _CYCLIST) or line.label in _IGNORED
            if not is_known:
                known = ", ".join((_PERSON, _CYCLIST, *sorted(_IGNORED)))
                self.origin.problems.append(f"{line.where}: unknown label {line.label!r}; known are {known}")
                continue
            ignore = line.ignore or line.label not in self.positives
            boxes.append(SourceBox(0, line.xyxy, line.where, ignore, line.occlusion))
        return boxes


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
