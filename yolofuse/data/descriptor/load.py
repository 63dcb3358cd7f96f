"""Read a data set's YAML: where its folders are and what its classes are called. Nothing in it is ever executed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from yolofuse.config.safe_yaml import read_yaml
from yolofuse.data.descriptor.reader import SHARED_KEYS, Reader, Shared, kind_of
from yolofuse.data.descriptor.schema import LEFT_OUT, DatasetDescriptor, IrWindow, Source
from yolofuse.data.problems import is_text, shown
from yolofuse.errors import DataError, listing

_NATIVE_KEYS = ("root", "links", "names", "splits", *SHARED_KEYS)
_FLAT_SPLITS = ("train", "val", "test")
_FLAT_KEYS = (
    *("path", "links", "names", "nc", *SHARED_KEYS),
    *(f"{split}{suffix}" for split in _FLAT_SPLITS for suffix in ("", "_ir", "_labels")),
)
_SOURCE_KEYS = ("name", "rgb", "ir", "labels", "coco", "list", "manifest", "split", *SHARED_KEYS)
_INCLUDE_KEYS = ("name", "descriptor", "split", "classes", "root")


def load_descriptor(path: str | Path, root: str | Path | None = None) -> DatasetDescriptor:
    """The data set that a YAML describes, in our own form or in the flat one of ultralytics with ``*_ir`` keys.

    Args:
        path: The YAML file.
        root: Folder to look in instead of the YAML's own ``root`` (or ``path``); relative to the working directory.

    Raises:
        DataError: With every mistake of the file, and every folder or file that is missing.
    """
    return _load(Path(path), root, ())


def _load(path: Path, root: str | Path | None, including: tuple[Path, ...]) -> DatasetDescriptor:
    document = read_yaml(path, DataError)
    reader = Reader(path)
    native = "splits" in document
    reader.check_keys(document, _NATIVE_KEYS if native else _FLAT_KEYS)
    reader.find_root(document, "root" if native else "path", root)
    reader.find_links(document)
    names = reader.names(document)
    shared = reader.shared(document)
    if native:
        splits = _Splits(reader, names, shared, (*including, path.resolve())).read(document["splits"])
    else:
        splits = _flat_splits(reader, names, shared, document)
    splits = {split: tuple(_with_window(reader, source, splits) for source in parts) for split, parts in splits.items()}
    if reader.problems:
        raise DataError(listing(str(path), reader.problems))
    return DatasetDescriptor(path=path, root=reader.root, names=names, splits=splits)


def _with_window(reader: Reader, source: Source, splits: dict[str, tuple[Source, ...]]) -> Source:
    """The source, told which sources its percentiles are taken over: those of the split with the same window."""
    window = source.ir_window
    if window is None or window.percentile_of is None or source.window_sources:
        return source
    over = tuple(other for other in splits.get(window.percentile_of, ()) if other.ir_window == window)
    if not over:
        problem = f"{source.where}: ir_window: no split {window.percentile_of!r} to take percentiles over; say split:"
        reader.problems.append(f"{problem} one of {', '.join(splits)}, or give [low, high]")
    return replace(source, window_sources=over)


class _Splits:
    """Reads ``splits`` of the native form."""

    def __init__(self, reader: Reader, names: tuple[str, ...], shared: Shared, including: tuple[Path, ...]) -> None:
        self.reader = reader
        self.names = names
        self.shared = shared
        self.including = including

    def read(self, given: object) -> dict[str, tuple[Source, ...]]:
        if not isinstance(given, dict) or not given:
            self.reader.problems.append(f"splits: expected {{train: {{rgb, ir, labels}}, ...}} (got {kind_of(given)})")
            return {}
        splits: dict[str, tuple[Source, ...]] = {}
        for split, parts in given.items():
            name = str(split)
            if not isinstance(split, str | int) or isinstance(split, bool) or not name or not is_text(name):
                self.reader.problems.append(f"splits: expected a name such as train (got {shown(split)})")
            elif name in splits:
                self.reader.problems.append(f"splits.{name}: stands twice, as a number and as text")
            else:
                splits[name] = self._split(name, parts)
        return splits

    def _split(self, split: str, given: object) -> tuple[Source, ...]:
        where = f"splits.{split}"
        if not isinstance(given, list):
            return self._part(split, where, given, prefix="")
        if not given:
            self.reader.problems.append(f"{where}: expected at least one source")
        sources: list[Source] = []
        prefixes: set[str] = set()
        for number, part in enumerate(given, start=1):
            here = f"{where}[{number}]"
            name = part.get("name", str(number)) if isinstance(part, dict) else str(number)
            if not isinstance(name, str) or not name or name in prefixes or not is_text(name):
                problem = f"{here}.name: expected a text that no other source has (got {shown(name)})"
                self.reader.problems.append(problem)
                name = str(number)
            prefixes.add(name)
            sources += self._part(split, here, part, prefix=f"{name}/")
        return tuple(sources)

    def _part(self, split: str, where: str, given: object, prefix: str) -> tuple[Source, ...]:
        if not isinstance(given, dict):
            wanted = "{rgb: , ir: , labels: }, {manifest: } or {descriptor: , split: }"
            self.reader.problems.append(f"{where}: expected {wanted} (got {kind_of(given)})")
            return ()
        if "descriptor" in given:
            return self._include(split, where, given, prefix)
        return (self._source(split, where, given, prefix),)

    def _source(self, split: str, where: str, given: dict[Any, Any], prefix: str) -> Source:
        reader = self.reader
        reader.check_keys(given, _SOURCE_KEYS, f"{where}.")
        shared = reader.shared(given, self.shared, f"{where}.")
        every_class = tuple(range(len(self.names)))
        source = Source(where, reader.root, self.names, every_class, prefix, links=reader.links, **shared.as_fields())
        if "manifest" in given:
            clash = [key for key in ("rgb", "ir", "labels", "list") if key in given]
            if clash:
                reader.problems.append(f"{where}: {', '.join(clash)} and manifest exclude each other")
            return replace(
                source,
                manifest=reader.file(f"{where}.manifest", given["manifest"]),
                manifest_split=reader.text(given, "split", split, f"{where}."),
                coco=reader.file(f"{where}.coco", given["coco"]) if "coco" in given else None,
            )
        if "split" in given:
            reader.problems.append(f"{where}.split: belongs to a manifest or a descriptor; for folders use list")
        if "labels" in given and "coco" in given:
            reader.problems.append(f"{where}: labels and coco exclude each other")
        folders = {key: reader.text(given, key, where=f"{where}.") for key in ("rgb", "ir")}
        if "coco" not in given:
            folders["labels"] = reader.text(given, "labels", where=f"{where}.")
        found = {key: reader.folder(f"{where}.{key}", folder) for key, folder in folders.items()}
        return replace(
            source,
            rgb=found["rgb"],
            ir=found["ir"],
            labels=found.get("labels"),
            coco=reader.file(f"{where}.coco", given["coco"]) if "coco" in given else None,
            keys_file=reader.file(f"{where}.list", given["list"]) if "list" in given else None,
        )

    def _include(self, split: str, where: str, given: dict[Any, Any], prefix: str) -> tuple[Source, ...]:
        """A split of another descriptor, its classes matched by name."""
        reader = self.reader
        reader.check_keys(given, _INCLUDE_KEYS, f"{where}.")
        named = reader.path.absolute().parent / reader.text(given, "descriptor", where=f"{where}.")
        root = reader.text(given, "root", where=f"{where}.") if "root" in given else None
        try:
            file = Path(os.path.realpath(named))
        except ValueError:
            reader.problems.append(f"{where}.descriptor: {str(named)!r} is no path")
            return ()
        if file in self.including:
            reader.problems.append(f"{where}.descriptor: {file} includes itself")
            return ()
        try:
            other = _load(file, root, self.including)
        except DataError as error:
            reader.problems.append(f"{where}.descriptor: {error}")
            return ()
        wanted = reader.text(given, "split", split, f"{where}.")
        if wanted not in other.splits:
            reader.problems.append(f"{where}.split: {file} has no {wanted!r}; it has {', '.join(other.splits)}")
            return ()
        to_ours = self._class_map(where, given.get("classes", {}), other.names)
        return tuple(
            replace(
                source,
                ir_window=_named_after(source.ir_window, str(given["descriptor"])),
                where=f"{where} > {source.where}",
                prefix=prefix + source.prefix,
                class_map=tuple(LEFT_OUT if mid == LEFT_OUT else to_ours[mid] for mid in source.class_map),
            )
            for source in other.splits[wanted]
        )

    def _class_map(self, where: str, given: object, theirs: tuple[str, ...]) -> list[int]:
        """Our class for each of theirs. ``classes`` renames some, or leaves them out with null."""
        problems = self.reader.problems
        if not isinstance(given, dict):
            problems.append(f"{where}.classes: expected {{their name: our name or null}} (got {kind_of(given)})")
            given = {}
        strangers = given.keys() - {*theirs}
        problems += [f"{where}.classes: {shown(name)} is not among {', '.join(theirs)}" for name in strangers]
        chosen = []
        for name in theirs:
            ours = given.get(name, name)
            if ours is not None and ours not in self.names:
                hint = f"write {where}.classes: {{{name}: one of {', '.join(self.names)}, or null to leave it out}}"
                problems.append(f"{where}: its class {name!r} is unknown here; {hint}")
                ours = None
            chosen.append(LEFT_OUT if ours is None else self.names.index(ours))
        return chosen


def _named_after(window: IrWindow | None, include: str) -> IrWindow | None:
    """The window with the place of its descriptor before its name: two sets may both be called data.yaml."""
    return replace(window, name=f"{include} > {window.name}") if window is not None and window.name else window


def _flat_splits(
    reader: Reader, names: tuple[str, ...], shared: Shared, document: dict[str, Any]
) -> dict[str, tuple[Source, ...]]:
    splits: dict[str, tuple[Source, ...]] = {}
    for split in _FLAT_SPLITS:
        if split not in document:
            continue
        rgb = reader.text(document, split)
        ir = reader.text(document, f"{split}_ir")
        if f"{split}_labels" in document:
            labels = reader.text(document, f"{split}_labels")
        else:
            labels = _labels_beside(reader, split, rgb)
        keys = (split, f"{split}_ir", f"{split}_labels")
        rgb_dir, ir_dir, label_dir = map(reader.folder, keys, (rgb, ir, labels))
        source = Source(
            split,
            reader.root,
            names,
            class_map=tuple(range(len(names))),
            rgb=rgb_dir,
            ir=ir_dir,
            labels=label_dir,
            links=reader.links,
            **shared.as_fields(),
        )
        splits[split] = (source,)
    if not splits:
        reader.problems.append("splits: none given; write splits: {train: {rgb: , ir: , labels: }}")
    return splits


def _labels_beside(reader: Reader, split: str, rgb: str) -> str:
    """The split's folder with its last component ``images`` replaced; only ever below the root."""
    parts = list(PurePosixPath(rgb).parts)
    if "images" not in parts:
        if rgb:
            reader.problems.append(f"{split}_labels: missing, and {rgb!r} has no folder 'images' to derive it from")
        return ""
    last = len(parts) - 1 - parts[::-1].index("images")
    return str(PurePosixPath(*parts[:last], "labels", *parts[last + 1 :]))
