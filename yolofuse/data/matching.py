"""Match the files of a split by relative path and stem: RGB with IR with labels."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from yolofuse.data.descriptor import SplitFolders
from yolofuse.data.image_io import IMAGE_SUFFIXES
from yolofuse.errors import DataError, listing

_LABEL_SUFFIXES = frozenset({".txt"})
_CLASS_LIST = "classes.txt"  # labelling tools leave it among the labels


@dataclass(frozen=True, slots=True)
class FileStamp:
    """A file, and what tells cheaply whether it changed."""

    path: Path
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class MatchedFiles:
    """The files of one pair; ``label`` is None for a background image."""

    key: str
    rgb: FileStamp
    ir: FileStamp
    label: FileStamp | None

    def stamps(self) -> Iterator[tuple[str, int, int]]:
        """Relative name, size and time of each file: what a cache's signature is made of."""
        for kind, stamp in (("rgb", self.rgb), ("ir", self.ir), ("label", self.label)):
            if stamp is not None:
                yield f"{kind}:{self.key}{stamp.path.suffix}", stamp.size, stamp.mtime_ns


def match_files(folders: SplitFolders) -> tuple[list[MatchedFiles], list[str]]:
    """Every pair of a split, sorted by key, and what is wrong with the other files.

    Wrong is an image without a partner, two images with one stem, a label without an image, or no images at all.
    """
    problems: list[str] = []
    rgb = _stamps_by_key(folders.rgb, IMAGE_SUFFIXES, problems)
    ir = _stamps_by_key(folders.ir, IMAGE_SUFFIXES, problems)
    labels = _stamps_by_key(folders.labels, _LABEL_SUFFIXES, problems)
    if not rgb and not ir:
        problems.append(f"no images in {folders.rgb} and {folders.ir}; known are {' '.join(sorted(IMAGE_SUFFIXES))}")
    problems += [f"{rgb[key].path}: no IR partner in {folders.ir}" for key in sorted(rgb.keys() - ir.keys())]
    problems += [f"{ir[key].path}: no RGB partner in {folders.rgb}" for key in sorted(ir.keys() - rgb.keys())]
    orphans = sorted(labels.keys() - rgb.keys() - ir.keys())
    problems += [f"{labels[key].path}: label without an image in {folders.rgb}" for key in orphans]
    return [MatchedFiles(key, rgb[key], ir[key], labels.get(key)) for key in sorted(rgb.keys() & ir.keys())], problems


def _stamps_by_key(folder: Path, suffixes: Collection[str], problems: list[str]) -> dict[str, FileStamp]:
    found: dict[str, FileStamp] = {}
    for stamp in _walk(folder):
        if stamp.path.suffix.lower() not in suffixes or stamp.path == folder / _CLASS_LIST:
            continue
        key = stamp.path.relative_to(folder).with_suffix("").as_posix()
        if key in found:
            first, second = sorted((found[key].path, stamp.path))
            problems.append(f"{second}: same stem as {first.name}; keep one")
        found.setdefault(key, stamp)
    return found


def _walk(folder: Path) -> Iterator[FileStamp]:
    """Visible files below a folder; links are followed, each real folder once, so that a loop of links ends."""
    visited: set[str] = set()
    pending = [folder]
    while pending:
        current = pending.pop()
        real = os.path.realpath(current)
        if real in visited:
            continue
        visited.add(real)
        with os.scandir(current) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    pending.append(Path(entry.path))
                elif entry.is_file():
                    status = entry.stat()
                    yield FileStamp(Path(entry.path), status.st_size, status.st_mtime_ns)
