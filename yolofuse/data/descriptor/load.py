"""Load a data set's YAML: where its folders are and what its classes are called. Nothing in it is ever executed."""

from __future__ import annotations

import functools
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from yolofuse.config.error_messages import format_errors
from yolofuse.config.safe_yaml import read_yaml
from yolofuse.config.schema import DataConfig
from yolofuse.data.descriptor import schema
from yolofuse.data.descriptor.flat_folders import FlatFolders
from yolofuse.data.descriptor.flat_keys import FLAT_SPLITS, tidy_keys
from yolofuse.data.descriptor.path_guard import PathGuard
from yolofuse.data.descriptor.source import LEFT_OUT, DatasetDescriptor, IrWindow, Source, TagFile
from yolofuse.data.problems import short_repr
from yolofuse.errors import ConfigError, DataError, did_you_mean, listing, plural
from yolofuse.files import composed

_Content = schema.NativeYaml | schema.FlatYaml
_Splits = dict[str, tuple[Source, ...]]
_log_once = functools.cache(logging.getLogger(__name__).info)  # a run loads its descriptor several times


def load_descriptor(path: str | Path, root: str | Path | None = None) -> DatasetDescriptor:
    """Load the data set that a YAML describes, in our own form or in the flat one of ultralytics with ``*_ir`` keys.

    Args:
        path: The YAML file.
        root: Folder to look in instead of the YAML's own ``root`` (or ``path``); relative to the working directory.

    Raises:
        DataError: With every mistake of the file, and every folder or file that is missing.
    """
    return _load(Path(path), root, ())


def configured_descriptor(config: DataConfig) -> DatasetDescriptor:
    """Load the data set of a config, with the classes that the config chooses.

    Raises:
        ConfigError: If the data set has not a class of that name.
        DataError: As of :func:`load_descriptor`.
    """
    if not Path(config.descriptor).exists():
        where = "a relative path starts at the working directory"
        raise DataError(f"data.descriptor: {config.descriptor}: cannot be read (no such file); {where}")
    whole = load_descriptor(config.descriptor, config.root)
    wanted = tuple(map(composed, config.classes))
    unknown = [repr(name) + did_you_mean(name, whole.names) for name in wanted if name not in whole.names]
    if unknown or len({*wanted}) < len(wanted):
        problem = f"no class {', '.join(unknown)}" if unknown else "a class is given twice"
        raise ConfigError(f"data.classes: {problem} (the data set has {', '.join(whole.names)})")
    chosen = wanted or whole.names
    names = chosen if config.single_class is None else (config.single_class,)
    number = {name: 0 if config.single_class else position for position, name in enumerate(chosen)}
    of_class = [number.get(name, LEFT_OUT) for name in whole.names]

    def with_chosen(source: Source) -> Source:
        kept = tuple(LEFT_OUT if mid == LEFT_OUT else of_class[mid] for mid in source.class_map)
        return replace(source, class_map=kept, window_sources=tuple(map(with_chosen, source.window_sources)))

    splits = {split: tuple(map(with_chosen, sources)) for split, sources in whole.splits.items()}
    return replace(whole, names=names, splits=splits)


def _load(path: Path, root: str | Path | None, included_by: tuple[Path, ...]) -> DatasetDescriptor:
    notes: list[str] = []
    content, guard = _validate(path, read_yaml(path, DataError), root, notes)
    builder = _SourceBuilder(path, content, guard, (*included_by, path.resolve()), notes)
    splits = builder.native_splits(content) if isinstance(content, schema.NativeYaml) else builder.flat_splits(content)
    splits = _compare_sources(splits)
    splits = {name: tuple(builder.with_window(source, splits) for source in splits[name]) for name in splits}
    if builder.problems:
        raise DataError(listing(str(path), builder.problems))
    if notes:
        _log_once(f"{path}: {'; '.join(notes)}")
    return DatasetDescriptor(path=path, root=guard.root, names=tuple(content.names), splits=splits)


def _validate(
    path: Path, document: dict[str, Any], root: str | Path | None, notes: list[str]
) -> tuple[_Content, PathGuard]:
    """Return the values of the YAML, and the guard its paths were checked with. Raises DataError with all mistakes."""
    problems, guard = [], None
    model, root_key = (schema.NativeYaml, "root") if "splits" in document else (schema.FlatYaml, "path")
    own, links = document.get(root_key), document.get("links")
    if model is schema.FlatYaml and own is None:
        document.pop(root_key, None)
    base = Path(root).absolute() if root is not None else path.absolute().parent / (own if isinstance(own, str) else "")
    folder = Path(os.path.normpath(base))
    if model is schema.FlatYaml:
        if root is None and isinstance(own, str) and not os.path.isdir(folder) and os.path.isdir(own):  # noqa: PTH112
            folder = Path(os.path.normpath(Path(own).absolute()))
            notes.append(f"path: not beside the YAML, but in the working directory: {folder}")
        problems += tidy_keys(document, str(folder), schema.FlatYaml.model_fields.keys(), notes)
    elif "download" in document:
        del document["download"]
        problems.append("download: refused, nothing is fetched or executed; see yolofuse prepare")
    if os.path.isdir(folder):  # noqa: PTH112  of a name that is no path, Path.is_dir raises
        texts = [text for text in links if isinstance(text, str)] if isinstance(links, list) else []
        guard = PathGuard(folder, [Path(os.path.normpath(folder / text)) for text in texts])
    else:
        problems.append(f"{root_key}: no such folder {folder}; give data.root")
    try:
        content = model.model_validate(document, context=guard)
    except ValidationError as error:
        problems += format_errors(error, model, list_base=1, show=short_repr)
    if problems or guard is None:
        raise DataError(listing(str(path), problems))
    return content, guard


