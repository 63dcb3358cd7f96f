"""Define what a data set's YAML is read into: splits made of sources, each with its folders, classes and window."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from yolofuse.types import Modality

LEFT_OUT = -1
"""In ``Source.class_map``: a class whose boxes are not used."""


@dataclass(frozen=True, slots=True)
class TagFile:
    """A CSV with one row per pair: ``key`` is the column that names the pair, ``columns`` become its tags."""

    file: Path
    key: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IrWindow:
    """Which thermal counts become 0 and full scale.

    Attributes:
        low: In counts as stored, or as a percentile.
        high: Likewise.
        percentile_of: Split whose thermal images the percentiles are computed over; None where counts are given.
        name: Key of the computed counts in a checkpoint: descriptor, split and percentiles.
    """

    low: float
    high: float
    percentile_of: str | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """One part of a split: two trees of images with labels, or a manifest that lists pairs.

    Attributes:
        where: Its key in the descriptor, for messages.
        root: Folder that holds all its files.
        names: Class names of its labels.
        class_map: Class of the data set for each class of the labels, or ``LEFT_OUT``.
        prefix: Put before each key, so that two sources may share stems.
        rgb: Folder of visible images; None with a manifest.
        ir: Folder of thermal images; None with a manifest.
        labels: Folder of YOLO txt files; None: labels are elsewhere.
        coco: COCO JSON with the labels; None: labels are elsewhere.
        keys_file: A list of the pairs that belong to it; None: all.
        manifest: A CSV or JSONL with a row per pair.
        manifest_split: Rows of this split belong to it.
        frame: The modality in whose pixels labels and results are.
        resize: ``equal``: sizes must be equal; ``stretch``: the other image covers the whole frame.
        affine: Where the other image's pixels lie in the frame, as in ``PairFormat``, if ``resize`` is ``affine``.
        ir_window: Thermal counts to full scale.
        window_sources: The sources whose thermal images percentiles are computed over.
        tags: CSV with the tags that evaluation is sliced by.
        links: Folders outside the root that links in it may lead to.
    """

    where: str
    root: Path
    names: tuple[str, ...]
    class_map: tuple[int, ...]
    prefix: str = ""
    rgb: Path | None = None
    ir: Path | None = None
    labels: Path | None = None
    coco: Path | None = None
    keys_file: Path | None = None
    manifest: Path | None = None
    manifest_split: str | None = None
    frame: Modality = "rgb"
    resize: Literal["equal", "stretch", "affine"] = "equal"
    affine: tuple[float, ...] | None = None
    ir_window: IrWindow | None = None
    window_sources: tuple[Source, ...] = ()
    tags: TagFile | None = None
    links: tuple[Path, ...] = ()

    def files(self) -> tuple[Path, ...]:
        """Return the single files that define what belongs to it: a change of one changes the source."""
        tag_file = self.tags.file if self.tags else None
        named = (self.coco, self.keys_file, self.manifest, tag_file)
        return tuple(file for file in named if file is not None)


@dataclass(frozen=True, slots=True)
class DatasetDescriptor:
    """A data set as its YAML describes it; every folder and file exists.

    Attributes:
        path: The YAML file.
        root: Folder that holds its own files.
        names: Class names; a class id is an index into them.
        splits: Sources of each split.
    """

    path: Path
    root: Path
    names: tuple[str, ...]
    splits: dict[str, tuple[Source, ...]] = field(default_factory=dict)
