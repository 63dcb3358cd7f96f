"""Define what a data set's YAML is read into: splits made of sources, each with its folders, classes and window."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from yolofuse.types import Modality, Orientation

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
    """Which thermal counts become 0 and full scale."""

    low: float  # in counts as stored, or as a percentile
    high: float
    percentile_of: str | None = None  # split whose thermal images percentiles are computed over; None: counts
    name: str = ""  # key of the computed counts in a checkpoint: descriptor, split and percentiles


@dataclass(frozen=True, slots=True)
class Source:
    """One part of a split: two trees of images with labels, or a manifest that lists pairs."""

    where: str  # its key in the descriptor, for messages
    root: Path  # folder that holds all its files
    names: tuple[str, ...]  # class names of its labels
    class_map: tuple[int, ...]  # class of the data set for each class of the labels, or LEFT_OUT
    prefix: str = ""  # put before each key, so that two sources may share stems
    rgb: Path | None = None  # folder of images; None with a manifest
    ir: Path | None = None
    stacked: bool = False  # each file of ``rgb``, which is also ``ir``, holds both images as four channels
    labels: Path | None = None  # folder of YOLO txt files; None: labels are elsewhere
    patterns: tuple[str, str, str] = ("", "", "")  # of the names of RGB, IR and label files; empty: all
    coco: Path | None = None  # COCO JSON with the labels; None: labels are elsewhere
    shares_images: bool = False  # whether another source has the same images, with labels of its own
    other_coco: tuple[Path, ...] = ()  # theirs, if it is the first of them: it counts the pairs that none lists
    keys_file: Path | None = None  # a list of the pairs that belong to it; None: all
    list_folders: frozenset[str] = frozenset()  # only lines of that list in these folders, as written; empty: all
    manifest: Path | None = None  # a CSV or JSONL with a row per pair
    columns: tuple[tuple[str, str], ...] = ()  # of the manifest: our name, and the name there
    manifest_split: str | None = None  # rows of this split belong to it
    manifest_splits: tuple[str, ...] = ()  # those of the descriptor that share the manifest; empty: only one
    manifest_rows: tuple[str, ...] = ()  # splits of the manifest whose rows the descriptor uses
    frame: Modality = "rgb"  # in whose pixels labels and results are
    resize: Literal["equal", "stretch", "affine"] = "equal"  # stretch: the other image covers the whole frame
    affine: tuple[float, ...] | None = None  # for resize: affine, as in PairFormat
    ir_window: IrWindow | None = None
    orientation: Orientation = "apply"  # apply: images are read upright; ignore: as they are stored
    window_sources: tuple[Source, ...] = ()  # those whose thermal images percentiles are computed over
    tags: TagFile | None = None
    links: tuple[Path, ...] = ()  # folders outside the root that links in it may lead to
    allow_missing: bool = False  # whether an image without a partner is a pair as well

    def files(self) -> tuple[Path, ...]:
        """Return the single files that define what belongs to it: a change of one changes the source."""
        named = (self.coco, self.keys_file, self.manifest, self.tags.file if self.tags else None)
        return (*(file for file in named if file is not None), *self.other_coco)


@dataclass(frozen=True, slots=True)
class DatasetDescriptor:
    """A data set as its YAML describes it; every folder and file exists."""

    path: Path  # the YAML file
    root: Path  # folder that holds its own files
    names: tuple[str, ...]  # a class id is an index into them
    splits: dict[str, tuple[Source, ...]] = field(default_factory=dict)
