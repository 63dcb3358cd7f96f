"""Words that a CSV says about each pair, such as day or night: the slices of an evaluation."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from yolofuse.data.descriptor import TagFile
from yolofuse.errors import DataError, listing


def load_tags(spec: TagFile, keys: Sequence[str]) -> list[Mapping[str, str]]:
    """The tags of each pair, in the order of ``keys``.

    A row names a pair by its whole key (``set00/0001``) or by its last component (``0001``).

    Raises:
        DataError: If a column is missing, a row stands twice with other words, or a pair has no row.
    """
    rows: dict[str, dict[str, str]] = {}
    problems: list[str] = []
    with spec.file.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        header = reader.fieldnames or []
        absent = [name for name in (spec.key, *spec.columns) if name not in header]
        if absent:
            raise DataError(f"{spec.file}: no column {', '.join(absent)}; its columns are {', '.join(header)}")
        for row in reader:
            words = {name: (row[name] or "").strip() for name in spec.columns}
            if rows.setdefault(row[spec.key], words) != words:
                problems.append(f"line {reader.line_num}: {row[spec.key]} stands twice, with other tags")
    tags: list[Mapping[str, str]] = []
    for key in keys:
        found = rows.get(key, rows.get(PurePosixPath(key).name))
        if found is None:
            problems.append(f"no row with {spec.key} = {key}")
        else:
            tags.append(found)
    if problems:
        raise DataError(listing(str(spec.file), problems))
    return tags
