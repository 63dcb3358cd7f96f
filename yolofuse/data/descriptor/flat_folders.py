"""Find what a flat YAML does not name: folders of IR images and of labels, and the folders behind a list of images."""

# ruff: noqa: PTH113, PTH208  paths below the root are strings
from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from yolofuse.data.descriptor.path_guard import PathGuard
from yolofuse.data.problems import join_names
from yolofuse.errors import plural
from yolofuse.files import as_stored, decode_text

IR_NAMES = {
    "images": ("imagesIR", "images_ir", "images-ir", "imagesT", "images_t", "images_thermal", "ir_images"),
    "visible": ("infrared", "thermal", "lwir", "ir"),
    "rgb": ("ir", "thermal", "t", "infrared", "tir", "lwir"),
    "color": ("thermal", "infrared", "ir"),
    "vis": ("ir", "infrared", "thermal"),
    "vi": ("ir",),
}
"""For a folder of RGB images, or a word of its name: what the folder of its IR images may be called, in any case."""

_MAX_LIST_BYTES = 1 << 30


class Part(NamedTuple):
    """Folders of one entry of a split, which becomes a source."""

    rgb: Path
    ir: Path
    labels: Path
    keys_file: Path | None = None  # a list of images
    list_folders: frozenset[str] = frozenset()  # only lines of the list that write these folders; empty: all


def ir_names(name: str) -> list[str]:
    """Return what the folder of the IR images of a folder of RGB images may be called, the usual one first."""
    words = re.split(r"([_\- ])", name)
    return [
        "".join([*words[:i], other, *words[i + 1 :]])
        for i, word in enumerate(words)
        for other in IR_NAMES.get(word.lower(), ())
    ]


class FlatFolders:
    """Find the folders of a flat YAML's splits, and collect what was found and what is missing."""

    def __init__(self, guard: PathGuard, notes: list[str], problems: list[str]) -> None:
        self.guard = guard
        self.notes = notes
        self.problems = problems

    def parts(
        self, split: str, rgbs: Sequence[Path], irs: Sequence[Path] | None, labels: Sequence[Path] | None
    ) -> list[Part]:
        """Return the parts of a split; None stands for folders that the YAML does not name.

        An entry of ``rgbs`` is a folder, or a list of image paths.
        """
        before = len(self.problems)
        for suffix, others in (("_ir", irs), ("_labels", labels)):
            if others is not None and len(others) != len(rgbs):
                text = f"names {len(others)}, but {split} names {len(rgbs)}; write one for each"
                self.problems.append(f"{split}{suffix}: {text}")
        if len(self.problems) > before:
            return []
        found: list[Part] = []
        for position, given in enumerate(rgbs):
            ir, label = (None if others is None else others[position] for others in (irs, labels))
            try:
                if ir is not None and ir.is_file():
                    _compare_lists(split, self.guard.root, given, ir)
                folders = self._listed(given, whole=ir is not None) if given.is_file() else {given: frozenset[str]()}
                for rgb, lines in folders.items():
                    folder = rgb.parent if "*" in rgb.name else rgb
                    kept = self._given(ir) if ir else self._ir_beside(split, folder)
                    beside = label or self._labels_beside(split, folder)
                    found.append(Part(rgb, kept, beside, given if given.is_file() else None, lines))
            except (ValueError, OSError) as error:
                self.problems.append(str(error))
        return found

    def _below(self, folder: Path) -> tuple[str, ...]:
        return folder.relative_to(self.guard.root).parts

    def _fitting(self, rgb: Path) -> list[str]:
        """Return the folders below the root that fit a folder of RGB images."""
        parts, found = self._below(rgb), []
        for i, part in enumerate(parts):
            wanted = {name.lower() for name in ir_names(part)} - {part.lower()}
            for name in sorted(os.listdir(self.guard.root.joinpath(*parts[:i]))) if wanted else ():
                if name.lower() in wanted and self.guard.root.joinpath(*parts[:i], name, *parts[i + 1 :]).is_dir():
                    found.append("/".join((*parts[:i], name, *parts[i + 1 :])))
        return found

    def _ir_beside(self, split: str, rgb: Path) -> Path:
        found, parts = self._fitting(rgb), self._below(rgb)
        if len(found) == 1:
            self.notes.append(f"{split}_ir: {found[0]} was found beside {'/'.join(parts)}")
            return self.guard.resolve(found[0], "folder")
        named = [i for i, part in enumerate(parts) if ir_names(part)]
        usual = [*parts[: named[-1]], ir_names(parts[named[-1]])[0], *parts[named[-1] + 1 :]] if named else ["imagesIR"]
        why = f"{' and '.join(found)} fit" if found else "no folder beside it fits"
        raise ValueError(
            f"{split}_ir: is missing for {'/'.join(parts) or '.'}, and {why}; write the folder of its IR images:  "
            f"{split}_ir: {found[0] if found else '/'.join(usual)}"
        )

    def _labels_beside(self, split: str, rgb: Path) -> Path:
        """Return the folder of the labels: ``images`` in the path becomes ``labels``, as ultralytics does.

        Without such a folder, ``visible`` or the like becomes ``labels``, or the labels are beside the images.
        """
        parts = list(self._below(rgb))
        try:
            if "images" in parts:
                parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
                return self.guard.resolve("/".join(parts), "folder")
            named = [
                "/".join((*parts[:i], "labels", *parts[i + 1 :])) for i, part in enumerate(parts) if ir_names(part)
            ]
            found = [path for path in named if (self.guard.root / path).is_dir()]
            if any(name.endswith(".txt") and name != "classes.txt" for name in os.listdir(rgb)):
                found.append("/".join(parts) or ".")
            if len(found) != 1:
                raise ValueError(f"missing, and {'/'.join(parts)!r} has no folder 'images' to derive it from")
            self.notes.append(f"{split}_labels: {found[0]} was found")
            return self.guard.resolve(found[0], "folder")
        except ValueError as error:
            raise ValueError(f"{split}_labels: {error}") from None

    def _given(self, ir: Path) -> Path:
        return next(iter(self._listed(ir, whole=True))) if ir.is_file() else ir

    def _listed(self, file: Path, *, whole: bool) -> dict[Path, frozenset[str]]:
        """Return the folders of the images that a list names, each with how lines of the list write it.

        One folder that holds them all, with no lines, if ``whole`` or if its IR folder is there.
        """
        folders = _read_list(self.guard.root, file)
        common = Path(os.path.commonpath(folders))
        if whole or len(folders) == 1 or self._fitting(common):
            return {common: frozenset()}
        return {folder: frozenset(written) for folder, written in sorted(folders.items())}


