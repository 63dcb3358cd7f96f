"""Hold the pairs of a source as columns, and find the pair that a name means."""

from __future__ import annotations

import csv
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TextIO

import numpy as np

from yolofuse.data.images.decode import IMAGE_SUFFIXES
from yolofuse.data.problems import Problem
from yolofuse.errors import DataError
from yolofuse.files import composed, describe_decode_error
from yolofuse.types import IntArray, Modality

LABEL_SUFFIXES = frozenset({".txt"})
MAX_TEXT_BYTES = 1 << 30
"""Of a file that lists pairs or labels; the largest COCO file in use is half of that."""

Stamp = tuple[int, int, int, int]
"""Size, time of the content, time of the inode (both in ns) and inode of a file.

They show cheaply whether it changed: a copy may keep the first two, but not all four. -1 where there is no file.
"""
NO_STAMP: Stamp = (-1, -1, -1, -1)
_INT64 = (1 << 63) - 1
_SEPARATORS = (",", ";", "\t", "|")  # of a CSV


class FoundFile(NamedTuple):
    """A file below a source's root."""

    name: str  # path below the root; empty where there is none
    stamp: Stamp


NO_FILE = FoundFile("", NO_STAMP)


class PairNames(NamedTuple):
    """Keys of pairs, and their files below the root."""

    keys: list[str]
    rgb: list[str]
    ir: list[str]


@dataclass(slots=True)
class Matches:
    """The pairs of one source in the order of their keys, as columns, and the problems of the other files."""

    keys: list[str]  # without the source's prefix
    rgb: list[str]  # files below the root; empty where a pair has no such image
    ir: list[str]
    labels: list[str]  # empty where a pair has no label file
    stamps: IntArray  # int64 (N, 3, 4): ``Stamp`` of the three files
    tags: list[Mapping[str, str]]  # of each pair, from a manifest; empty without one
    problems: list[Problem]  # images without a partner, labels without an image, and so on
    others: PairNames  # pairs that belong to other splits, according to a list or a manifest
    warnings: list[Problem] = field(default_factory=list)  # oddities that need no fix, such as folders that are skipped

    @classmethod
    def of(cls, pairs: Mapping[str, tuple[FoundFile, FoundFile, FoundFile]], problems: list[Problem]) -> Matches:
        """Make the columns from the three files of each key."""
        keys = sorted(pairs)
        rows = [pairs[key] for key in keys]
        stamps = np.array([[file.stamp for file in row] for row in rows], np.int64).reshape(-1, 3, 4)
        rgb, ir, labels = ([row[kind].name for row in rows] for kind in range(3))
        return cls(keys, rgb, ir, labels, stamps, [], problems, PairNames([], [], []))

    def __len__(self) -> int:
        return len(self.keys)

    def has(self, modality: Modality) -> np.ndarray:
        """Return which pairs have an image of a camera: bool (N,)."""
        return np.array([bool(name) for name in (self.rgb if modality == "rgb" else self.ir)], bool)

    def only(self, positions: Sequence[int]) -> Matches:
        """Return the pairs at these positions; problems are kept."""
        if len(positions) == len(self):
            return self
        columns = (self.keys, self.rgb, self.ir, self.labels)
        keys, rgb, ir, labels = ([column[i] for i in positions] for column in columns)
        tags = [self.tags[i] for i in positions] if self.tags else []
        stamps = self.stamps[list(positions)]
        return Matches(keys, rgb, ir, labels, stamps, tags, self.problems, self.others, self.warnings)


_Paths = dict[str, list[tuple[int, str]]]
"""Position and path of pairs' images, by the last part of the path."""


