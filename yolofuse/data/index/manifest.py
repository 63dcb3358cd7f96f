"""Read a manifest: a CSV or JSONL with a row per pair, ``rgb``, ``ir``, ``label``, ``split`` and tags."""

from __future__ import annotations

import csv
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from yolofuse.data.descriptor.path_guard import PathGuard
from yolofuse.data.descriptor.source import Source
from yolofuse.data.images.decode import IMAGE_SUFFIXES
from yolofuse.data.index.match_files import NO_FILE, FoundFile, Matches, Names, refuse_huge
from yolofuse.data.problems import Problem, is_text, row_of, shown
from yolofuse.data.strict_json import parse_json
from yolofuse.errors import DataError

_PATHS = ("rgb", "ir", "label")
_OWN = frozenset({*_PATHS, "split", "tags", "key"})
_REST = "\0rest"  # where the CSV reader puts cells beyond the header
_ABSENT = "\0absent"  # and what for cells that a row lacks


def read_manifest(source: Source) -> Matches:
    """The pairs of a source that a manifest lists, each file looked for.

    A row belongs to the source if its ``split`` is the source's, or if the manifest has no such column. ``key``
    defaults to the path of the visible image without extension. Whatever other column there is becomes a tag; in a
    JSONL, ``tags`` may be a mapping, in a CSV ``name=word`` pairs with ``;`` between them.

    Raises:
        DataError: If the manifest can't be read at all.
    """
    file = source.manifest
    if file is None:
        raise ValueError(f"{source.where} has no manifest")
    rows = _json_rows if file.suffix.lower() == ".jsonl" else _csv_rows
    bounds = PathGuard(source.root, source.links)
    finder = _Finder(source.root, bounds)
    problems: list[Problem] = []
    others = Names([], [], [])
    pairs: dict[str, tuple[FoundFile, FoundFile, FoundFile]] = {}
    tags: dict[str, Mapping[str, str]] = {}
    pool: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}  # few different ones among many rows
    for line, row in rows(file):
        try:
            if _REST in row or _ABSENT in row.values():
                kind = "more" if _REST in row else "fewer"
                raise ValueError(f"{kind} cells than the header has columns; quote a cell that holds a comma")
            if "split" in row and not _is_of(_word(row, "split"), source.manifest_split or ""):
                for names, column in zip(others, ("key", "rgb", "ir"), strict=True):
                    names.append(_word(row, column) or os.path.splitext(_word(row, "rgb"))[0])
                continue
            if source.coco is not None and _word(row, "label"):
                raise ValueError("label: the labels of this source come from its COCO file; leave the cell empty")
            files = (finder.find(row, "rgb"), finder.find(row, "ir"), finder.find(row, "label"))
            key = _word(row, "key") or os.path.splitext(files[0].name)[0]
            words = _tags(row)
            if not all(map(is_text, (key, *words, *words.values()))):
                raise ValueError("its key or a tag is no plain text")
            if key in pairs:
                raise ValueError(f"{key} stands twice")
        except ValueError as error:
            problems.append(Problem("manifest", f"{file}:{line}", f"{file}:{line}: {error}"))
            continue
        except _OutsideError:
            continue  # told for all of a folder at once
        except FileNotFoundError as error:
            problems.append(Problem("missing-file", f"{file}:{line}", f"{file}:{line}: no such file {error}"))
            continue
        pairs[key] = files
        tags[key] = pool.setdefault(tuple(words.items()), words)
    problems += [Problem("outside", path, f"{file}: {text}") for path, text in bounds.refusals()]
    if not pairs and not problems:
        text = f"{file}: no row has split {source.manifest_split!r}"
        problems.append(Problem("no-images", str(file), text))
    matches = Matches.of(pairs, problems)
    matches.others = others
    matches.tags = [tags[key] for key in matches.keys] if any(pool) else []
    return matches


def _is_of(word: str, wanted: str) -> bool:
    """Whether a row's split is the wanted one. Raises ValueError for a word that is almost it, or none."""
    if word != wanted and word.lower() == wanted.lower():
        raise ValueError(f"split: {word!r} is not {wanted!r}; write it alike")
    if not word:
        raise ValueError("split: empty; each row needs one, or drop the column")
    return word == wanted