def _compare_lists(split: str, root: Path, rgb: Path, ir: Path) -> None:
    """Compare the lists of RGB and of IR images of a split. Raises ValueError if they do not name the same pairs."""
    if not rgb.is_file():
        raise ValueError(f"{split}_ir: {ir.name} is a list, but {split} is a folder; name two lists or two folders")
    named = [[PurePosixPath(line).stem for line in dict.fromkeys(_entries(root, file))] for file in (rgb, ir)]
    if len(named[0]) != len(named[1]):
        counts = f"names {plural(len(named[1]), 'image')}, but {rgb.name} names {len(named[0])}"
        raise ValueError(f"{split}_ir: {ir.name} {counts}; list the IR image of each")
    if others := sorted({*named[1]} - {*named[0]}):
        text = f"{split}_ir: {ir.name} names {join_names(others[:3])}, but {rgb.name} no image called so"
        raise ValueError(f"{text}; list the same pairs in both; pairs whose names differ are listed in a manifest")


def _read_list(root: Path, file: Path) -> dict[Path, set[str]]:
    """Return the folders that lines of a list name, each with how they are written.

    A path may start at the list's folder, at the root or anywhere above: the longest end of it that is a file counts.

    Raises:
        ValueError: If the list can't be read, or names what is no file below the root.
    """
    first: dict[str, str] = {}  # an image of each folder
    for line in _entries(root, file):
        first.setdefault(folder_of(line), PurePosixPath(line).name)
    folders: dict[Path, set[str]] = {}
    for written, name in first.items():
        folders.setdefault(_find_listed(root, file, written, name), set()).add(written)
    if not folders:
        raise ValueError(f"{file}: names no image")
    return folders


def _entries(root: Path, file: Path) -> list[str]:
    """Return the paths that a list names. Raises ValueError if it can't be read."""
    try:
        if file.stat().st_size > _MAX_LIST_BYTES:
            raise ValueError(f"{file}: larger than {_MAX_LIST_BYTES >> 30} GiB")
        lines = decode_text(file.read_bytes()).splitlines()
    except OSError as error:
        raise ValueError(f"{file}: can't be read as text ({error})") from None
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    return [line.strip().replace("\\", "/") for line in lines if is_entry(line, file.parent, root)]


def is_entry(line: str, *folders: Path) -> bool:
    """Return whether a line of a list names something; one with ``#`` does if there is a file below a folder."""
    name = line.strip()
    return bool(name) and (name[0] != "#" or any(os.path.isfile(folder / name) for folder in folders))


def folder_of(line: str) -> str:
    """Return the folder of a line of a list, as it is written."""
    return line.strip().replace("\\", "/").rpartition("/")[0]


def _find_listed(root: Path, file: Path, written: str, name: str) -> Path:
    """Return the folder below the root that a line of a list names."""
    whole = Path(os.path.normpath(file.parent / written))
    if written.startswith("/") and not whole.is_relative_to(root) and os.path.isfile(whole / name):
        raise ValueError(f"{file}: {written}/{name} leaves the root {root}; point path at a folder that holds all")
    parts = PurePosixPath(written.removeprefix(f"{root}/")).parts
    for start in range(len(parts) + 1):
        for base in (file.parent, root):
            folder = Path(os.path.normpath(base / as_stored(base, "/".join(parts[start:]))))
            if folder.is_relative_to(root) and os.path.isfile(folder / as_stored(folder, name)):
                return folder
    raise ValueError(f"{file}: {join_names([f'{written}/{name}'])} is no file below {root}")
