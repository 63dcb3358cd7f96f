"""Tell by the names of files which pair they are of: by a pattern such as ``*_RGB.JPG``, or by what they share."""

from __future__ import annotations

import functools
import heapq
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from yolofuse.data.descriptor.flat_folders import IR_NAMES
from yolofuse.data.descriptor.source import Source
from yolofuse.data.problems import Problem
from yolofuse.types import Modality

_NUM_EXAMPLES = 3  # files that patterns are made from: one of them may be lonely
_IR_WORDS = frozenset(name.lower() for names in IR_NAMES.values() for name in names)
_KIND_WORDS = {*IR_NAMES, *_IR_WORDS, "image", "labels", "label", "img", "v"}  # of what a file holds
_WORDS = re.compile(r"[\W_]+")


def looks_like(modality: Modality, name: str) -> bool:
    """Return whether the name of a folder or a column has a word that stands for a modality."""
    words = {*re.split("[^a-z]", name.lower())}
    return bool(words & _IR_WORDS) if modality == "ir" else bool(words & IR_NAMES.keys() and not words & _IR_WORDS)


def key_of(name: str, pattern: str) -> str:
    """Return what ``*`` stands for in a file's name, after its folder; empty if the name does not fit."""
    folder, slash, file = name.rpartition("/")
    start, _, end = pattern.partition("*")
    if not file.startswith(start) or not file.endswith(end) or len(file) <= len(start) + len(end):
        return ""
    return folder + slash + file[len(start) : len(file) - len(end)]


def advise_names(source: Source, rgb: Sequence[str], ir: Sequence[str], *, is_paired: bool) -> list[Problem]:
    """Return a problem, with patterns to write, where a file is both images of a pair, or most files are not paired.

    ``rgb`` and ``ir`` are the files that were found, below the root.
    """
    same = {*rgb} & {*ir}
    if source.rgb is None or source.ir is None or (is_paired and not same):
        return []
    folders = source.rgb.relative_to(source.root), source.ir.relative_to(source.root)
    of_rgb, of_ir = (
        sorted(PurePosixPath(name).relative_to(folder).as_posix() for name in names)
        for names, folder in zip((rgb, ir), folders, strict=True)
    )
    advice = suggest_patterns(*folders, (of_rgb, of_ir))
    what = f"{len(same)} files are both the RGB and the IR image of a pair" if same else "most images have no partner"
    if not same and not advice:
        return []
    return [Problem("names", source.where, f"{source.where}: {what}; {advice or 'name two folders, or patterns'}")]


def find_crossed_folders(source: Source, sources: Iterable[Source]) -> list[Problem]:
    """Return a problem for each folder of a source that is called as the RGB folder of another, which has its own.

    Lists of folders in a flat YAML pair other scenes where they are not in one order for both cameras.
    """
    problems = []
    others = [other for other in sources if other.where != source.where and other.root == source.root]
    own = frozenset(_folder_names(source, source.rgb))
    for part in ("ir", "labels"):
        folder = getattr(source, part)
        theirs = {
            name: other
            for other in others
            for name in _folder_names(other, other.rgb)
            if getattr(other, part) not in (None, folder)
        }
        if folder and (name := NamedFile(_folder_path(source, folder), own).name_of(theirs)):
            what = f"{source.where}: {part} {folder} is called as rgb {theirs[name].rgb} of {theirs[name].where}"
            text = f"{what}, not as its own, {source.rgb}; write both in one order, or list such pairs in a manifest"
            problems.append(Problem("names", source.where, text))
    return problems


def _folder_names(source: Source, folder: Path | None) -> tuple[str, ...]:
    return pair_names(_folder_path(source, folder)) if folder else ()


def _folder_path(source: Source, folder: Path) -> str:
    """Return the path of a folder as that of a file without a suffix: a dot in its name begins none."""
    return f"{folder.relative_to(source.root).as_posix()}."


