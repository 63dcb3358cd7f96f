"""Compare the class lists that labelling tools leave among YOLO labels with the names of a data set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import yaml

from yolofuse.config.safe_yaml import parse_yaml
from yolofuse.data.descriptor.path_guard import PathGuard
from yolofuse.data.problems import Problem, join_names
from yolofuse.data.strict_json import parse_json
from yolofuse.files import composed, decode_text, open_regular

CLASSES = "classes.txt"
_NOTES = "notes.json"
_DATA_YAML = "data.yaml"
CLASS_LISTS = (CLASSES, "obj.names", _NOTES, "_darknet.labels", _DATA_YAML)
"""Of labelImg and Label Studio, of CVAT, of Label Studio again, and two of Roboflow."""
_MAX_BYTES = 1 << 20
_BOX_FIELDS = 5


def compare_class_lists(guard: PathGuard, names: Sequence[str], labels: Iterable[str]) -> list[Problem]:
    """Return an error for each class list beside label files, or in a folder above, that contradicts the names.

    Lists may be longer or shorter than ``names``: a number that only one of them has can't mean two classes.

    Args:
        guard: The folders that files may be in, with the root of the data set.
        names: The class of each number in the labels.
        labels: Label files below the root.
    """
    folders = {PurePosixPath(folder) for folder in {name.rpartition("/")[0] for name in labels if name}}
    folders |= {above for folder in folders for above in folder.parents}
    problems: list[Problem] = []
    for folder in sorted(map(str, folders)):
        for path in (guard.root / folder / name for name in CLASS_LISTS):
            if not path.is_file() or not guard.contains(str(path)):
                continue
            if path.name == CLASSES and not is_class_list(path):
                continue
            try:
                listed = _read(path)
            except (OSError, ValueError) as error:
                problems.append(Problem("class-list", str(path), f"{path}: can't be read as a class list ({error})"))
                continue
            ours, theirs = ([name.strip().casefold() for name in both] for both in (names, listed))
            differing = [pair for pair in zip(ours, theirs, strict=False) if pair[0] != pair[1]]
            if path.name == _DATA_YAML:  # of any data set; names may be other words there, but not in another order
                differing = [pair for pair in differing if pair[0] in theirs or pair[1] in ours]
            if differing:
                text = f"{path}: lists the classes {join_names(listed)}, but names are {join_names(names)}"
                hint = "the labels' numbers count in one of these orders; correct the names, or remove the list"
                problems.append(Problem("class-list", str(path), f"{text}; {hint}"))
    return problems + [Problem("outside", path, text) for path, text in guard.refusals()]


def is_class_list(path: Path) -> bool:
    """Return whether a file called ``classes.txt`` holds names, not label lines, as of an image called ``classes``."""
    try:
        lines = [[float(field) for field in line.split()] for line in _text(path).split("\n") if line.strip()]
    except (OSError, ValueError):
        return True
    return not lines or min(map(len, lines)) < _BOX_FIELDS


def _read(path: Path) -> list[str]:
    """Return the names that a list gives to 0, 1, 2, ...; none for a JSON without categories, or another YAML."""
    if path.name == _DATA_YAML:
        return _yaml_names(_text(path))
    if path.name != _NOTES:
        return [composed(line.strip()) for line in _text(path).rstrip().splitlines()]
    document = parse_json(_text(path))
    categories = document.get("categories") if isinstance(document, dict) else None
    if not isinstance(categories, list):
        return []
    found = [
        (record.get("id"), record.get("name")) if isinstance(record, dict) else (None, None) for record in categories
    ]
    by_number = {number: name for number, name in found if isinstance(number, int) and isinstance(name, str)}
    if sorted(by_number) != [*range(len(categories))]:
        raise ValueError("expected categories [{id: 0, name: ...}, {id: 1, ...}, ...]")
    return [composed(by_number[number].strip()) for number in range(len(categories))]


def _yaml_names(text: str) -> list[str]:
    try:
        content = parse_yaml(text)
    except yaml.YAMLError:
        return []
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict) and [*names] == [*range(len(names))]:
        names = [*names.values()]
    return [composed(str(name)) for name in names] if isinstance(names, list) else []


def _text(path: Path) -> str:
    with open_regular(path) as stream:
        content = stream.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise OSError(f"larger than {_MAX_BYTES >> 20} MiB")
    return decode_text(content)
