"""Keep a data set's files below its root, also after every link on the way is followed."""

# ruff: noqa: PTH112, PTH113, PTH115, PTH118, PTH120
# Paths are strings here: as objects, those of 200,000 pairs take most of the start-up time; isdir takes "\0", too.
from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from yolofuse.files import as_stored

GLOB = re.compile(r"[^/]*[*?\[]")
"""From the folder or file of a path on that is a pattern."""
_MAX_HOPS = 40  # as in the kernel


class PathGuard:
    """The folders that a data set's files may be in.

    A link may lead from one of them to another, and nowhere else: whoever unpacks an archive does not see where its
    links lead. Folders beside the root that belong to the data set are listed in the descriptor, under ``links``.
    """

    def __init__(self, root: Path, links: Sequence[Path] = ()) -> None:
        self.root = root
        self.links = tuple(links)
        self._folders = tuple(os.path.realpath(folder).rstrip(os.sep) + os.sep for folder in (root, *links))
        self._real_folders: dict[str, str] = {}
        self._outside: dict[str, list[str]] = {}

    def contains(self, path: str) -> bool:
        """Return whether the file or folder that a path leads to is inside, and record it if not."""
        real = self._real_path(path)
        if f"{real}{os.sep}".startswith(self._folders):
            return True
        self._outside.setdefault(os.path.dirname(real), []).append(path)
        return False

    @property
    def outside_folders(self) -> list[str]:
        """The folders outside the data set that links lead to."""
        return sorted(self._outside)

    def refusals(self) -> Iterator[tuple[str, str]]:
        """Yield, for each folder outside that links lead to, one path that leads there and the error message."""
        for folder, paths in sorted(self._outside.items()):
            others = f", and {len(paths) - 1} more," if len(paths) > 1 else ""
            yield (
                paths[0],
                f"{paths[0]!r}{others} leads out of the data set, into {folder!r}; if that belongs to it, add it to "
                f"its YAML: links: [{folder!r}]",
            )

    def resolve(self, given: str, kind: Literal["folder", "file"]) -> Path:
        """Return the folder or file that the descriptor names. Raises ValueError if it is missing or outside."""
        if "\0" in given:
            raise ValueError("is no path")
        target = Path(os.path.normpath(self.root / as_stored(self.root, given)))
        if not target.is_relative_to(self.root):
            raise ValueError(f"leaves the root {self.root}; point root at a folder that holds all")
        if not self.contains(str(target)):
            real = os.path.realpath(target)
            hint = f"if that belongs to the data set, add links: [{real!r}]"
            raise ValueError(f"is a link that leads out of the data set, to {real!r}; {hint}")
        if not (os.path.isdir(target) if kind == "folder" else os.path.isfile(target)):
            advice = f"; patterns are not expanded here: write the {kind}" if GLOB.search(given) else ""
            raise ValueError(f"no such {kind} {target}{advice}")
        return target

    def _real_path(self, path: str) -> str:
        """Return ``os.path.realpath`` of a path, with the folders cached: 100,000 files share one."""
        for _ in range(_MAX_HOPS):
            folder, name = os.path.split(path)
            if name in ("", ".", ".."):
                return os.path.realpath(path)
            if folder not in self._real_folders:
                self._real_folders[folder] = os.path.realpath(folder)
            path = os.path.join(self._real_folders[folder], name)
            try:
                target = os.readlink(path)
            except OSError:  # no link
                return path
            path = os.path.join(self._real_folders[folder], target)
        return path