def suggest_patterns(rgb: Path, ir: Path, names: tuple[Sequence[str], Sequence[str]]) -> str:
    """Return what to write so that most of the files in two folders become pairs; empty if no pattern does that.

    Args:
        rgb: Folder of the RGB images, below the root.
        ir: Folder of the IR images; perhaps the same.
        names: Paths of the files below both.
    """
    best: tuple[int, str, str] = (0, "", "")
    for example in names[0][:: max(len(names[0]) // _NUM_EXAMPLES, 1)]:
        for of_rgb, of_ir in _candidates(example, names[1]):
            keys, ir_keys = ({key_of(name, p) for name in part} for p, part in zip((of_rgb, of_ir), names, strict=True))
            count = len((keys & ir_keys) - {""})
            is_one_file = rgb == ir and any(key_of(name, of_rgb) and key_of(name, of_ir) for name in names[0])
            if count > best[0] and not is_one_file:
                best = count, of_rgb, of_ir
    count, of_rgb, of_ir = best
    files_of_pair = 2 if rgb == ir else 1
    if count < 2 or 2 * files_of_pair * count < min(map(len, names)):
        return ""
    if rgb == ir and looks_like("ir", of_rgb):
        of_rgb, of_ir = of_ir, of_rgb
    return f'{count} pairs would be found with  rgb: "{(rgb / of_rgb).as_posix()}"  ir: "{(ir / of_ir).as_posix()}"'


def _candidates(example: str, others: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield patterns by which a file pairs with those whose names start, or whose stems end, most like its own."""
    one, paths = PurePosixPath(example), [PurePosixPath(other) for other in others if other != example]
    starts = ((_shared(one.name, path.name), path.name) for path in paths)
    for shared, name in heapq.nlargest(_NUM_EXAMPLES, starts):
        if shared:
            yield f"*{one.name[shared:]}", f"*{name[shared:]}"
    ends = ((_shared(one.stem[::-1], path.stem[::-1]), path) for path in paths)
    for shared, path in heapq.nlargest(_NUM_EXAMPLES, ends):
        if shared:
            yield f"{one.stem[:-shared]}*{one.suffix}", f"{path.stem[:-shared]}*{path.suffix}"


def _shared(one: str, other: str) -> int:
    """Return how long a start two names share, without a word or number that goes on and the separator before it."""
    length = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    start, rest = one[:length], (one[length : length + 1], other[length : length + 1])
    for kind in ("[a-zA-Z]", "[0-9]"):
        if any(re.match(kind, text) for text in rest):
            start = re.sub(f"{kind}+$", "", start)
    return len(start.rstrip("_-. "))


class NamedFile(NamedTuple):
    """A file, and by what names the other files of its pair tell their pair."""

    name: str
    own: frozenset[str]

    def name_of(self, others: Collection[str]) -> str:
        """Return the name by which it is rather one of other images; "" if it is not."""
        by = next((name for name in pair_names(self.name) if name in self.own or name in others), "")
        return "" if by in self.own else by


def called_as_others(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Return the IR images of pairs (RGB, IR) that are called as the RGB image of another pair."""
    of_rgb = {name for rgb, _ in pairs for name in pair_names(rgb)}
    return [ir for rgb, ir in pairs if NamedFile(ir, frozenset(pair_names(rgb))).name_of(of_rgb)]


def pair_names(path: str) -> tuple[str, ...]:
    """Return what tells the pair of a file, the surest first: its folders and name, and its name alone.

    Words that tell what it holds, such as ``rgb``, are dropped, and the suffix.
    """
    folder, _, file = path.rpartition("/")
    name, folders = _without_kind(PurePosixPath(file).stem), _folders_without_kind(folder)
    return tuple(dict.fromkeys(filter(None, ("/".join(filter(None, (folders, name))), name))))


@functools.lru_cache(1 << 12)
def _folders_without_kind(folder: str) -> str:
    return "/".join(filter(None, map(_without_kind, folder.split("/"))))


def _without_kind(part: str) -> str:
    return "_".join(word for word in _WORDS.split(part.lower()) if word not in _KIND_WORDS)