class _SourceBuilder:
    """Make the sources of one descriptor, and collect what does not fit other descriptors or other splits."""

    def __init__(
        self, path: Path, content: _Content, guard: PathGuard, included_by: tuple[Path, ...], notes: list[str]
    ) -> None:
        self.problems: list[str] = []
        self.notes = notes
        self._path = path
        self._content = content
        self._names = tuple(content.names)
        self._guard = guard
        self._included_by = included_by

    def native_splits(self, content: schema.NativeYaml) -> _Splits:
        """Return the sources of every split."""
        splits: _Splits = {}
        for split, given in content.splits.items():
            where = f"splits.{split}"
            if isinstance(given, list):
                parts = [(part, f"{where}[{n}]", f"{part.name or n}/") for n, part in enumerate(given, start=1)]
            else:
                parts = [(given, where, "")]
            splits[split] = tuple(source for part in parts for source in self._sources(split, *part))
        return splits

    def flat_splits(self, content: schema.FlatYaml) -> _Splits:
        """Return the sources of every split, one each."""
        splits: _Splits = {}
        if content.nc not in (None, len(self._names)):
            self.problems.append(
                f"nc: is {short_repr(content.nc)}, but names lists {plural(len(self._names), 'class')}; drop nc"
            )
        finder = FlatFolders(self._guard, self.notes, self.problems)
        for split in FLAT_SPLITS:
            rgbs, irs, labels = (getattr(content, split + suffix) for suffix in ("", "_ir", "_labels"))
            if rgbs is None:
                continue
            before = len(self.problems)
            parts = finder.parts(split, rgbs, irs, labels)
            if split == "test" and splits and irs is None and len(self.problems) > before:
                self.notes.append(f"test is left out: {'; '.join(self.problems[before:])}")
                del self.problems[before:]
                continue
            made: list[Source] = []
            for number, part in enumerate(parts, start=1):
                where, prefix = (split, "") if len(parts) == 1 else (f"{split}[{number}]", f"{number}/")
                folders = schema.FolderSource.model_construct(
                    rgb=part.rgb, ir=part.ir, labels=part.labels, keys_file=part.keys_file
                )
                made += [
                    replace(source, list_folders=part.list_folders)
                    for source in self._sources(split, folders, where, prefix)
                ]
            splits[split] = tuple(made)
        if not splits and not self.problems:
            self.problems.append("splits: none given; write splits: {train: {rgb: , ir: , labels: }}")
        return splits

    def with_window(self, source: Source, splits: _Splits) -> Source:
        """Return the source with those that its percentiles are computed over: of one split, with the same window."""
        window = source.ir_window
        if window is None or window.percentile_of is None or source.window_sources:
            return source
        over = tuple(other for other in splits.get(window.percentile_of, ()) if other.ir_window == window)
        if not over:
            problem = f"{source.where}: ir_window: no split {window.percentile_of!r} to take percentiles over; give"
            self.problems.append(f"{problem} split: one of {', '.join(splits)}, or [low, high]")
        return replace(source, window_sources=over)

    def _sources(self, split: str, given: schema.AnySource, where: str, prefix: str) -> tuple[Source, ...]:
        if isinstance(given, schema.Include):
            return self._include(split, given, where, prefix)
        frame, resize, window, orientation, tags = (
            getattr(given if key in given.model_fields_set else self._content, key)
            for key in ("frame", "resize", "ir_window", "orientation", "tags")
        )
        affine = tuple(value for row in resize.affine for value in row) if isinstance(resize, schema.Affine) else None
        source = Source(
            where=where,
            root=self._guard.root,
            names=self._names,
            class_map=tuple(range(len(self._names))),
            prefix=prefix,
            coco=given.coco,
            frame=frame,
            resize="affine" if affine else resize,
            affine=affine,
            ir_window=self._window(window),
            orientation=orientation,
            tags=TagFile(tags.file, tags.key, tuple(tags.columns)) if tags else None,
            links=self._guard.links,
        )
        if isinstance(given, schema.ManifestSource):
            columns = tuple(given.columns.items())
            return (replace(source, manifest=given.manifest, columns=columns, manifest_split=given.split or split),)
        rgb, ir, labels = (_folder_and_pattern(path) for path in (given.rgb, given.ir, given.labels))
        folders = replace(source, rgb=rgb[0], ir=ir[0], labels=labels[0], patterns=(rgb[1], ir[1], labels[1]))
        if given.stacked and window:
            self.problems.append(f"{where}: rgbir: files of 8 bits are read as they are; ir_window does not apply")
        return (replace(folders, keys_file=given.keys_file, stacked=given.stacked),)

    def _window(self, given: list[float] | schema.Percentiles | None) -> IrWindow | None:
        if isinstance(given, schema.Percentiles):
            low, high = given.percentiles
            return IrWindow(low, high, given.split, f"{self._path.name} {given.split} {low:g}..{high:g}")
        return IrWindow(low=given[0], high=given[1]) if given else None

    def _include(self, split: str, given: schema.Include, where: str, prefix: str) -> tuple[Source, ...]:
        """Return the sources of a split of another descriptor, its classes matched by name."""
        try:
            file = Path(os.path.realpath(self._path.absolute().parent / given.descriptor))
            if file in self._included_by:
                raise DataError(f"{file} includes itself")
            other = _load(file, given.root or None, self._included_by)
        except (DataError, ValueError) as error:  # realpath refuses a NUL with a ValueError
            self.problems.append(f"{where}.descriptor: {error}")
            return ()
        wanted = given.split or split
        if wanted not in other.splits:
            self.problems.append(f"{where}.split: {file} has no {wanted!r}; it has {', '.join(other.splits)}")
            return ()
        renamed = {composed(theirs): ours and composed(ours) for theirs, ours in given.classes.items()}
        class_map = self._class_map(where, renamed, other.names)
        return tuple(
            replace(
                source,
                ir_window=_prefix_name(source.ir_window, given.descriptor),
                where=f"{where} > {source.where}",
                prefix=prefix + source.prefix,
                class_map=tuple(LEFT_OUT if mid == LEFT_OUT else class_map[mid] for mid in source.class_map),
            )
            for source in other.splits[wanted]
        )

    def _class_map(self, where: str, renamed: dict[str, str | None], theirs: tuple[str, ...]) -> list[int]:
        """Return our class for each of theirs. ``renamed`` maps some by name, or leaves them out with null."""
        unknown = renamed.keys() - {*theirs}
        self.problems += [f"{where}.classes: {short_repr(name)} is not among {', '.join(theirs)}" for name in unknown]
        class_map = []
        for name in theirs:
            ours = renamed.get(name, name)
            if ours is not None and ours not in self._names:
                hint = f"write {where}.classes: {{{name}: one of {', '.join(self._names)}, or null to leave it out}}"
                self.problems.append(f"{where}: its class {name!r} is unknown here; {hint}")
                ours = None
            class_map.append(LEFT_OUT if ours is None else self._names.index(ours))
        return class_map


