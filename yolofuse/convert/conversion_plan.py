"""Define the plan of a conversion: which images make pairs, and which boxes they have. Nothing is written yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Frame = Literal["rgb", "ir"]
Corners = tuple[float, float, float, float]
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Option = Json | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SourceBox:
    """One box as read from the source, before it is clipped.

    Attributes:
        class_id: Index into the plan's names.
        xyxy: Corners in pixels of the frame's stored image.
        where: File and line it was read from.
        ignore: Whether it is an ignore region: detections in it count neither as true nor as false positives.
        occlusion: 0 none, 1 partial, 2 heavy, where the source gives it.
    """

    class_id: int
    xyxy: Corners
    where: str
    ignore: bool = False
    occlusion: int | None = None


@dataclass(frozen=True, slots=True)
class SourcePair:
    """Two original images with their boxes and tags.

    Attributes:
        split: Split it belongs to.
        key: Path below the split's folders, without a suffix; the same for both images and the labels.
        rgb: Original visible image.
        ir: Original thermal image.
        boxes: One list for each of the plan's label sets.
        tags: A value for each of the plan's tag columns.
        annotated_wh: Width and height of the frame's image according to the annotations, where they give it.
    """

    split: str
    key: str
    rgb: Path
    ir: Path
    boxes: tuple[list[SourceBox], ...]
    tags: Mapping[str, str] = field(default_factory=dict)
    annotated_wh: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Labels in the pixels of one modality; ``suffix`` names a second set (``labels_rgb``, ``data_rgb.yaml``)."""

    suffix: str = ""
    frame: Frame = "rgb"


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole data set, ready to be written.

    Attributes:
        names: Class names; a class id is an index into them.
        pairs: In the order they are written.
        label_sets: Usually one.
        stretch: Whether the other image is scaled to the frame's size; otherwise a pair's sizes must be equal.
        border: Pixels cropped off each side of both images; boxes are shifted by it.
        ir_window: The descriptor's ``ir_window`` of thermal counts, for images deeper than 8 bits.
        tag_columns: Columns of ``meta.csv``.
        comments: Comment lines on origin and practice, for the head of the descriptor.
        facts: Further keys of ``prepared.json``, such as which scenes were held out.
    """

    names: tuple[str, ...]
    pairs: list[SourcePair]
    label_sets: tuple[LabelSet, ...] = (LabelSet(),)
    stretch: bool = False
    border: int = 0
    ir_window: Mapping[str, Json] | None = None
    tag_columns: tuple[str, ...] = ()
    comments: tuple[str, ...] = ()
    facts: Mapping[str, Json] = field(default_factory=dict)
