"""Which files belong to a data set: those below its root, also once every link on the way is followed."""

# ruff: noqa: PTH115, PTH118, PTH120
# Here paths are texts, as in matching.py: as objects, those of 200,000 pairs take most of a start.
from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

_MAX_HOPS = 40  # as the system has it
MAX_TEXT_BYTES = 1 << 30
"""Of a file that lists pairs or labels; the largest COCO file in use is half of that."""


class PathGuard:
    """The folders that a data set's files lie in.

    A link may lead from one of them to another, and nowhere else: whoever unpacks an archive does not see where its
    links lead. What belongs to the data set beside its root stands in the descriptor, under ``links``.
    """

    def __init__(self, root: Path, links: Sequence[Path] = ()) -> None:
        self._folders = tuple(os.path.realpath(folder).rstrip(os.sep) + os.sep for folder in (root, *links))
        self._real_folders: dict[str, str] = {}
        self._strays: dict[str, list[str]] = {}

    def contains(self, path: str) -> bool:
        """Whether the file or folder that a path leads to lies inside; one that does not is remembered."""
        real = self._real(path)
        if f"{real}{os.sep}".startswith(self._folders):
            return True
        self._strays.setdefault(os.path.dirname(real), []).append(path)
        return False

    @property
    def strange_folders(self) -> list[str]:
        """The folders outside that were led to."""
        return sorted(self._strays)

    def refusals(self) -> Iterator[tuple[str, str]]:
        """For each strange folder that was led to: one path that leads there, and what to say of it."""
        for folder, paths in sorted(self._strays.items()):
            others = f", and {len(paths) - 1} more," if len(paths) > 1 else ""
            yield (
                paths[0],
                f"{paths[0]!r}{others} leads out of the data set, into {folder!r}; if that belongs to it, say so in "
                f"its YAML: links: [{folder!r}]",
            )

    def _real(self, path: str) -> str:
        """``os.path.realpath``, which asks for each folder of each path again; there are 100,000 in one."""
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
