"""Match the labels of a source to its pairs by path; labels of an equally named image elsewhere are never used."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

from yolofuse.convert.conversion_plan import ImageLabels
from yolofuse.convert.source_folder import ImagePair, SourceFolder
from yolofuse.data.index.matches import KeyIndex, PairNames
from yolofuse.data.index.skipped_files import FOREIGN_SUFFIXES
from yolofuse.data.problems import join_names

T = TypeVar("T")


def assign_labels(
    source: SourceFolder, where: str, pairs: Sequence[ImagePair], labels: Iterable[tuple[str, T]]
) -> dict[int, T]:
    """Return the label of each pair that has one, by the pair's position.

    A label's name, a path without suffix, is the pair's key, or the end of the path of one of its images, or the other
    way round: folders that both have must agree. Folders of a label that images lack are ignored, unless they exist
    beside the images: then the label is of an image there. A label that fits several pairs, and a pair with several
    labels, are problems of the source.
    """
    rgb, ir = ([os.path.relpath(getattr(pair, part), source.root) for pair in pairs] for part in ("rgb", "ir"))
    index = KeyIndex(PairNames([pair.key for pair in pairs], rgb, ir))
    found: dict[int, T] = {}
    names: dict[int, str] = {}
    for name, label in labels:
        positions = index.find_all(name, is_file=False) or _find_by_end(source.root, index, pairs, name)
        if len(positions) > 1:
            images = join_names(rgb[i] for i in positions[:3])
            source.problems.append(f"{where}: {name} may belong to {images}; store labels in the images' folders")
        for i in positions if len(positions) == 1 else ():
            if i in found:
                source.problems.append(f"{where}: {names[i]} and {name} are both labels of {rgb[i]}; keep one")
            found[i], names[i] = label, name
    return found


def _find_by_end(root: Path, index: KeyIndex, pairs: Sequence[ImagePair], name: str) -> list[int]:
    """Return the pairs whose key is the end of a name, unless the folders before it exist beside their images."""
    parts = PurePosixPath(name).parts
    for start in range(1, len(parts)):
        key = "/".join(parts[start:])
        found = [i for i in index.find_all(key, is_file=False) if pairs[i].key == key]
        if found:
            folders = [[path.parents[len(parts) - start - 1] for path in (pairs[i].rgb, pairs[i].ir)] for i in found]
            elsewhere = [any(_is_elsewhere(root, folder, parts[:start]) for folder in both) for both in folders]
            return [i for i, is_elsewhere in zip(found, elsewhere, strict=True) if not is_elsewhere]
    return []


def _is_elsewhere(root: Path, folder: Path, parts: tuple[str, ...]) -> bool:
    """Return whether folders of a label, or the last of them, exist beside the images' folder or above it."""
    above = [folder, *folder.parents]
    bases = above[: above.index(root) + 1] if root in above else above[:1]
    tails = [Path(*parts[start:]) for start in range(len(parts))]
    return any(base / tail not in above and (base / tail).is_dir() for base in bases for tail in tails)


def refuse_foreign(
    source: SourceFolder, folder: Path, suffix: str, pairs: Sequence[ImagePair], found: Iterable[int]
) -> None:
    """Report labels of other formats in a folder that belong to pairs without a label of this one."""
    has_label = frozenset(found)
    for other in sorted({*FOREIGN_SUFFIXES, ".txt"} - {suffix}):
        files = source.files(folder, (other,))
        for i, path in assign_labels(source, str(folder), pairs, files.items()).items():
            if i not in has_label:
                source.problems.append(f"{path}: labels of another format, and {pairs[i].key} has no {suffix}")


def warn_other_images(source: SourceFolder, found: Iterable[tuple[ImagePair, ImageLabels]]) -> None:
    """Count the labels of pairs that name the image of another pair instead; files may have been renamed or moved."""
    found = list(found)
    names = [{PurePosixPath(pair.key).name, pair.rgb.stem, pair.ir.stem} for pair, _ in found]
    known = frozenset[str]().union(*names)
    for (pair, image), own in zip(found, names, strict=True):
        named = {image.stem, PurePosixPath(image.file_name).name}
        if named & known and not named & own:
            text = "label files name another image of the set; they are used for the image of their own name"
            source.warn(text, f"{pair.rgb}: {join_names([image.file_name])}")
