"""Read a manifest: a CSV or JSONL with a row per pair, ``rgb``, ``ir``, ``label``, ``split`` and tags."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from yolofuse.data.descriptor.path_guard import PathGuard
from yolofuse.data.descriptor.source import Source
from yolofuse.data.images.decode import IMAGE_SUFFIXES
from yolofuse.data.index.manifest_checks import ManifestChecks
from yolofuse.data.index.matches import NO_FILE, FoundFile, Matches, PairNames, csv_rows, open_text, stamp_of
from yolofuse.data.index.name_patterns import looks_like
from yolofuse.data.problems import Problem, is_text, join_names, short_repr
from yolofuse.data.strict_json import parse_json
from yolofuse.errors import DataError
from yolofuse.files import as_stored

_PATHS = ("rgb", "ir", "label")
_OWN = frozenset({*_PATHS, "split", "tags", "key"})
_LIKE_LABELS = frozenset(
    {"label", "labels", "annotation", "annotations", "anno", "annot", "groundtruth", "boxes", "bboxes"}
)
_WORDS = re.compile(r"[\W_]|(path|file|name)s?$")  # what may be around such a name
_REST = "\0rest"  # key that the CSV reader puts cells beyond the header under
_ABSENT = "\0absent"  # value of cells that a row lacks


def read_manifest(source: Source) -> Matches:
    """Return the pairs of a source that a manifest lists; every file is looked up.

    A row belongs to the source if its ``split`` is the source's, or if the manifest has no such column and is of one
    split. A label file belongs to one row, unless it is empty or the rows share an image. ``key`` defaults to the path
    of the visible image, or of the only one, without extension. Any other column becomes a tag; in a JSONL, ``tags``
    may be a mapping, in a CSV ``name=value`` pairs with ``;`` between them. A CSV's separator is found in its header;
    ``columns`` of the source says what columns of other names are.

    Raises:
        DataError: If the manifest can't be read at all.
    """
    file = source.manifest
    if file is None:
        raise ValueError(f"{source.where} has no manifest")
    rows = _json_rows if file.suffix.lower() == ".jsonl" else _csv_rows
    guard = PathGuard(source.root, source.links)
    checks = ManifestChecks(file, source.manifest_splits, source.manifest_rows)
    problems: list[Problem] = []
    others = PairNames([], [], [])
    pairs: dict[str, tuple[FoundFile, FoundFile, FoundFile]] = {}
    tags: dict[str, Mapping[str, str]] = {}
    pool: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}  # many rows share few distinct tags
    for line, row in rows(file, dict(source.columns)):
        try:
            if _REST in row or _ABSENT in row.values():
                kind = "more" if _REST in row else "fewer"
                raise ValueError(f"{kind} cells than the header has columns; quote a cell that holds a separator")
            checks.add_row(line, row)
            if "split" in row and not _belongs_to_split(_cell(row, "split"), source.manifest_split or ""):
                for cells, column in zip(others, ("key", "rgb", "ir"), strict=True):
                    cells.append(_cell(row, column) or os.path.splitext(_cell(row, "rgb"))[0])
                checks.add_split(_cell(row, "split"))
                checks.add_files(line, [os.path.normpath(_cell(row, column) or ".") for column in _PATHS])
                continue
            key, files, row_tags = _read_row(source, guard, row)
            if key in pairs:
                raise ValueError(f"{key} is given twice")
            checks.check_files(line, [file.name for file in files], key, is_empty=files[2].stamp[0] == 0)
        except ValueError as error:
            problems.append(Problem("manifest", f"{file}:{line}", f"{file}:{line}: {error}"))
            continue
        except _OutsideError:
            continue  # reported below, once per folder
        except FileNotFoundError as error:
            problems.append(Problem("missing-file", f"{file}:{line}", f"{file}:{line}: no such file {error}"))
            continue
        pairs[key] = files
        tags[key] = pool.setdefault(tuple(row_tags.items()), row_tags)
    problems += checks.problems()
    problems += [Problem("outside", path, f"{file}: {text}") for path, text in guard.refusals()]
    if not pairs and not problems:
        text = f"{file}: no row has split {source.manifest_split!r}"
        problems.append(Problem("no-images", str(file), text))
    matches = Matches.of(pairs, problems)
    matches.others = others
    matches.warnings = checks.warnings(source.root)
    matches.tags = [tags[key] for key in matches.keys] if any(pool) else []
    return matches


def _read_row(
    source: Source, guard: PathGuard, row: Mapping[str, Any]
) -> tuple[str, tuple[FoundFile, FoundFile, FoundFile], Mapping[str, str]]:
    """Return key, files and tags of a row. Raises ValueError and as ``_find_file``."""
    if source.coco is not None and _cell(row, "label"):
        raise ValueError("label: the labels of this source come from its COCO file; leave the cell empty")
    files = _find_files(guard, row, source.allow_missing)
    key = _cell(row, "key") or os.path.splitext(files[0].name or files[1].name)[0]
    tags = _parse_tags(row)
    if source.coco is None and not files[2].name:
        _refuse_labels(row, tags)
    if not all(map(is_text, (key, *tags, *tags.values()))):
        raise ValueError("its key or a tag is not plain text")
    return key, files, tags


def _refuse_labels(row: Mapping[str, Any], tags: Mapping[str, str]) -> None:
    """Refuse labels under another name, in a row without a label: label files, and columns of such a name."""
    for name, value in tags.items():
        if value.lower().endswith(".txt") and "label" not in row:
            raise ValueError(f"{name}: holds a label file; write columns: {{label: {name}}}")
        if value and name in row and _WORDS.sub("", name.lower()) in _LIKE_LABELS:
            raise ValueError(
                f"{name}: no column of ours, and a label? Call it label, or write columns: {{label: {name}}}"
            )


def _belongs_to_split(name: str, wanted: str) -> bool:
    """Return whether a row belongs to a split. Raises ValueError for an empty name or one in other case."""
    if name != wanted and name.lower() == wanted.lower():
        raise ValueError(f"split: {name!r} is not {wanted!r}; use the same case")
    if not name:
        raise ValueError("split: empty; each row needs one, or drop the column")
    return name == wanted


class _OutsideError(Exception):
    """Raised for a row whose file is a link that leads out of the data set."""


def _find_files(
    guard: PathGuard, row: Mapping[str, Any], allow_missing: bool
) -> tuple[FoundFile, FoundFile, FoundFile]:
    """Look up the visible image, the thermal image and the label file of a row.

    With ``allow_missing``, one of the images may be left empty or not exist.
    """
    label = _find_file(guard, row, "label")
    if not allow_missing:
        return _find_file(guard, row, "rgb"), _find_file(guard, row, "ir"), label
    found = []
    for column in ("rgb", "ir"):
        try:
            found.append(_find_file(guard, row, column) if _cell(row, column) else NO_FILE)
        except FileNotFoundError:
            found.append(NO_FILE)
    if found == [NO_FILE, NO_FILE]:
        raise ValueError("neither image exists; data.missing: allow needs one of them")
    return found[0], found[1], label


def _find_file(guard: PathGuard, row: Mapping[str, Any], column: str) -> FoundFile:
    """Look up the file of a cell below the root; neither a path nor a link may lead out of it."""
    given = _cell(row, column)
    if not given and column == "label":
        return NO_FILE
    if not given:
        raise ValueError(f"{column}: empty or missing; each row needs rgb and ir")
    if not is_text(given):
        raise ValueError(f"{column}: {given!r} is no path")
    root = os.fspath(guard.root).rstrip(os.sep) + os.sep
    full = os.path.normpath(os.path.join(root, given))
    if not full.startswith(root):
        raise ValueError(f"{column}: {given!r} leaves the root {guard.root}")
    suffix = os.path.splitext(given)[1].lower()
    if column != "label" and suffix not in IMAGE_SUFFIXES:
        raise ValueError(f"{column}: {given!r} is no image; known are {' '.join(sorted(IMAGE_SUFFIXES))}")
    try:
        status = os.stat(full)
    except OSError:
        if (stored := as_stored(root, given)) != given:
            return _find_file(guard, {column: stored}, column)
        raise FileNotFoundError(full) from None
    if not guard.contains(full):
        raise _OutsideError
    if not stat.S_ISREG(status.st_mode):  # reading a pipe would block forever
        raise ValueError(f"{column}: {given!r} is no file")
    return FoundFile(full[len(root) :].replace(os.sep, "/"), stamp_of(status))


def _cell(row: Mapping[str, Any], column: str) -> str:
    value = row.get(column)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{column}: expected text (got {short_repr(value)})")
    return value.strip()


def _parse_tags(row: Mapping[str, Any]) -> dict[str, str]:
    tags = {name: _parse_tag(name, value) for name, value in row.items() if name not in _OWN and value is not None}
    given = row.get("tags")
    if isinstance(given, Mapping):
        tags |= {str(name): _parse_tag(str(name), value) for name, value in given.items()}
    elif isinstance(given, str):
        for part in filter(None, map(str.strip, given.split(";"))):
            name, equals, value = part.partition("=")
            if not equals:
                raise ValueError(f"tags: expected name=value;name=value (got {short_repr(given)})")
            tags[name.strip()] = value.strip()
    elif given is not None:
        raise ValueError(f"tags: expected a mapping, or name=value;name=value (got {short_repr(given)})")
    return tags


def _parse_tag(name: str, value: object) -> str:
    if not isinstance(value, str | int | float):  # a list of a thousand lists could not be printed
        raise ValueError(f"{name}: expected text or a number (got {short_repr(value)})")
    return str(value).strip()


def _csv_rows(file: Path, columns: Mapping[str, str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield line number and cells of each row, by our names of the columns; ``columns`` gives theirs for some."""
    wanted = [columns.get(name, name) for name in ("rgb", "ir")]
    with open_text(file, "CSV") as stream:
        reader, skipped = csv_rows(stream, wanted, restkey=_REST, restval=_ABSENT, strict=True)
        header = reader.fieldnames or []
        names = [_our_name(name, columns) for name in header]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f"{file}: column {join_names(twice)} is given twice")
        absent = [name for name in (*columns.values(), *wanted) if name not in header]
        if absent:
            like = {kind: [name for name in header if looks_like(kind, name)] for kind in ("rgb", "ir")}
            found = ", ".join(f"{kind}: {names[0] if len(names) == 1 else '...'}" for kind, names in like.items())
            where = f"no column {' and '.join(dict.fromkeys(absent))}; its columns are {join_names(header)}"
            raise DataError(f"{file}: {where}; write which are which, columns: {{{found}}}")
        for row in reader:
            yield skipped + reader.line_num, {_our_name(name, columns): value for name, value in row.items()}


def _our_name(name: str, columns: Mapping[str, str]) -> str:
    return next((ours for ours, theirs in columns.items() if theirs == name), name)


def _json_rows(file: Path, columns: Mapping[str, str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with open_text(file, "JSON lines") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = parse_json(line)
            except ValueError as error:
                raise DataError(f"{file}:{number}: not valid JSON ({error})") from None
            if not isinstance(row, dict):
                raise DataError(f"{file}:{number}: expected an object {{rgb, ir, ...}} (got {type(row).__name__})")
            renamed = {_our_name(name, columns): value for name, value in row.items()}
            if len(renamed) < len(row):
                raise DataError(f"{file}:{number}: columns names one for {join_names(columns)}, but it has that too")
            yield number, renamed


def tag_codes(tags: Sequence[Mapping[str, str]]) -> tuple[np.ndarray, tuple[Mapping[str, str], ...]]:
    """Return each pair's tags as an index into the distinct tags, and those."""
    pool: dict[tuple[tuple[str, str], ...], int] = {}
    codes = np.array([pool.setdefault(tuple(row_tags.items()), len(pool)) for row_tags in tags], np.int32)
    return codes, tuple(dict(items) for items in pool)
