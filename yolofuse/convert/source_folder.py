"""Find, pair, read and hash the files of a source data set, and collect its problems and what is left out."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from yolofuse.data.images.decode import IMAGE_SUFFIXES, UNREAD_SUFFIXES, unread_hint
from yolofuse.data.index.class_lists import CLASSES, is_class_list
from yolofuse.data.problems import UNPRINTABLE_NAME, is_text
from yolofuse.errors import DataError, listing
from yolofuse.files import LinkWalk, composed, decode_text, is_hidden

MIB = 1 << 20
_NUM_EXAMPLES = 10
_SERVICE = "service folders, which hold no data"


class SourceFolder:
    """A published data set as it was unpacked; it is only read.

    ``problems`` are errors, which ``check`` raises all at once; ``warnings`` do not stop the conversion.
    """

    def __init__(self, root: Path) -> None:
        if not os.path.isdir(root):  # noqa: PTH112  False for an invalid path, where Path raises
            raise DataError(f"{root}: no such folder; --src names the unpacked data set")
        self.root = Path(os.path.realpath(root))
        if not is_text(str(self.root)):
            raise DataError(f"{str(self.root)!r}: {UNPRINTABLE_NAME}")
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self._left_out: dict[str, list[str]] = {}
        self._oddities: dict[str, list[str]] = {}
        self._refused: dict[str, list[str]] = {}
        self._digests: dict[str, str] = {}
        self._labels: set[Path] = set()
        self._walked: dict[Path, list[Path]] = {}
        self._more_roots: list[Path] = []
        self._bar = tqdm(desc="reading annotations", unit="file", delay=1, disable=None)

    @property
    def folders(self) -> tuple[Path, ...]:
        """All folders that hold originals: the root and those of ``add_root``."""
        return (self.root, *self._more_roots)

    def check(self) -> None:
        """Raise every problem found so far.

        Raises:
            DataError: If there is one.
        """
        self._bar.close()
        problems = self.problems + [f"{len(what)} {why}; first {what[0]}" for why, what in self._refused.items()]
        if problems:
            raise DataError(listing(str(self.root), problems))

    def find_folder(self, *names: str, needed: bool = True) -> Path | None:
        """Return the first of these folders that exists; with ``needed``, a problem is added when none does."""
        return self._find(names, "folder", needed)

    def find_file(self, *names: str) -> Path | None:
        """Return the first of these files that exists; a problem is added when none does."""
        return self._find(names, "file")

    def _find(self, names: tuple[str, ...], kind: str, needed: bool = True) -> Path | None:
        for name in names:
            path = self.root / name
            if os.path.isdir(path) if kind == "folder" else os.path.isfile(path):  # noqa: PTH112, PTH113  see __init__
                return path
        if needed:
            self.problems.append(f"{self.root}: no {kind} {' or '.join(names)}; is --src the folder that holds it?")
        return None

    def add_root(self, given: str) -> Path | None:
        """Add a further folder of originals, relative to the root or elsewhere; a problem when it does not exist."""
        folder = Path(os.path.realpath(self.root / given))
        if not os.path.isdir(folder):  # noqa: PTH112  see __init__
            self.problems.append(f"{folder}: no such folder; check the path")
            return None
        if not folder.is_relative_to(self.root):
            self._more_roots.append(folder)
        return folder

    def images(self, folder: Path) -> dict[str, Path]:
        """Return the images below a folder by relative path without suffix, sorted; two of one stem are a problem."""
        return self.files(folder, IMAGE_SUFFIXES)

    def files(self, folder: Path, suffixes: Iterable[str]) -> dict[str, Path]:
        """Return the files below a folder by relative path without suffix, sorted; two of one stem are a problem."""
        allowed = frozenset(suffixes)
        found: dict[str, Path] = {}
        if folder not in self._walked:
            self._walked[folder] = sorted(self._walk(folder))
        for path in self._walked[folder]:
            if path.suffix.lower() not in allowed:
                continue
            if not is_text(str(path)):
                self.problems.append(f"{str(path)!r}: {UNPRINTABLE_NAME}")
                continue
            key = composed(path.relative_to(folder).with_suffix("").as_posix())
            if key in found:
                self.problems.append(f"{path}: same stem as {found[key].name}; keep one")
            found.setdefault(key, path)
        return found

    def labels(self, folder: Path, suffix: str) -> dict[str, Path]:
        """Return ``files`` that each belong to one image; ``report_unused`` counts those that were not read."""
        found = self.files(folder, (suffix,))
        for key, path in [*found.items()]:
            if path.name == CLASSES and is_class_list(path):  # labelling tools leave it among the labels
                del found[key]
        self._labels.update(found.values())
        return found

    def report_unused(self) -> None:
        """Record as left out the label files that belong to no pair."""
        for path in sorted(self._labels):
            if self.name_of(path) not in self._digests and path.name != CLASSES:
                self.leave_out("label files without a pair", str(path))

    def _walk(self, folder: Path) -> Iterator[Path]:
        """Yield the files below a folder that are not hidden, following links, see ``LinkWalk``.

        A broken link, and a folder that can't be listed, are problems.
        """
        walk = LinkWalk()
        pending = [(folder, frozenset[str]())]
        while pending:
            current, above = pending.pop()
            try:
                if not (here := walk.enter(str(current), above)):
                    continue
                entries = list(current.iterdir())
            except OSError as error:
                self.problems.append(f"{current}: can't be listed ({error.strerror}); check its permissions")
                continue
            for path in entries:
                if is_hidden(path.name):
                    if not path.name.startswith(".") and str(path) not in self._left_out.get(_SERVICE, ()):
                        self.leave_out(_SERVICE, str(path))
                    continue
                try:
                    mode = path.stat().st_mode
                except OSError as error:
                    why = f"a link to a missing file ({error.strerror}); fix or remove it"
                    self.problems.append(f"{str(path)!r}: {why}")
                    continue
                if stat.S_ISDIR(mode):
                    pending.append((path, here))
                elif stat.S_ISREG(mode):
                    yield path

    def read(self, path: Path, max_bytes: int = 8 * MIB) -> bytes | None:
        """Return the bytes of an annotation file and include them in the hash; None (and a problem) if unreadable."""
        try:
            size = path.stat().st_size
            if size > max_bytes:
                self.problems.append(f"{path}: {size / MIB:.0f} MiB; expected {max_bytes // MIB} MiB at most")
                return None
            content = path.read_bytes()
        except OSError as error:
            self.problems.append(f"{path}: can't be read ({error.strerror}); check the path")
            return None
        self._bar.update()
        if path in self._labels and self.name_of(path) in self._digests:
            self.problems.append(f"{path}: may belong to two images of this name; name them differently")
        self._digests[self.name_of(path)] = hashlib.sha256(content).hexdigest()
        return content

    def lines(self, path: Path) -> list[str]:
        """Return the lines of a text file; none (and a problem) if it can't be read."""
        try:
            return decode_text(self.read(path) or b"").splitlines()
        except ValueError as error:
            self.problems.append(f"{path}: {error}")
            return []

    def name_of(self, path: Path) -> str:
        """Return the path relative to its folder of originals, which does not depend on where the data set lies."""
        for number, root in enumerate(self.folders):
            if path.is_relative_to(root):
                return f"{number}:{path.relative_to(root).as_posix()}"
        return path.as_posix()

    def warn(self, oddity: str, what: str) -> None:
        """Record something odd that was read nevertheless; all of a kind become one warning with a count."""
        self._oddities.setdefault(oddity, []).append(what)

    def refuse(self, what: str, where: str) -> None:
        """Record something that can't be read; all of a kind become one problem with a count."""
        self._refused.setdefault(what, []).append(where)

    def refuse_normalised(self, xyxy: Sequence[float], where: str) -> None:
        """Refuse a box that lies in the first pixel with fractions: its corners are shares of the image."""
        if all(0 <= value <= 1 for value in xyxy) and any(value % 1 for value in xyxy):
            self.refuse("boxes lie in 0..1; are they normalised? multiply them by the image's width and height", where)

    def all_warnings(self) -> list[str]:
        """Return the warnings, those of ``warn`` last."""
        counted = [f"{len(what)} {oddity}; first {what[0]}" for oddity, what in sorted(self._oddities.items())]
        return [*self.warnings, *counted]

    def leave_out(self, reason: str, what: str) -> None:
        """Record something that will not be in the prepared data set."""
        self._left_out.setdefault(reason, []).append(what)

    def left_out(self) -> dict[str, tuple[int, list[str]]]:
        """Return, for each reason, the count and the first ten examples."""
        return {reason: (len(what), what[:_NUM_EXAMPLES]) for reason, what in sorted(self._left_out.items())}

    def annotations_hash(self) -> str:
        """Return the SHA-256 over name and content of every annotation file read."""
        digest = hashlib.sha256()
        for name, content in sorted(self._digests.items()):
            digest.update(f"{name}\0{content}\n".encode())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class ImagePair:
    """Two original images of one name."""

    key: str
    rgb: Path
    ir: Path


def pair_folders(source: SourceFolder, rgb: Path, ir: Path) -> list[ImagePair]:
    """Return the pairs of equal relative path, sorted; an image without a partner is a problem."""
    rgb_images, ir_images = source.images(rgb), source.images(ir)
    only_rgb = sorted(rgb_images.keys() - ir_images.keys())
    only_ir = sorted(ir_images.keys() - rgb_images.keys())
    for images, lonely, kind, folder in ((rgb_images, only_rgb, "thermal", ir), (ir_images, only_ir, "visible", rgb)):
        unread = source.files(folder, UNREAD_SUFFIXES)
        for path in unread.values():
            source.leave_out("images of formats that are not read", str(path))
        for key in lonely:
            advice = unread_hint(str(unread.get(key, ""))) or "; unpack both again"
            source.problems.append(f"{images[key]}: no {kind} partner in {folder}{advice}")
    return [ImagePair(key, rgb_images[key], ir_images[key]) for key in sorted(rgb_images.keys() & ir_images.keys())]
