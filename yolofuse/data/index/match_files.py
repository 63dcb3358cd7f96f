"""Match the RGB, IR and label files of a source's folders by relative path and stem."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath

from yolofuse.data.descriptor.flat_folders import folder_of, is_entry
from yolofuse.data.descriptor.path_guard import PathGuard
from yolofuse.data.descriptor.source import Source
from yolofuse.data.images.decode import IMAGE_SUFFIXES, UNREAD_SUFFIXES, unread_hint
from yolofuse.data.index.class_lists import CLASS_LISTS, CLASSES, is_class_list
from yolofuse.data.index.matches import (
    LABEL_SUFFIXES,
    NO_FILE,
    NO_STAMP,
    FoundFile,
    KeyIndex,
    Matches,
    PairNames,
    Stamp,
    open_text,
    stamp_of,
)
from yolofuse.data.index.name_patterns import advise_names, key_of
from yolofuse.data.index.skipped_files import FOREIGN_SUFFIXES, report_skipped
from yolofuse.data.problems import UNPRINTABLE_NAME, Problem, is_text, join_names
from yolofuse.errors import plural
from yolofuse.files import LinkWalk, composed, is_hidden

_MAX_LINE = 4096  # bytes


def match_folders(source: Source) -> Matches:
    """Return all pairs of a source that consists of folders.

    Problems are an image without a partner, two images with one stem, a label without an image, or no images at all.
    """
    if source.rgb is None or source.ir is None:
        raise ValueError(f"{source.where} has no folders")
    problems: list[Problem] = []
    guard = PathGuard(source.root, source.links)
    files = _FolderScanner(guard, problems)
    rgb = files.by_key(source.rgb, IMAGE_SUFFIXES, source.patterns[0])
    ir = rgb if source.stacked else files.by_key(source.ir, IMAGE_SUFFIXES, source.patterns[1])
    if source.rgb == source.ir and all(source.patterns[:2]):
        _divide_by_longer_pattern(rgb, ir, len(source.patterns[1]) - len(source.patterns[0]))
    labels = files.by_key(source.labels, LABEL_SUFFIXES, source.patterns[2]) if source.labels else {}
    if any(source.patterns[:2]) and not source.patterns[2]:
        labels = files.of_images(labels, *((rgb, source.rgb) if source.frame == "rgb" else (ir, source.ir)))
    _drop_class_lists(source, labels, files.foreign, rgb.keys() | ir.keys())
    problems += [Problem("outside", path, text) for path, text in guard.refusals()]
    keys = rgb.keys() & ir.keys()
    if keys and source.allow_missing:  # where no key has both, the names differ
        keys = rgb.keys() | ir.keys()
    pairs = {key: (rgb.get(key, NO_FILE), ir.get(key, NO_FILE), labels.get(key, NO_FILE)) for key in keys}
    matches = Matches.of(pairs, problems)
    has_lonely = source.keys_file is None and bool((rgb.keys() | ir.keys()) - keys)
    if not source.stacked:
        names = ([file.name for file in found.values()] for found in (rgb, ir))
        problems += advise_names(source, *names, is_paired=not has_lonely or 2 * len(keys) >= min(len(rgb), len(ir)))
    if source.keys_file is not None:
        matches = _select_listed(source.keys_file, source, matches, {**rgb, **ir}.keys())
    labels_of = dict(zip(matches.keys, matches.labels, strict=True))
    used = frozenset(matches.labels)
    beside = [file for key, file in files.beside.items() if source.labels and key in labels_of and file not in used]
    lost, warnings = report_skipped(source, labels_of, files.foreign, files.unread.values(), files.skipped, beside)
    matches.warnings += warnings
    matches.problems += lost
    orphans = {key: f"{source.root / labels[key].name}" for key in sorted(labels.keys() - rgb.keys() - ir.keys())}
    if source.keys_file is not None:
        matches.problems += _lost_labels(source, _beside_unlabelled(orphans, matches), files)
        return matches
    problems += _without_images(source, rgb, ir, files)
    problems += _unpaired(source, rgb, ir, keys, files)
    problems += _lost_labels(source, orphans, files)
    return matches


def _lost_labels(source: Source, orphans: Mapping[str, str], files: _FolderScanner) -> list[Problem]:
    """Return a problem for each label file, by the key of the image that it lacks."""
    where = f"label without an image in {source.rgb}"
    return [
        Problem("orphan-label", key, f"{file}: {where}{files.unread_hint(source.rgb, key)}")
        for key, file in orphans.items()
    ]


def _without_images(
    source: Source, rgb: Mapping[str, FoundFile], ir: Mapping[str, FoundFile], files: _FolderScanner
) -> Iterator[Problem]:
    """Yield a problem if both folders hold no image, and for each pattern that none fits."""
    if not rgb and not ir:
        text = f"no images in {source.rgb} and {source.ir}; known are {' '.join(sorted(IMAGE_SUFFIXES))}"
        text += unread_hint(next(iter(files.unread.values()), ""))
        yield Problem("no-images", str(source.rgb), text)
    for folder, pattern, found in zip((source.rgb, source.ir), source.patterns, (rgb, ir), strict=False):
        if folder and pattern and not found:
            yield Problem("no-images", source.where, f"{folder / pattern}: no image is called so")


def _unpaired(
    source: Source,
    rgb: Mapping[str, FoundFile],
    ir: Mapping[str, FoundFile],
    keys: Collection[str],
    files: _FolderScanner,
) -> Iterator[Problem]:
    """Yield a problem for each image whose key is not one of the pairs'."""
    for key in sorted(rgb.keys() - keys):
        text = f"{source.root / rgb[key].name}: no IR partner in {source.ir}{files.unread_hint(source.ir, key)}"
        yield Problem("unpaired-rgb", key, text)
    for key in sorted(ir.keys() - keys):
        text = f"{source.root / ir[key].name}: no RGB partner in {source.rgb}{files.unread_hint(source.rgb, key)}"
        yield Problem("unpaired-ir", key, text)


