"""Find the files of a source: RGB with IR with labels, by relative path and stem, or as a manifest lists them."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from yolofuse.data.descriptor.path_guard import MAX_TEXT_BYTES, PathGuard
from yolofuse.data.descriptor.source import Source
from yolofuse.data.images.decode import IMAGE_SUFFIXES
from yolofuse.data.problems import NO_TEXT, Problem, is_text, row_of
from yolofuse.errors import DataError, listing
from yolofuse.types import IntArray

_LABEL_SUFFIXES = frozenset({".txt"})
_CLASS_LIST = "classes.txt"  # labelling tools leave it among the labels


class FoundFile(NamedTuple):
    """A file below a source's root, and what tells cheaply whether it changed."""

    name: str
    """Path below the root; empty where there is none."""
    size: int
    mtime_ns: int


NO_FILE = FoundFile("", -1, -1)


class Names(NamedTuple):
    """What pairs are called: keys, and files below the root."""

    keys: list[str]
    rgb: list[str]
    ir: list[str]


@dataclass(slots=True)
class Matches:
    """The pairs of one source in the order of their keys, column by column, and what is wrong with the other files.

    Attributes:
        keys: What names each pair, without the source's prefix.
        rgb: Files below the root.
        ir: Likewise.
        labels: Likewise; empty where a pair has no label file.
        stamps: int64 (N, 3, 2): size and time of the three files; -1 where there is none.
        tags: Words of each pair, from a manifest; empty where there is none.
        problems: Images without a partner, labels without an image, and so on.
        others: Names of pairs that exist but belong to other splits, as a list or a manifest says.
    """

    keys: list[str] = field(default_factory=list)
    rgb: list[str] = field(default_factory=list)
    ir: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    stamps: IntArray = field(default_factory=lambda: np.zeros((0, 3, 2), np.int64))
    tags: list[Mapping[str, str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    others: Names = field(default_factory=lambda: Names([], [], []))

    @classmethod
    def of(cls, pairs: Mapping[str, tuple[FoundFile, FoundFile, FoundFile]], problems: list[Problem]) -> Matches:
        """Columns from the three files of each key."""
        keys = sorted(pairs)
        rows = [pairs[key] for key in keys]
        stamps = np.array([[file[1:] for file in row] for row in rows], np.int64).reshape(-1, 3, 2)
        rgb, ir, labels = ([row[kind].name for row in rows] for kind in range(3))
        return cls(keys, rgb, ir, labels, stamps, problems=problems)

    def __len__(self) -> int:
        return len(self.keys)

    def only(self, positions: Sequence[int]) -> Matches:
        """The pairs at these positions; problems stay."""
        if len(positions) == len(self):
            return self
        columns = (self.keys, self.rgb, self.ir, self.labels)
        keys, rgb, ir, labels = ([column[i] for i in positions] for column in columns)
        tags = [self.tags[i] for i in positions] if self.tags else []
        return Matches(keys, rgb, ir, labels, self.stamps[list(positions)], tags, self.problems, self.others)


class KeyIndex:
    """Finds the pair that a list or a COCO file names: by key, by path, or by as much of its path as is given.

    ``train/0001.jpg`` is not the pair ``val/0001``: whatever folders a name has must be those of the file.
    """

    def __init__(self, names: Names | Matches) -> None:
        self._by_key = {key: i for i, key in enumerate(names.keys)}
        self._by_last: dict[str, list[tuple[int, str]]] = {}
        for i, paths in enumerate(zip(names.rgb, names.ir, strict=True)):
            for stem in {os.path.splitext(path)[0] for path in paths}:
                self._by_last.setdefault(stem.rpartition("/")[2], []).append((i, stem))

    def find(self, name: str) -> int | None:
        """Position of the pair, or None where no pair, or more than one, is called so."""
        path = PurePosixPath(name.replace("\\", "/")).as_posix()  # drops a leading ./
        stem, suffix = os.path.splitext(path)
        for given in (path, stem) if suffix.lower() in IMAGE_SUFFIXES | _LABEL_SUFFIXES else (path,):
            if given in self._by_key:
                return self._by_key[given]
            found = {i for i, known in self._by_last.get(given.rpartition("/")[2], ()) if _agree(given, known)}
            if found:
                return found.pop() if len(found) == 1 else None
        return None


def _agree(one: str, other: str) -> bool:
    """Whether the shorter of two paths is the end of the longer one."""
    shorter, longer = sorted((f"/{one.lstrip('/')}", f"/{other}"), key=len)
    return longer.endswith(shorter)


def match_folders(source: Source) -> Matches:
    """Every pair of a source that consists of folders.

    Wrong is an image without a partner, two images with one stem, a label without an image, or no images at all.
    """
    if source.rgb is None or source.ir is None:
        raise ValueError(f"{source.where} has no folders")
    problems: list[Problem] = []
    files = _Files(source, problems)
    rgb, ir = files.by_key(source.rgb, IMAGE_SUFFIXES), files.by_key(source.ir, IMAGE_SUFFIXES)
    labels = files.by_key(source.labels, _LABEL_SUFFIXES) if source.labels else {}
    problems += [Problem("outside", path, text) for path, text in files.bounds.refusals()]
    pairs = {key: (rgb[key], ir[key], labels.get(key, NO_FILE)) for key in rgb.keys() & ir.keys()}
    matches = Matches.of(pairs, problems)
    if source.keys_file is not None:
        return _listed(source.keys_file, matches, {**rgb, **ir}.keys())
    if not rgb and not ir:
        known = " ".join(sorted(IMAGE_SUFFIXES))
        text = f"no images in {source.rgb} and {source.ir}; known are {known}"
        problems.append(Problem("no-images", str(source.rgb), text))
    for key in sorted(rgb.keys() - ir.keys()):
        text = f"{source.root / rgb[key].name}: no IR partner in {source.ir}"
        problems.append(Problem("unpaired-rgb", key, text))
    for key in sorted(ir.keys() - rgb.keys()):
        text = f"{source.root / ir[key].name}: no RGB partner in {source.rgb}"
        problems.append(Problem("unpaired-ir", key, text))
    for key in sorted(labels.keys() - rgb.keys() - ir.keys()):
        text = f"{source.root / labels[key].name}: label without an image in {source.rgb}"
        problems.append(Problem("orphan-label", key, text))
    return matches


def _listed(file: Path, matches: Matches, lonely: Collection[str]) -> Matches:
    """The pairs that a list names; files that it does not name are none of its business."""
    index = KeyIndex(matches)
    wanted: set[int] = set()
    for number, line in enumerate(read_lines(file), start=1):
        name = line.strip()
        if not name or name.startswith("#"):
            continue
        found = index.find(name)
        if found is None:
            stem = os.path.splitext(name)[0]
            why = "has no partner" if name in lonely or stem in lonely else "no pair, or more than one, is called so"
            matches.problems.append(Problem("list", name, f"{file}:{number}: {row_of([name])}: {why}"))
        else:
            wanted.add(found)
    if not wanted and not matches.problems:
        matches.problems.append(Problem("no-images", str(file), f"{file}: names no pair"))
    rest = sorted(set(range(len(matches))) - wanted)
    columns = (matches.keys, matches.rgb, matches.ir)
    matches.others = Names(*([column[i] for i in rest] for column in columns))
    return matches.only(sorted(wanted))


def read_lines(file: Path) -> list[str]:
    """The lines of a text file.

    Raises:
        DataError: If it can't be read or is no UTF-8.
    """
    try:
        refuse_huge(file)
        return file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(listing(str(file), [f"can't be read as text ({error})"])) from None


def refuse_huge(file: Path) -> None:
    """Stop before a file of a size that no list of pairs has is read.

    Raises:
        OSError: If it has.
    """
    if file.stat().st_size > MAX_TEXT_BYTES:
        raise OSError(f"larger than {MAX_TEXT_BYTES >> 30} GiB")


class _Files:
    """Finds the files of a source's folders, and gathers what is wrong with them."""

    def __init__(self, source: Source, problems: list[Problem]) -> None:
        self.root = source.root
        self.bounds = PathGuard(source.root, source.links)
        self.problems = problems

    def by_key(self, folder: Path, suffixes: Collection[str]) -> dict[str, FoundFile]:
        """Files with one of the suffixes by their path below the folder without it."""
        found: dict[str, FoundFile] = {}
        below_root = folder.relative_to(self.root).as_posix()
        prefix = "" if below_root == "." else below_root + "/"
        for name, size, mtime_ns in self._walk(folder):
            stem, suffix = os.path.splitext(name)
            is_lost = size < 0
            may_hold_images = is_lost and not suffix  # a folder, as far as one can tell
            if name == _CLASS_LIST or (suffix.lower() not in suffixes and not may_hold_images):
                continue
            if is_lost or not is_text(name):
                why = "a link that leads nowhere; mend or remove it" if is_lost else NO_TEXT
                self.problems.append(Problem("missing-file", stem, f"{os.fspath(folder / name)!r}: {why}"))
                continue
            file = FoundFile(prefix + name, size, mtime_ns)
            if stem in found:
                first, second = sorted((found[stem].name, file.name))
                text = f"{self.root / second}: same stem as {PurePosixPath(first).name}; keep one"
                self.problems.append(Problem("same-stem", stem, text))
            found.setdefault(stem, file)
        return found

    def _walk(self, folder: Path) -> Iterator[tuple[str, int, int]]:
        """Visible files below a folder, each as path below it, size and time; loops of links end.

        Links are followed inside the data set. One that leads nowhere comes with a size of -1; a folder that can't be
        listed is a problem.
        """
        visited: set[str] = set()
        pending = [("", os.fspath(folder))]
        while pending:
            prefix, current = pending.pop()
            real = os.path.realpath(current)
            if real in visited:
                continue
            visited.add(real)
            try:
                with os.scandir(current) as scan:
                    entries = [entry for entry in scan if not entry.name.startswith(".")]
            except OSError as error:
                text = f"{current!r}: can't be listed ({error.strerror}); check its permissions"
                self.problems.append(Problem("unreadable", current, text))
                continue
            for entry in entries:
                try:
                    status = entry.stat()
                except OSError:
                    yield prefix + entry.name, *NO_FILE[1:]
                    continue
                if entry.is_symlink() and not self.bounds.contains(entry.path):
                    continue
                if stat.S_ISDIR(status.st_mode):
                    pending.append((f"{prefix}{entry.name}/", entry.path))
                elif stat.S_ISREG(status.st_mode):
                    yield prefix + entry.name, status.st_size, status.st_mtime_ns


def stamp(path: Path) -> tuple[int, int]:
    """Size and time of a file, in bytes and ns; -1 where there is none."""
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def names_of(problems: Iterable[Problem]) -> list[str]:
    """The messages."""
    return [problem.text for problem in problems]