def _compare_sources(splits: _Splits) -> _Splits:
    """Return the splits, each source with what it shares with others: images, and a manifest."""
    coco_files: dict[object, dict[Path | None, None]] = {}
    users: dict[object, dict[str, None]] = {}
    rows: dict[Path | None, dict[str, None]] = {}
    for split, sources in splits.items():
        for source in sources:
            coco_files.setdefault(_images_of(source), {})[source.coco] = None
            users.setdefault((source.manifest, source.coco), {})[split] = None  # COCO files may divide a manifest
            rows.setdefault(source.manifest, {})[source.manifest_split or ""] = None

    def compared(source: Source) -> Source:
        first, *others = coco_files[_images_of(source)]
        named = tuple(users[source.manifest, source.coco]) if source.manifest else ()
        return replace(
            source,
            shares_images=source.shares_images or bool(others),
            other_coco=source.other_coco or (tuple(filter(None, others)) if source.coco == first else ()),
            manifest_splits=source.manifest_splits or (named if len(named) > 1 else ()),
            manifest_rows=source.manifest_rows or (tuple(rows[source.manifest]) if source.manifest else ()),
        )

    return {split: tuple(map(compared, sources)) for split, sources in splits.items()}


def _images_of(source: Source) -> object:
    return source.rgb, source.ir, source.patterns[:2], source.keys_file, source.list_folders, source.manifest


def _folder_and_pattern(path: Path | None) -> tuple[Path | None, str]:
    """Divide ``folder/*_RGB.JPG`` into its folder and the pattern of the names in it."""
    return (path.parent, path.name) if path is not None and "*" in path.name else (path, "")


def _prefix_name(window: IrWindow | None, include: str) -> IrWindow | None:
    """Return the window with the path of its descriptor before its name: two sets may both be called data.yaml."""
    return replace(window, name=f"{include} > {window.name}") if window is not None and window.name else window
