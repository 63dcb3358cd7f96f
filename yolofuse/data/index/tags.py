"""Words that a CSV says about each pair, such as day or night: the slices of an evaluation."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from yolofuse.data.descriptor.source import TagFile
from yolofuse.data.index.match_files import refuse_huge
from yolofuse.data.problems import Problem, is_text, row_of, shown
from yolofuse.errors import DataError


def load_tags(spec: TagFile, keys: Sequence[str]) -> tuple[list[Mapping[str, str]], list[Problem]]:
    """The tags of each pair, in the order of ``keys``, and what is wrong with the file.

    A row names a pair by its whole key (``set00/0001``), or by its last component (``0001``) if only one pair has
    that. Wrong is a row that
    stands twice with other words, and a pair without a row.

    Raises:
        DataError: If the file can't be read, or lacks a column.
    """
    rows: dict[str, Mapping[str, str]] = {}
    pool: dict[tuple[str, ...], Mapping[str, str]] = {}  # few different ones among many rows
    faults: list[str] = []
    try:
        refuse_huge(spec.file)
        with spec.file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            header = reader.fieldnames or []
            named = (spec.key, *spec.columns)
            twice = [name for name in dict.fromkeys(named) if header.count(name) > 1]
            if twice:
                raise DataError(f"{spec.file}: column {row_of(twice)} stands twice")
            absent = [name for name in named if name not in header]
            if absent:
                raise DataError(f"{spec.file}: no column {row_of(absent)}; its columns are {row_of(header)}")
            for row in reader:
                if None in (row[name] for name in named):
                    faults.append(f"line {reader.line_num}: fewer cells than the header has columns")
                    continue
                cells = {name: row[name].strip() for name in spec.columns}
                words = pool.setdefault(tuple(cells.values()), cells)
                name = row[spec.key]
                if not all(map(is_text, (name, *cells.values()))):
                    faults.append(f"line {reader.line_num}: its words are no plain text (got {shown([name, *cells])})")
                    continue
                if rows.setdefault(name, words) != words:
                    faults.append(f"line {reader.line_num}: {name} stands twice, with other tags")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{spec.file}: can't be read as CSV ({error})") from None
    tags: list[Mapping[str, str]] = []
    last = Counter(PurePosixPath(key).name for key in keys)
    for key in keys:
        name = PurePosixPath(key).name
        words_of_key = rows.get(key, rows.get(name) if last[name] == 1 else None)
        if words_of_key is None:
            faults.append(f"no row with {spec.key} = {key}")
        tags.append(words_of_key or {})
    return tags, [Problem("tags", str(spec.file), f"{spec.file}: {fault}") for fault in faults]
