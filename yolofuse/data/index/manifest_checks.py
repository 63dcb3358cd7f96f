"""Find what rows of a manifest show only together: labels of other images, and splits that are not told apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

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
        self._stems: set[str] = set()  # of all images
        self._unlike: list[str] = []  # label files that are not called as an image of their row
        self._num_labels = 0
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
        self._stems |= {_stem(name) for name in names[:2]}
        self._users.setdefault(names[2], (line, frozenset(names[:2])))

    def check_label(self, line: int, names: Names, key: str, *, is_empty: bool) -> None:
        """Check the label file of a row of this split, and note its files.

        Raises:
            ValueError: If a row with other images has it, too, and it holds boxes.
        """
        first, images = self._users.get(names[2], (0, frozenset()))
        if first and names[2] and not is_empty and not (images & {*names[:2]}) - {""}:
            raise ValueError(f"label: {names[2]} is the label file of line {first}, too; each pair needs its own")
        self.add_files(line, names)
        self._num_labels += bool(names[2])
        if names[2] and _stem(names[2]) not in {_stem(name) for name in (*names[:2], f"{key}.txt")}:
            self._unlike.append(names[2])

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

    def warnings(self) -> list[Problem]:
        """Return warnings about label files of other rows, and rows of splits that are not used, after the last row."""
        warnings = []
        if names := [*self._unused]:
            text = f"{plural(self._unused.total(), 'row')} left out, of splits that the descriptor does not use: "
            shown = f"{join_names(names[:3])}{' ...' if len(names) > 3 else ''}{did_you_mean(names[0], self._used)}"
            warnings.append(f"{self._file}: {text}{shown}")
        others = [name for name in self._unlike if _stem(name) in self._stems]
        if others:
            warnings.append(self._describe_unlike(others))
        return [Problem("manifest", str(self._file), text) for text in warnings]

    def _describe_unlike(self, others: Sequence[str]) -> str:
        text = f"{len(others)} of {self._num_labels} label files are called as the images of other rows, such as "
        return f"{self._file}: {text}{join_names(others[:3])}; check that the column label fits rgb and ir"


def _stem(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0]