class _OutsideError(Exception):
    """A row's file is a link that leads out of the data set."""


class _Finder:
    """Looks for files below a root; neither a path nor a link may lead out of it."""

    def __init__(self, root: Path, bounds: PathGuard) -> None:
        self._root = os.fspath(root)
        self._bounds = bounds

    def find(self, row: Mapping[str, Any], column: str) -> FoundFile:
        given = _word(row, column)
        if not given:
            if column == "label":
                return NO_FILE
            raise ValueError(f"{column}: empty or missing; each row needs rgb and ir")
        if not is_text(given):
            raise ValueError(f"{column}: {given!r} is no path")
        full = os.path.normpath(os.path.join(self._root, given))
        if not full.startswith(self._root.rstrip(os.sep) + os.sep):
            raise ValueError(f"{column}: {given!r} leaves the root {self._root}")
        suffix = os.path.splitext(given)[1].lower()
        if column != "label" and suffix not in IMAGE_SUFFIXES:
            raise ValueError(f"{column}: {given!r} is no image; known are {' '.join(sorted(IMAGE_SUFFIXES))}")
        try:
            status = os.stat(full)
        except OSError:
            raise FileNotFoundError(full) from None
        if not self._bounds.contains(full):
            raise _OutsideError
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for without end
            raise ValueError(f"{column}: {given!r} is no file")
        name = full[len(self._root.rstrip(os.sep)) + 1 :].replace(os.sep, "/")
        return FoundFile(name, status.st_size, status.st_mtime_ns)


def _word(row: Mapping[str, Any], column: str) -> str:
    value = row.get(column)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{column}: expected text (got {shown(value)})")
    return value.strip()


def _tags(row: Mapping[str, Any]) -> dict[str, str]:
    words = {name: _tag(name, value) for name, value in row.items() if name not in _OWN and value is not None}
    given = row.get("tags")
    if isinstance(given, Mapping):
        words |= {str(name): _tag(str(name), word) for name, word in given.items()}
    elif isinstance(given, str):
        for part in filter(None, map(str.strip, given.split(";"))):
            name, equals, word = part.partition("=")
            if not equals:
                raise ValueError(f"tags: expected name=word;name=word (got {shown(given)})")
            words[name.strip()] = word.strip()
    elif given is not None:
        raise ValueError(f"tags: expected a mapping, or name=word;name=word (got {shown(given)})")
    return words


def _tag(name: str, value: object) -> str:
    if not isinstance(value, str | int | float):  # nor a list of a thousand lists, which nobody can print
        raise ValueError(f"{name}: expected a word or a number (got {shown(value)})")
    return str(value).strip()


def _csv_rows(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        refuse_huge(file)
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, restkey=_REST, restval=_ABSENT, strict=True)
            header = reader.fieldnames or []
            twice = sorted({name for name in header if header.count(name) > 1})
            if twice:
                raise DataError(f"{file}: column {row_of(twice)} stands twice")
            absent = [name for name in ("rgb", "ir") if name not in header]
            if absent:
                raise DataError(f"{file}: no column {' and '.join(absent)}; its columns are {row_of(header)}")
            for row in reader:
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: can't be read as CSV ({error})") from None


def _json_rows(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        refuse_huge(file)
        with file.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, start=1):
                if not line.strip():
                    continue
                try:
                    row = parse_json(line)
                except ValueError as error:
                    raise DataError(f"{file}:{number}: not valid JSON ({error})") from None
                if not isinstance(row, dict):
                    raise DataError(f"{file}:{number}: expected an object {{rgb, ir, ...}} (got {type(row).__name__})")
                yield number, row
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: can't be read as JSON lines ({error})") from None


def tag_codes(tags: Sequence[Mapping[str, str]]) -> tuple[np.ndarray, tuple[Mapping[str, str], ...]]:
    """Each pair's tags as a number, and the few different tags that there are."""
    pool: dict[tuple[tuple[str, str], ...], int] = {}
    codes = np.array([pool.setdefault(tuple(words.items()), len(pool)) for words in tags], np.int32)
    return codes, tuple(dict(words) for words in pool)
