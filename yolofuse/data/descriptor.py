"""Read a data set's YAML: where its folders are and what its classes are called. Nothing in it is ever executed."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from yolofuse.config.yaml_io import read_yaml
from yolofuse.errors import DataError, listing

_NATIVE_KEYS = ("root", "names", "splits", "tags")
_FLAT_SPLITS = ("train", "val", "test")
_FLAT_KEYS = (
    *("path", "names", "nc", "tags"),
    *(f"{split}{suffix}" for split in _FLAT_SPLITS for suffix in ("", "_ir", "_labels")),
)
_FOLDER_KEYS = ("rgb", "ir", "labels")
_TAG_KEYS = ("file", "key", "columns")


@dataclass(frozen=True, slots=True)
class SplitFolders:
    """The three folders of a split; a pair's files share their path relative to them, but for the extension."""

    rgb: Path
    ir: Path
    labels: Path


@dataclass(frozen=True, slots=True)
class TagFile:
    """A CSV with one row per pair: ``key`` is the column that names the pair, ``columns`` become its tags."""

    file: Path
    key: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DatasetDescriptor:
    """A data set as its YAML describes it; every folder exists.

    Attributes:
        path: The YAML file.
        root: Folder that all others lie in.
        names: Class names; a class id is an index into them.
        splits: Folders of each split.
        tags: Where to find words for slices of the evaluation, or None.
    """

    path: Path
    root: Path
    names: tuple[str, ...]
    splits: dict[str, SplitFolders]
    tags: TagFile | None = None


def load_descriptor(path: str | Path, root: str | Path | None = None) -> DatasetDescriptor:
    """The data set that a YAML describes, in our own form or in the flat one of ultralytics with ``*_ir`` keys.

    Args:
        path: The YAML file.
        root: Folder to look in instead of the YAML's own ``root`` (or ``path``); relative to the working directory.

    Raises:
        DataError: With every mistake of the file, and every folder that is missing.
    """
    path = Path(path)
    document = read_yaml(path, DataError)
    reader = _Reader(path)
    native = "splits" in document
    reader.check_keys(document, _NATIVE_KEYS if native else _FLAT_KEYS)
    own_root = reader.text(document, "root" if native else "path", default=".")
    base = Path(root).absolute() if root is not None else path.absolute().parent / own_root
    reader.root = Path(os.path.normpath(base))
    if not reader.root.is_dir():
        reader.problems.append(f"{'root' if native else 'path'}: no such folder {reader.root}; give data.root")
        raise DataError(listing(str(path), reader.problems))

    names = reader.names(document)
    splits = reader.native_splits(document["splits"]) if native else reader.flat_splits(document)
    tags = reader.tags(document["tags"]) if "tags" in document else None
    if reader.problems:
        raise DataError(listing(str(path), reader.problems))
    return DatasetDescriptor(path=path, root=reader.root, names=names, splits=splits, tags=tags)


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__


