"""Read tags of pairs, such as day or night, from a CSV; evaluation is sliced by them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from yolofuse.data.descriptor.source import TagFile
from yolofuse.data.index.matches import csv_rows, open_text
from yolofuse.data.problems import Problem, is_text, join_names, short_repr
from yolofuse.errors import DataError
from yolofuse.files import composed


def load_tags(spec: TagFile, keys: Sequence[str]) -> tuple[list[Mapping[str, str]], list[Problem]]:
    """Return the tags of each pair, in the order of ``keys``, and the problems of the file.

    A row names a pair by its whole key (``set00/0001``), or by its last component (``0001``) if only one pair has
    that. Problems are two rows of one pair with different tags, and a pair without a row.

    Raises:
        DataError: If the file can't be read, or lacks a column.
    """
    rows: dict[str, Mapping[str, str]] = {}
    pool: dict[tuple[str, ...], Mapping[str, str]] = {}  # many rows share few distinct tags
    problems: list[str] = []
    with open_text(spec.file, "CSV") as stream:
        named = (spec.key, *spec.columns)
        reader, skipped = csv_rows(stream, named)
        header = reader.fieldnames or []
        twice = [name for name in dict.fromkeys(named) if header.count(name) > 1]
        if twice:
            raise DataError(f"{spec.file}: column {join_names(twice)} is given twice")
        absent = [name for name in named if name not in header]
        if absent:
            raise DataError(f"{spec.file}: no column {join_names(absent)}; its columns are {join_names(header)}")
        for row in reader:
            where = f"line {skipped + reader.line_num}"
            if None in (row[name] for name in named):
                problems.append(f"{where}: fewer cells than the header has columns")
                continue
            name, cells = composed(row[spec.key]), {name: row[name].strip() for name in spec.columns}
            if not all(map(is_text, (name, *cells.values()))):
                problems.append(f"{where}: its tags are not plain text (got {short_repr([name, *cells])})")
                continue
            row_tags = pool.setdefault(tuple(cells.values()), cells)
            if rows.setdefault(name, row_tags) != row_tags:
                problems.append(f"{where}: {name} is given twice, with different tags")
    tags: list[Mapping[str, str]] = []
    keys = [*map(composed, keys)]
    num_of_name = Counter(PurePosixPath(key).name for key in keys)
    for key in keys:
        name = PurePosixPath(key).name
        key_tags = rows.get(key, rows.get(name) if num_of_name[name] == 1 else None)
        if key_tags is None:
            problems.append(f"no row with {spec.key} = {key}")
        tags.append(key_tags or {})
    return tags, [Problem("tags", str(spec.file), f"{spec.file}: {problem}") for problem in problems]