class KeyIndex:
    """Find the pair that a list or a COCO file names: by key, by path, or by the end of its path.

    ``train/0001.jpg`` is not the pair ``val/0001``: all folders of a name must be those of the file. Where a file is
    called ``0001.jpg``, that name is not the pair of ``0001.jpg.png``, though it is its key.
    """

    def __init__(self, names: PairNames | Matches) -> None:
        self._by_key: dict[str, list[int]] = {}
        for i, key in enumerate(names.keys):
            self._by_key.setdefault(composed(key), []).append(i)
        self._by_file: _Paths = {}
        self._by_stem: _Paths = {}
        for i, both in enumerate(zip(names.rgb, names.ir, strict=True)):
            files = {composed(path) for path in both if path}
            for known, paths in (
                (self._by_file, files),
                (self._by_stem, {os.path.splitext(path)[0] for path in files}),
            ):
                for path in paths:
                    known.setdefault(path.rpartition("/")[2], []).append((i, path))

    def find(self, name: str) -> int | None:
        """Return the position of the pair, or None if the name matches no pair or more than one."""
        found = self.find_all(name)
        return found[0] if len(found) == 1 else None

    def find_all(self, name: str, *, is_file: bool = True) -> Sequence[int]:
        """Return the positions of all pairs that a name may mean; not ``is_file``: it has lost its suffix already.

        Of several files of one name, that whose key it is counts, as for a name without suffix.
        """
        path = PurePosixPath(composed(name).replace("\\", "/")).as_posix()  # drops a leading ./
        stem, suffix = os.path.splitext(path)
        is_image = suffix.lower() in IMAGE_SUFFIXES
        if is_file and is_image and (files := _find_path(path, self._by_file)):
            return [i for i in self._by_key.get(stem, ()) if i in files] or sorted(files)
        for given in (path, stem) if is_image or suffix.lower() in LABEL_SUFFIXES else (path,):
            if given in self._by_key:
                return self._by_key[given]
            if found := _find_path(given, self._by_stem):
                return sorted(found)
        return ()


def _find_path(given: str, paths: _Paths) -> set[int]:
    return {i for i, known in paths.get(given.rpartition("/")[2], ()) if is_path_end(given, known)}


def is_path_end(one: str, other: str) -> bool:
    """Return whether the shorter of two paths is the end of the longer one."""
    shorter, longer = sorted((f"/{one.lstrip('/')}", f"/{other}"), key=len)
    return longer.endswith(shorter)


@contextmanager
def open_text(file: Path, kind: str) -> Iterator[TextIO]:
    """Open a list of pairs or labels, which is a ``kind`` such as CSV.

    Raises:
        DataError: If it can't be read, is not UTF-8 or not CSV, or is larger than any such list; also inside the block.
    """
    try:
        if file.stat().st_size > MAX_TEXT_BYTES:
            raise OSError(f"larger than {MAX_TEXT_BYTES >> 30} GiB")
        with file.open(newline="", encoding="utf-8-sig") as stream:
            yield stream
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: {describe_decode_error(error)}") from None
    except (OSError, csv.Error) as error:
        raise DataError(f"{file}: can't be read as {kind} ({error})") from None


def csv_rows(stream: TextIO, wanted: Sequence[str], **options: Any) -> tuple[csv.DictReader[str], int]:
    """Return a reader of a CSV's rows, and how many lines precede its header: Excel's ``sep=;``.

    The separator is the one by which most of the ``wanted`` columns are in the header.
    """
    first = stream.readline()
    skipped = int(first.lower().startswith("sep="))
    first = stream.readline() if skipped else first
    headers = {mark: next(csv.reader([first], delimiter=mark), []) for mark in _SEPARATORS}
    mark = max(headers, key=lambda mark: (sum(name in headers[mark] for name in wanted), len(headers[mark])))
    return csv.DictReader(itertools.chain([first], stream), delimiter=mark, **options), skipped


def stamp_of(file: Path | os.stat_result) -> Stamp:
    """Return the stamp of a file, or of its status; ``NO_STAMP`` if there is none."""
    try:
        status = file.stat() if isinstance(file, Path) else file
    except OSError:
        return NO_STAMP
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino & _INT64  # some inodes need 64 bits
