"""Values of a descriptor's YAML, checked one by one; what is wrong with them is gathered, not raised."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from yolofuse.data.descriptor.path_guard import PathGuard
from yolofuse.data.descriptor.schema import IrWindow, TagFile
from yolofuse.data.problems import is_text, shown
from yolofuse.errors import DataError, listing
from yolofuse.types import Modality

SHARED_KEYS = ("frame", "resize", "ir_window", "tags")
"""Keys that may stand at the top, for all sources, or at a source."""

_TAG_KEYS = ("file", "key", "columns")


@dataclass(frozen=True, slots=True)
class Shared:
    """What a source takes over from the top of the descriptor unless it says otherwise."""

    frame: Modality = "rgb"
    resize: Literal["equal", "stretch", "affine"] = "equal"
    affine: tuple[float, ...] | None = None
    ir_window: IrWindow | None = None
    tags: TagFile | None = None

    def as_fields(self) -> dict[str, Any]:
        """The same as keyword arguments of a ``Source``."""
        return {name: getattr(self, name) for name in ("frame", "resize", "affine", "ir_window", "tags")}


def kind_of(value: object) -> str:
    """What a YAML value is, for messages."""
    return "nothing" if value is None else type(value).__name__


class Reader:
    """Reads parts of the document and gathers what is wrong with them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = path.parent
        self.links: tuple[Path, ...] = ()
        self.problems: list[str] = []
        self._bounds = PathGuard(self.root)

    def find_root(self, document: dict[Any, Any], key: str, given: str | Path | None) -> None:
        """Decide where the files are.

        Raises:
            DataError: If there is no such folder: every path would be reported as missing.
        """
        own = self.text(document, key, default=".")
        base = Path(given).absolute() if given is not None else self.path.absolute().parent / own
        self.root = Path(os.path.normpath(base))
        if not os.path.isdir(self.root):  # noqa: PTH112  a path that is none is no folder either, where Path raises
            self.problems.append(f"{key}: no such folder {self.root}; give data.root")
            raise DataError(listing(str(self.path), self.problems))

    def find_links(self, document: dict[Any, Any]) -> None:
        """Decide where links below the root may lead to beside it."""
        given = document.get("links", [])
        if not isinstance(given, list) or not all(isinstance(folder, str) and folder for folder in given):
            self.problems.append(f"links: expected a list of folders that links may lead to (got {shown(given)})")
            given = []
        self.links = tuple(Path(os.path.normpath(self.root / folder)) for folder in given)
        self._bounds = PathGuard(self.root, self.links)

    def check_keys(self, mapping: dict[Any, Any], known: Iterable[str], where: str = "") -> None:
        """Refuse unknown keys, with the nearest known one."""
        known = list(known)
        for key in mapping:
            if key in known:
                continue
            if key == "download":
                self.problems.append("download: refused, nothing is fetched or executed; see yolofuse.cli.data prepare")
                continue
            nearest = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {where}{nearest[0]}?" if nearest else f"known are {', '.join(known)}"
            self.problems.append(f"{where}{key}: unknown key; {hint}")

    def text(self, mapping: dict[Any, Any], key: str, default: str | None = None, where: str = "") -> str:
        """A text that is not empty."""
        value = mapping.get(key, default)
        if isinstance(value, str) and value:
            return value
        self.problems.append(f"{where}{key}: expected text (got {kind_of(value)})")
        return default or ""

    def names(self, document: dict[str, Any]) -> tuple[str, ...]:
        """Class names, from a list or a mapping of ids."""
        given = document.get("names")
        if isinstance(given, dict):
            if sorted(given, key=str) != sorted(range(len(given)), key=str):
                found = shown(list(given))
                self.problems.append(f"names: keys must be 0 .. {len(given) - 1} without gaps (got {found})")
                return ()
            given = [given[index] for index in range(len(given))]
        if not isinstance(given, list) or not given or not all(isinstance(name, str) and name for name in given):
            self.problems.append("names: expected a list of class names, or {0: name, 1: name, ...}")
            return ()
        if len(set(given)) != len(given):
            self.problems.append(f"names: a name stands twice (got {shown(given)})")
        self.problems += [f"names: {name!r} is no plain text" for name in given if not is_text(name)]
        if document.get("nc", len(given)) != len(given):
            self.problems.append(f"nc: says {shown(document['nc'])} classes, but names lists {len(given)}; drop nc")
        return tuple(given)

    def folder(self, where: str, given: str) -> Path:
        """A folder below the root."""
        if not given:  # already reported
            return self.root
        folder = self._inside(where, given)
        if folder is not None and not os.path.isdir(folder):  # noqa: PTH112  see find_root
            self.problems.append(f"{where}: no such folder {folder}")
        return folder or self.root

    def file(self, where: str, given: object) -> Path | None:
        """A file below the root."""
        if not isinstance(given, str) or not given:
            self.problems.append(f"{where}: expected the path of a file (got {kind_of(given)})")
            return None
        file = self._inside(where, given)
        if file is not None and not os.path.isfile(file):  # noqa: PTH113  see find_root
            self.problems.append(f"{where}: no such file {file}")
        return file

    def _inside(self, where: str, given: str) -> Path | None:
        if "\0" in given:
            self.problems.append(f"{where}: {given!r} is no path")
            return None
        target = Path(os.path.normpath(self.root / given))
        if not target.is_relative_to(self.root):
            hint = "point root at a folder that holds all"
            self.problems.append(f"{where}: {given!r} leaves the root {self.root}; {hint}")
            return None
        if not self._bounds.contains(str(target)):
            real = os.path.realpath(target)
            hint = f"if that belongs to the data set, say links: [{real!r}]"
            self.problems.append(f"{where}: {given!r} is a link that leads out of the data set, to {real!r}; {hint}")
            return None
        return target

    def shared(self, mapping: dict[Any, Any], base: Shared | None = None, where: str = "") -> Shared:
        """The keys that may stand at the top or at a source."""
        base = base or Shared()
        frame = mapping.get("frame", base.frame)
        if frame not in ("rgb", "ir"):
            wanted = "rgb or ir, whose pixels the labels are in"
            self.problems.append(f"{where}frame: expected {wanted} (got {shown(frame)})")
        resize, affine = base.resize, base.affine
        if "resize" in mapping:
            resize, affine = self._resize(mapping["resize"], f"{where}resize")
        window = self._window(mapping["ir_window"], f"{where}ir_window") if "ir_window" in mapping else base.ir_window
        tags = self._tags(mapping["tags"], f"{where}tags") if "tags" in mapping else base.tags
        return Shared(cast(Modality, frame), resize, affine, window, tags)

    def _resize(
        self, given: object, where: str
    ) -> tuple[Literal["equal", "stretch", "affine"], tuple[float, ...] | None]:
        if given in ("equal", "stretch"):
            return given, None
        if isinstance(given, dict) and list(given) == ["affine"]:
            rows = given["affine"]
            is_matrix = isinstance(rows, list) and len(rows) == 2 and all(_are_numbers(row, 3) for row in rows)
            if is_matrix and rows[0][0] * rows[1][1] != rows[0][1] * rows[1][0]:
                return "affine", tuple(float(value) for row in rows for value in row)
            wanted = "[[a, b, c], [d, e, f]] that can be inverted"
            self.problems.append(f"{where}.affine: expected {wanted} (got {shown(rows)})")
            return "affine", None
        wanted = "equal, stretch or {affine: [[a, b, c], [d, e, f]]}"
        self.problems.append(f"{where}: expected {wanted} (got {shown(given)})")
        return "equal", None

    def _window(self, given: object, where: str) -> IrWindow | None:
        if isinstance(given, list) and _are_numbers(given, 2) and given[0] < given[1]:
            return IrWindow(float(given[0]), float(given[1]))
        if isinstance(given, dict):
            self.check_keys(given, ("percentiles", "split"), f"{where}.")
            values: Any = given.get("percentiles")
            split = self.text(given, "split", "train", f"{where}.")
            if _are_numbers(values, 2) and 0 <= values[0] < values[1] <= 100:
                name = f"{self.path.name} {split} {values[0]:g}..{values[1]:g}"
                return IrWindow(float(values[0]), float(values[1]), percentile_of=split, name=name)
        wanted = "[low, high] in counts as stored, or {percentiles: [0.5, 99.5]}, the lower one first"
        self.problems.append(f"{where}: expected {wanted} (got {shown(given)})")
        return None

    def _tags(self, given: object, where: str) -> TagFile | None:
        if not isinstance(given, dict):
            self.problems.append(f"{where}: expected {{file: , key: , columns: []}} (got {kind_of(given)})")
            return None
        self.check_keys(given, _TAG_KEYS, f"{where}.")
        file = self.file(f"{where}.file", given.get("file"))
        key = self.text(given, "key", where=f"{where}.")
        columns = given.get("columns")
        if not isinstance(columns, list) or not columns or not all(isinstance(name, str) for name in columns):
            self.problems.append(f"{where}.columns: expected a list of column names")
            return None
        return TagFile(file=file, key=key, columns=tuple(columns)) if file else None


def _are_numbers(values: Any, count: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        and all(abs(value) < 1e15 and math.isfinite(value) for value in values)
    )
