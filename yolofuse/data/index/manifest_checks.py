"""Find what rows of a manifest show only together: files of other rows, and splits that are not told apart."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from yolofuse.data.index.name_patterns import NamedFile, pair_names
from yolofuse.data.problems import Problem, join_names
from yolofuse.errors import did_you_mean, plural

Names = Sequence[str]
"""RGB image, IR image and label file of a row, below the root; empty where there is none."""


class ManifestChecks:
    """Collect the rows of a manifest that splits share.

    ``splits`` are those that its rows must name, ``used`` all whose rows the descriptor uses.
    """

    def __init__(self, file: Path, splits: Collection[str], used: Collection[str] = ()) -> None:
        self._file = file
        self._splits = splits
        self._used = used
        self._unused: Counter[str] = Counter()  # rows by their split
        self._users: dict[str, tuple[int, frozenset[str]]] = {}  # of each label file: its first line, and the images
        self._images: dict[str, set[str]] = {"IR images": set(), "label files": set()}  # what each may be called as
        self._unlike: dict[str, list[NamedFile]] = {what: [] for what in self._images}
        self._label_folders: set[str] = set()  # of this split's rows
        self._bare: set[str] = set()  # names of the images of its rows without a label
        self._has_split = False
        self._without_split: list[int] = []  # lines
        self._like_splits: dict[str, None] = {}  # columns that hold names of splits, in their order

    def add_row(self, line: int, row: Mapping[str, Any]) -> None:
        """Note whether a row says its split, and which of its columns might."""
        if "split" in row:
            self._has_split = True
            return
        self._without_split.append(line)
        wanted = {split.lower() for split in self._splits}
        for name, value in row.items() if wanted else ():
            if isinstance(value, str) and value.strip().lower() in wanted:
                self._like_splits[name] = None

    def add_split(self, name: str) -> None:
        """Note the split of a row that belongs to another split."""
        if self._used and name not in self._used:
            self._unused[name] += 1

    def add_files(self, line: int, names: Names) -> None:
        """Note the files of a row, also of one that belongs to another split."""
        rgb, ir = map(pair_names, names[:2])
        self._images["IR images"].update(rgb)
        self._images["label files"].update(rgb, ir)
        self._users.setdefault(names[2], (line, frozenset(names[:2])))

    def check_files(self, line: int, names: Names, key: str, *, is_empty: bool) -> None:
        """Check the files of a row of this split, and note them.

        Raises:
            ValueError: If a row with other images has its label, too, and it holds boxes.
        """
        rgb, ir, label = names
        first, images = self._users.get(label, (0, frozenset()))
        if first and label and not is_empty and not (images & {rgb, ir}) - {""}:
            raise ValueError(f"label: {label} is the label file of line {first}, too; each pair needs its own")
        self.add_files(line, names)
        if label:
            self._label_folders.add(label.rpartition("/")[0])
        else:
            self._bare |= {PurePosixPath(name).stem for name in (rgb, ir) if name}
        for what, name, own in (("IR images", ir, (rgb,)), ("label files", label, (rgb, ir, f"{key}.txt"))):
            called = frozenset(itertools.chain.from_iterable(map(pair_names, own)))
            if not called.issuperset(pair_names(name)[:1]):
                self._unlike[what].append(NamedFile(name, called))

    def problems(self) -> list[Problem]:
        """Return the problem of rows without a split, after the last row."""
        if not self._without_split or not (self._splits or self._has_split):
            return []
        where = f"{self._file}:{self._without_split[0]}"
        text = f"no split, as {plural(len(self._without_split), 'row')}; other rows have one"
        if not self._has_split:
            where = str(self._file)
            advice = " or ".join(f"columns: {{split: {name}}}" for name in self._like_splits)
            text = f"no column split, so that each row would be in {' and '.join(self._splits)}; "
            text += f"write {advice}" if advice else "add one, or write a manifest for each"
        return [Problem("manifest", where, f"{where}: {text}")]

    def warnings(self, root: Path) -> list[Problem]:
        """Return warnings about files of other rows, labels of no row and rows that are not used, after the last row.

        ``root`` is the folder that the names are below.
        """
        warnings = []
        if names := [*self._unused]:
            text = f"{plural(self._unused.total(), 'row')} left out, of splits that the descriptor does not use: "
            shown = f"{join_names(names[:3])}{' ...' if len(names) > 3 else ''}{did_you_mean(names[0], self._used)}"
            warnings.append(f"{self._file}: {text}{shown}")
        for what, unlike in self._unlike.items():
            if others := [file.name for file in unlike if file.name_of(self._images[what])]:
                text = f"{len(others)} {what} are called as images of other rows, such as {join_names(others[:3])}"
                warnings.append(f"{self._file}: {text}; check that rgb, ir and label of each row are of one pair")
        if forgotten := self._forgotten_labels(root):
            text = f"{plural(len(forgotten), 'label file')} of rows without a label, such as "
            warnings.append(f"{self._file}: {text}{join_names(forgotten[:3])}; name it in the row, or remove it")
        return [Problem("manifest", str(self._file), text) for text in warnings]

    def _forgotten_labels(self, root: Path) -> list[str]:
        """Return files called as images of rows without a label, in the folders of other rows' labels."""
        found: set[str] = set()
        for folder in self._label_folders if self._bare else ():
            with suppress(OSError):  # one that can't be listed
                files = [file for file in (root / folder).iterdir() if file.suffix.lower() == ".txt"]
                found |= {f"{folder}/{file.name}".lstrip("/") for file in files if file.stem in self._bare}
        return sorted(found - self._users.keys())