class _Reader:
    """Reads parts of the document and gathers what is wrong with them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = path.parent
        self.problems: list[str] = []

    def check_keys(self, mapping: dict[Any, Any], known: Iterable[str], where: str = "") -> None:
        known = list(known)
        for key in mapping:
            if key in known:
                continue
            if key == "download":
                self.problems.append("download: refused, nothing is fetched or executed; see scripts/prepare_*")
                continue
            nearest = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {where}{nearest[0]}?" if nearest else f"known are {', '.join(known)}"
            self.problems.append(f"{where}{key}: unknown key; {hint}")

    def text(self, mapping: dict[Any, Any], key: str, default: str | None = None, where: str = "") -> str:
        value = mapping.get(key, default)
        if isinstance(value, str) and value:
            return value
        self.problems.append(f"{where}{key}: expected text (got {_kind(value)})")
        return default or ""

    def names(self, document: dict[str, Any]) -> tuple[str, ...]:
        given = document.get("names")
        if isinstance(given, dict):
            if sorted(given, key=str) != sorted(range(len(given)), key=str):
                self.problems.append(f"names: keys must be 0 .. {len(given) - 1} without gaps (got {list(given)})")
                return ()
            given = [given[index] for index in range(len(given))]
        if not isinstance(given, list) or not given or not all(isinstance(name, str) and name for name in given):
            self.problems.append("names: expected a list of class names, or {0: name, 1: name, ...}")
            return ()
        if len(set(given)) != len(given):
            self.problems.append(f"names: a name stands twice (got {given})")
        if document.get("nc", len(given)) != len(given):
            self.problems.append(f"nc: says {document['nc']} classes, but names lists {len(given)}; drop nc")
        return tuple(given)

    def native_splits(self, given: object) -> dict[str, SplitFolders]:
        if not isinstance(given, dict) or not given:
            self.problems.append(f"splits: expected {{train: {{rgb, ir, labels}}, ...}} (got {_kind(given)})")
            return {}
        splits = {}
        for split, folders in given.items():
            where = f"splits.{split}."
            if not isinstance(folders, dict):
                self.problems.append(f"{where[:-1]}: expected {{rgb: , ir: , labels: }} (got {_kind(folders)})")
                continue
            self.check_keys(folders, _FOLDER_KEYS, where)
            paths = [self._folder(where + key, self.text(folders, key, where=where)) for key in _FOLDER_KEYS]
            splits[str(split)] = SplitFolders(*paths)
        return splits

    def flat_splits(self, document: dict[str, Any]) -> dict[str, SplitFolders]:
        splits = {}
        for split in _FLAT_SPLITS:
            if split not in document:
                continue
            rgb = self.text(document, split)
            ir = self.text(document, f"{split}_ir")
            if f"{split}_labels" in document:
                labels = self.text(document, f"{split}_labels")
            else:
                labels = self._labels_beside(split, rgb)
            keys = (split, f"{split}_ir", f"{split}_labels")
            splits[split] = SplitFolders(*map(self._folder, keys, (rgb, ir, labels)))
        if not splits:
            self.problems.append("splits: none given; write splits: {train: {rgb: , ir: , labels: }}")
        return splits

    def _labels_beside(self, split: str, rgb: str) -> str:
        """The split's folder with its last component ``images`` replaced; only ever below the root."""
        parts = list(PurePosixPath(rgb).parts)
        if "images" not in parts:
            if rgb:
                self.problems.append(f"{split}_labels: missing, and {rgb!r} has no folder 'images' to derive it from")
            return ""
        last = len(parts) - 1 - parts[::-1].index("images")
        return str(PurePosixPath(*parts[:last], "labels", *parts[last + 1 :]))

    def _inside(self, where: str, given: str) -> Path | None:
        # Lexical on purpose: a data set may well consist of links to another disk, but its YAML may not climb out.
        target = Path(os.path.normpath(self.root / given))
        if target.is_relative_to(self.root):
            return target
        self.problems.append(f"{where}: {given!r} leaves the root {self.root}; point root at a folder that holds all")
        return None

    def _folder(self, where: str, given: str) -> Path:
        if not given:  # already reported
            return self.root
        folder = self._inside(where, given)
        if folder is not None and not folder.is_dir():
            self.problems.append(f"{where}: no such folder {folder}")
        return folder or self.root

    def tags(self, given: object) -> TagFile | None:
        if not isinstance(given, dict):
            self.problems.append(f"tags: expected {{file: , key: , columns: []}} (got {_kind(given)})")
            return None
        self.check_keys(given, _TAG_KEYS, "tags.")
        file = self._inside("tags.file", self.text(given, "file", where="tags."))
        key = self.text(given, "key", where="tags.")
        columns = given.get("columns")
        if not isinstance(columns, list) or not columns or not all(isinstance(name, str) for name in columns):
            self.problems.append("tags.columns: expected a list of column names")
            return None
        if file is None or not file.is_file():
            self.problems.append(f"tags.file: no such file {file}")
            return None
        return TagFile(file=file, key=key, columns=tuple(columns))
