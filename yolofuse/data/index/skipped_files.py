"""Report what is in a source's folders and is not read: files of other formats, service folders, unlabelled copies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from yolofuse.data.descriptor.source import Source
from yolofuse.data.problems import Problem, ProblemKind, join_names
from yolofuse.errors import plural

FOREIGN_SUFFIXES = frozenset({".xml", ".json"})
"""Of labels in other formats, which labelling tools write among or instead of YOLO text files."""


def report_skipped(
    source: Source,
    labels: Mapping[str, str],
    foreign: Mapping[str, str],
    images: Collection[str],
    folders: Collection[str],
    beside_images: Collection[str],
) -> tuple[list[Problem], list[Problem]]:
    """Return errors and warnings: an error for each pair whose only labels are foreign, a warning for the rest.

    Args:
        source: The source.
        labels: Label file of each pair by its key; empty where there is none.
        foreign: Label files of other formats below the root, by key.
        images: Images of other formats below the root.
        folders: Service folders below the root.
        beside_images: Text files called as images and beside them, where labels are elsewhere.
    """
    lost = [key for key, name in labels.items() if not name and key in foreign]
    why = "not read, and there is no .txt; convert it, or add an empty .txt"
    problems = [Problem("foreign-label", key, f"{source.root / foreign[key]}: {why}") for key in lost]
    beside = [foreign[key] for key in foreign.keys() - lost]
    warnings: list[Problem] = []
    found: tuple[tuple[ProblemKind, str, Collection[str]], ...] = (
        ("foreign-label", "files beside the .txt labels are not read", beside),
        ("foreign-label", "text files beside the images are not read, since labels are elsewhere", beside_images),
        ("foreign-image", "images of formats that are not read; convert them to PNG or JPEG", images),
        ("service-folder", "service folders, which hold no data, are not read", folders),
    )
    for kind, what, names in found:
        if names:
            text = f"{source.where}: {len(names)} {what}, such as {join_names(sorted(names)[:3])}"
            warnings.append(Problem(kind, source.where, text))
    if bare := _bare_folders(labels):
        count = f"{plural(sum(bare.values()), 'pair')} in {plural(len(bare), 'folder')} without any label"
        text = f"{source.where}: {count}, such as {join_names([*bare][:3])}"
        text += "; if they are no backgrounds, add the labels or remove the folder"
        warnings.append(Problem("bare-folder", source.where, text))
    return problems, warnings


def _bare_folders(labels: Mapping[str, str]) -> dict[str, int]:
    """Return the number of pairs in each folder in which none has a label file; none where no folder has labels."""
    folders = {key: key.rpartition("/")[0] for key in labels}
    labelled = {folders[key] for key, name in labels.items() if name}
    return dict(Counter(folder or "." for folder in folders.values() if labelled and folder not in labelled))