def _divide_by_longer_pattern(rgb: dict[str, FoundFile], ir: dict[str, FoundFile], longer_by: int) -> None:
    """Give files that both patterns fit, as ``A_*.JPG`` and ``A_*_R.JPG`` do, to the camera of the longer one alone."""
    both = {file.name for file in rgb.values()} & {file.name for file in ir.values()}
    of_shorter = rgb if longer_by > 0 else ir
    for key in [key for key, file in of_shorter.items() if file.name in both] if longer_by else ():
        del of_shorter[key]


def _beside_unlabelled(orphans: Mapping[str, str], matches: Matches) -> dict[str, str]:
    """Return the labels, by key, in the folder of a pair without one; others may be of images that are not listed."""
    bare = {_folder_of(key) for key, label in zip(matches.keys, matches.labels, strict=True) if not label}
    return {key: file for key, file in orphans.items() if _folder_of(key) in bare and not _is_list(Path(file))}


def _folder_of(key: str) -> str:
    return key.rpartition("/")[0].casefold()


def _is_list(file: Path) -> bool:
    """Return whether a text file beside labels is a list of images."""
    try:
        with file.open("rb") as stream:
            name = stream.readline(_MAX_LINE).decode(errors="replace").strip()
    except OSError:
        return False
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _drop_class_lists(
    source: Source, labels: dict[str, FoundFile], foreign: dict[str, str], images: Collection[str]
) -> None:
    """Remove class lists from the labels, but not a JSON that is called as an image."""
    for key, file in [*labels.items()]:
        is_list = key not in images or is_class_list(source.root / file.name)
        if PurePosixPath(file.name).name == CLASSES and is_list:
            del labels[key]
    for key in foreign.keys() - {*images}:
        if PurePosixPath(foreign[key]).name in CLASS_LISTS:
            del foreign[key]


def _select_listed(file: Path, source: Source, matches: Matches, keys: Collection[str]) -> Matches:
    """Return the pairs that a list names; other files are ignored, even if unpaired. ``keys`` are those of all."""
    with open_text(file, "text") as stream:
        lines = stream.read().splitlines()
    index = KeyIndex(matches)
    bases = [folder for folder in (file.parent, source.root, source.rgb, source.ir) if folder]
    wanted: set[int] = set()
    num_repeated = 0
    for number, line in enumerate(lines, start=1):
        name = line.strip()
        if not is_entry(line, *bases) and name not in keys:
            continue
        if source.list_folders and folder_of(line) not in source.list_folders:
            continue
        found = index.find(name)
        if found is None:
            name = composed(name)
            stem = os.path.splitext(name)[0]
            why = f"matches no pair, or more than one{unread_hint(name)}"
            if name in keys or stem in keys:
                why = "only one of its images is there, by that name; pairs of other names are listed in a manifest"
            matches.problems.append(Problem("list", name, f"{file}:{number}: {join_names([name])}: {why}"))
        else:
            num_repeated += found in wanted
            wanted.add(found)
    if not wanted and not matches.problems:
        matches.problems.append(Problem("no-images", str(file), f"{file}: names no pair"))
    rest = sorted(set(range(len(matches))) - wanted)
    columns = (matches.keys, matches.rgb, matches.ir)
    matches.others = PairNames(*([column[i] for i in rest] for column in columns))
    if num_repeated:
        text = f"{file}: {plural(num_repeated, 'repeated line')}: a pair counts once, however often it is listed"
        matches.warnings.append(Problem("list", str(file), text))
    return matches.only(sorted(wanted))


