"""Define what a conversion reads: the labels of a source, and the plan of its pairs. Nothing is written yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

Frame = Literal["rgb", "ir"]
Corners = tuple[float, float, float, float]
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Option = Json | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SourceObject:
    """One object of an annotation file; ``xyxy`` is None if it has no box. For the other fields see ``SourceBox``."""

    name: str
    xyxy: Corners | None
    where: str
    ignore: bool = False
    occlusion: int | None = None


WITHOUT_SIZE = "labels give no size of their image: their boxes are taken for pixels of the images here"


@dataclass(slots=True)
class ImageLabels:
    """What an annotation file says of one image; ``size_wh`` is None where it does not give the size."""

    size_wh: tuple[int, int] | None = None
    objects: list[SourceObject] = field(default_factory=list)
    file_name: str = ""  # of the image, as the file says

    @property
    def stem(self) -> str:
        """File name without folder and suffix."""
        return PurePosixPath(self.file_name).stem


@dataclass(frozen=True, slots=True)
class SourceBox:
    """One box of a class that is kept."""

    class_id: int  # index into the plan's names
    xyxy: Corners  # pixels of the frame's image: as stored, and after ``clip_plan`` as written
    where: str  # file and line it was read from
    ignore: bool = False  # an ignore region: detections in it count neither as true nor as false positives
    occlusion: int | None = None  # 0 none, 1 partial, 2 heavy, where the source gives it


@dataclass(frozen=True, slots=True)
class SourcePair:
    """Two original images with their boxes and tags."""

    split: str
    key: str  # path below the split's folders, without a suffix; the same for both images and the labels
    rgb: Path
    ir: Path
    boxes: tuple[list[SourceBox], ...]  # one list for each of the plan's label sets
    tags: Mapping[str, str] = field(default_factory=dict)  # a value for each of the plan's tag columns
    annotated_wh: tuple[int, int] | None = None  # size of the frame's image by the annotations, where they give it


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Labels in the pixels of one modality; ``suffix`` names a second set (``labels_rgb``, ``data_rgb.yaml``)."""

    suffix: str = ""
    frame: Frame = "rgb"


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole data set, ready to be written."""

    names: tuple[str, ...]  # a class id is an index into them
    pairs: list[SourcePair]  # in the order they are written
    label_sets: tuple[LabelSet, ...] = (LabelSet(),)
    stretch: bool = False  # scale the other image to the frame's size; otherwise a pair's sizes must be equal
    border: int = 0  # pixels cropped off each side of both images; boxes are shifted by it
    ir_window: Mapping[str, Json] | None = None  # the descriptor's, for thermal images deeper than 8 bits
    tag_columns: tuple[str, ...] = ()  # of ``meta.csv``
    comments: tuple[str, ...] = ()  # lines on origin and practice, for the head of the descriptor
    facts: Mapping[str, Json] = field(default_factory=dict)  # further keys of ``prepared.json``
