"""Tidy the keys of a flat YAML that ultralytics, YOLOFuse, YOLOv11-RGBT or Roboflow wrote."""

# ruff: noqa: PTH118, PTH120  values are a stranger's strings; of one that is no path, Path raises
from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from yolofuse.data.descriptor.flat_folders import ir_names
from yolofuse.data.descriptor.path_guard import GLOB
from yolofuse.data.problems import join_names, short_repr
from yolofuse.errors import closest

FLAT_SPLITS = ("train", "val", "test")
_KEYS = tuple(split + suffix for split in FLAT_SPLITS for suffix in ("", "_ir", "_labels"))
_MAX_CLASSES = 10_000
_HARMLESS = frozenset({"download", "minival", "yaml_file"})  # though they may name files
_OTHER_FORM = frozenset({"root", "splits", "rgb", "ir", "labels", "coco", "list", "manifest", "descriptor"})
_LIKE_OURS = 0.75  # of difflib: from here on a key is taken for a misspelt one


def tidy_keys(document: dict[str, Any], folder: str, known: Collection[str], notes: list[str]) -> list[str]:
    """Change the keys of a flat YAML into those of ``FlatYaml``; return the problems of those that can't be read.

    Args:
        document: Is changed.
        folder: The root.
        known: Keys of ``FlatYaml``; others are removed if they change neither pixels nor labels.
        notes: What is left out, or read otherwise than it is written, is appended.
    """
    for split in FLAT_SPLITS:
        if split not in document and f"{split}_rgb" in document:
            document[split] = document.pop(f"{split}_rgb")
    for key in _KEYS:
        if document.get(key, key) in (None, "", []):  # ultralytics' own files have a test: without a value
            del document[key]
    problems = _drop_unknown(document, folder, known, notes)
    number = document.get("nc")
    if number is not None and type(number) not in (int, float):
        problems.append(
            f"nc: must be a number, as in nc: 2, without quotes (got {short_repr(number)}); or give names alone"
        )
    if "names" not in document and type(number) is int and 0 < number <= _MAX_CLASSES:
        document["names"] = [f"class_{index}" for index in range(number)]
        notes.append("without names, classes are called class_0 and so on")
    for key in _KEYS:
        given = document.get(key)
        if isinstance(given, list):
            document[key] = [_lowered(item, folder, key, notes) for item in given]
        elif key in document:
            document[key] = _lowered(given, folder, key, notes)
    if "test" in document and not any(_exists(item, folder) for item in _as_list(document["test"])):
        notes.append(f"test is left out: {short_repr(document['test'])} is not there")
        for key in _KEYS[6:]:
            document.pop(key, None)
    return problems + _outside(document, folder)


def _drop_unknown(document: dict[str, Any], folder: str, known: Collection[str], notes: list[str]) -> list[str]:
    """Remove keys that can do no harm; one that is spelt like a key of ours stays, and is refused."""
    problems, ignored = [], []
    for key in [key for key in document if key not in known]:
        text = str(key)
        if text == "kpt_shape":
            problems.append("kpt_shape: labels of key points are not read; export boxes, and remove the key")
        elif text not in _HARMLESS and any(_exists(item, folder) for item in _as_list(document[key])):
            problems.append(f"{text}: unknown key that names files; write {', '.join(_KEYS[:3])} and so on")
        elif text in _OTHER_FORM or closest(text, known, cutoff=_LIKE_OURS):
            continue
        else:
            ignored.append(text)
        del document[key]
    if ignored:
        notes.append(f"ignored {join_names(ignored)}" + " (nothing is fetched or run)" * ("download" in ignored))
    return problems


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _exists(given: object, folder: str) -> bool:
    """Return whether a value names something below the root: a file, a folder, or files by a pattern."""
    if not isinstance(given, str) or "\0" in given:
        return False
    return any(text != "" and os.path.lexists(os.path.join(folder, text)) for text in (given, GLOB.split(given)[0]))


def _is_below(given: str, folder: str) -> bool:
    return Path(os.path.normpath(os.path.join(folder, given))).is_relative_to(folder)


def _lowered(given: Any, folder: str, key: str, notes: list[str]) -> Any:
    """Return Roboflow's ``../train/images``, which starts one folder too high, as it is meant."""
    if not isinstance(given, str) or _is_below(given, folder):
        return given
    meant = re.sub(r"^(\.\./)+", "", given)
    if meant == given or not _exists(meant, folder):
        return given
    notes.append(f"{key}: {given} is read as {meant}")
    return meant


def _outside(document: dict[str, Any], folder: str) -> list[str]:
    """Remove folders that lie outside the root; return a problem for each, with the line that makes it a larger one."""
    given = [(key, item) for key in _KEYS for item in _as_list(document.get(key)) if _exists(item, folder)]
    outside = [(key, str(item)) for key, item in given if not _is_below(str(item), folder)]
    if not outside:
        return []
    root = _common_root([os.path.normpath(os.path.join(folder, str(item))) for _, item in given])
    for key, _ in outside:
        document.pop(key, None)
    line = f"if it belongs to the data set, write:  path: {root}"
    return [f"{key}: {item!r} leaves the root {folder}; {line}" for key, item in outside]


def _common_root(paths: Sequence[str]) -> Path:
    """Return the folder that holds all paths, and the folders of the IR images beside them."""
    common = Path(os.path.commonpath([os.path.dirname(path) for path in paths]))
    named = [folder for folder in (common, *common.parents) if ir_names(folder.name)]
    return named[-1].parent if named else common