class _FolderScanner:
    """Find the files of a source's folders, and collect what is wrong with them."""

    def __init__(self, guard: PathGuard, problems: list[Problem]) -> None:
        self.guard = guard
        self.problems = problems
        self.foreign: dict[str, str] = {}  # labels of another format, by key: path below the root
        self.unread: dict[tuple[Path, str], str] = {}  # images that are not read, by folder and key: below the root
        self.skipped: set[str] = set()  # service folders, below the root
        self.beside: dict[str, str] = {}  # label files among images, by key: below the root

    def by_key(self, folder: Path, suffixes: Collection[str], pattern: str = "") -> dict[str, FoundFile]:
        """Return files with one of the suffixes by their key: what a pattern says, or the path without suffix."""
        found: dict[str, FoundFile] = {}
        below_root = folder.relative_to(self.guard.root).as_posix()
        prefix = "" if below_root == "." else below_root + "/"
        for name, stamp in self._walk(folder):
            stem, suffix = os.path.splitext(composed(name))
            if suffixes is LABEL_SUFFIXES and suffix.lower() in FOREIGN_SUFFIXES:
                self.foreign[stem] = prefix + name
            if suffixes is IMAGE_SUFFIXES and suffix.lower() in LABEL_SUFFIXES:
                self.beside[stem] = prefix + name
            if suffixes is IMAGE_SUFFIXES and suffix.lower() in UNREAD_SUFFIXES:
                self.unread[folder, stem] = prefix + name
            is_broken = stamp == NO_STAMP
            may_hold_images = is_broken and not suffix  # probably a folder
            if suffix.lower() not in suffixes and not may_hold_images:
                continue
            if pattern:
                stem = key_of(composed(name), composed(pattern))
                if not stem:
                    continue
            if is_broken or not is_text(name):
                why = "a link that leads nowhere; fix or remove it" if is_broken else UNPRINTABLE_NAME
                self.problems.append(Problem("missing-file", stem, f"{os.fspath(folder / name)!r}: {why}"))
                continue
            file = FoundFile(prefix + name, stamp)
            if stem in found:
                first, second = sorted((found[stem].name, file.name))
                text = f"{self.guard.root / second}: same stem as {PurePosixPath(first).name}; keep one"
                self.problems.append(Problem("same-stem", stem, text))
            found.setdefault(stem, file)
        return found

    def unread_hint(self, folder: Path | None, key: str) -> str:
        """Return what to do about the image of a key that is in a folder, but is not read."""
        return unread_hint(self.unread.get((folder, key), "") if folder else "")

    def of_images(
        self, labels: Mapping[str, FoundFile], images: Mapping[str, FoundFile], folder: Path
    ) -> dict[str, FoundFile]:
        """Return labels by the keys of images that a pattern found; a label is called as the key or as the image."""
        below = len((folder.relative_to(self.guard.root) / "x").as_posix()) - 1
        keys = {os.path.splitext(composed(file.name[below:]))[0]: key for key, file in images.items()}
        found: dict[str, FoundFile] = {}
        for stem, file in labels.items():
            key = stem if stem in images else keys.get(stem, stem)
            if key in found:
                first = PurePosixPath(found[key].name).name
                text = f"{self.guard.root / file.name}: of the same pair as {first}; keep one"
                self.problems.append(Problem("same-stem", key, text))
            found[key] = file
        return found

    def _walk(self, folder: Path) -> Iterator[tuple[str, Stamp]]:
        """Yield the visible files below a folder: path below it and stamp.

        Links are followed inside the data set, see ``LinkWalk``. A link that leads nowhere has ``NO_STAMP``; a folder
        that can't be listed is a problem.
        """
        walk = LinkWalk()
        pending = [("", os.fspath(folder), frozenset[str]())]
        while pending:
            prefix, current, above = pending.pop()
            try:
                if not (here := walk.enter(current, above)):
                    continue
                with os.scandir(current) as scan:
                    entries = list(scan)
            except OSError as error:
                text = f"{current!r}: can't be listed ({error.strerror}); check its permissions"
                self.problems.append(Problem("unreadable", current, text))
                continue
            for entry in entries:
                if is_hidden(entry.name):
                    if not entry.name.startswith("."):
                        self.skipped.add(os.path.relpath(entry.path, self.guard.root))
                    continue
                try:
                    status = entry.stat()
                except OSError:
                    yield prefix + entry.name, NO_STAMP
                    continue
                if entry.is_symlink() and not self.guard.contains(entry.path):
                    continue
                if stat.S_ISDIR(status.st_mode):
                    pending.append((f"{prefix}{entry.name}/", entry.path, here))
                elif stat.S_ISREG(status.st_mode):
                    yield prefix + entry.name, stamp_of(status)
