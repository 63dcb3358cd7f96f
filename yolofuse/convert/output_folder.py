"""Make a prepared folder appear whole or not at all, and recover what a killed run left.

A run builds in the hidden neighbour ``.NAME.partial``. At the end an older ``NAME`` is renamed to ``.NAME.old``, the
new folder is renamed to ``NAME``, and the old one is deleted. After a kill at any moment, ``recover_interrupted``
derives from these names what is left to do. ``prepared.json`` marks all three as made by this package: it is the
first file written and the last one deleted.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from yolofuse.data.problems import join_names
from yolofuse.errors import DataError, plural
from yolofuse.files import file_sha256, read_regular, save_json

PREPARED = "prepared.json"
FILES = "prepared_files.json"
"""What a conversion wrote, so that nothing else is ever deleted."""
MADE_BY = "yolofuse prepare"
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """The folder to make, and its two hidden neighbours."""

    path: Path

    @property
    def partial(self) -> Path:
        """Where a run builds."""
        return self.path.with_name(f".{self.path.name}.partial")

    @property
    def old(self) -> Path:
        """Where an older folder is kept while it is replaced."""
        return self.path.with_name(f".{self.path.name}.old")


def check_output(out: Path, originals: Sequence[Path]) -> OutputFolder:
    """Return the output folder ``out`` after checking that writing it harms no file of the user's.

    Raises:
        DataError: If it lies in a folder of originals or contains one, or holds files but was not made by a conversion.
    """
    folder = OutputFolder(Path(os.path.realpath(out)))
    path = folder.path
    for original in originals:
        if path.is_relative_to(original):
            raise DataError(f"--out {path}: lies in {original}, where the originals are; name a folder elsewhere")
        if original.is_relative_to(path):
            raise DataError(f"--out {path}: the originals lie in it ({original}); name a folder elsewhere")
    if not _may_replace(path):
        raise DataError(f"--out {path}: holds files, but no {PREPARED} of yolofuse; name another folder")
    for hidden in (folder.partial, folder.old):
        if not _may_replace(hidden):
            raise DataError(f"{hidden}: in the way, and not left by a conversion; move it elsewhere")
    return folder


def recover_interrupted(folder: OutputFolder) -> None:
    """Finish or undo the replacement of an older folder that a killed run left half done.

    Raises:
        DataError: If another run is writing the folder right now.
    """
    if folder.old.exists():
        with _locked(folder):
            _finish_or_undo(folder)


def _finish_or_undo(folder: OutputFolder) -> None:
    if folder.old.exists() and folder.path.exists():
        _remove(folder.old)
    elif folder.old.exists():
        folder.old.rename(folder.path)


@contextmanager
def build_folder(folder: OutputFolder) -> Iterator[Path]:
    """Yield an empty folder to fill; it gets its name when the block succeeds and is deleted when the block raises.

    Raises:
        DataError: If another run is writing the folder right now.
    """
    folder.path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        _finish_or_undo(folder)
        marker = json.dumps({"made_by": MADE_BY, "unfinished": True}) + "\n"
        (folder.partial / PREPARED).write_text(marker, encoding="utf-8")
        yield folder.partial
        _publish(folder)


@contextmanager
def _locked(folder: OutputFolder) -> Iterator[None]:
    """Make the partial folder, empty and locked; the system releases the lock when the process ends, even if killed."""
    import fcntl  # not on every system, and only this command needs it

    folder.partial.mkdir(exist_ok=True)
    handle = os.open(folder.partial, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"{folder.path}: another run is making it right now; wait for it or stop it") from None
        try:
            _empty(folder.partial)
            yield
        finally:
            if folder.partial.exists():
                _remove(folder.partial)
    finally:
        os.close(handle)


def _publish(folder: OutputFolder) -> None:
    if folder.path.exists() and any(folder.path.iterdir()):
        folder.path.rename(folder.old)
    folder.partial.rename(folder.path)  # an empty folder there is replaced
    if folder.old.exists():
        _remove(folder.old)


def _may_replace(folder: Path) -> bool:
    """Return whether a folder does not exist, is empty, or was made by a conversion."""
    if not os.path.lexists(folder):
        return True
    if folder.is_symlink() or not folder.is_dir():
        return False
    if not any(folder.iterdir()):
        return True
    try:
        made_by = json.loads(read_regular(folder / PREPARED)).get("made_by")
    except (OSError, ValueError, AttributeError, RecursionError):
        return folder.name.endswith(".partial") and [path.name for path in folder.iterdir()] == [PREPARED]
    return bool(made_by == MADE_BY)


def record_files(folder: Path, originals: str) -> None:
    """Write into a new folder what every file of it holds, and a stamp of the ``originals`` that were copied."""
    found = {str(path.relative_to(folder)): _digest(path) for path in _files_in(folder)}
    save_json(folder / FILES, {"originals": originals, "files": found}, indent=0)


def read_record(folder: Path) -> tuple[str, Mapping[str, str]]:
    """Return what :func:`record_files` wrote: the stamp, and a digest by path; both empty if there is no record."""
    try:
        content = json.loads(read_regular(folder / FILES))
        return str(content["originals"]), dict(content["files"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "", {}


def check_replaceable(folder: Path) -> None:
    """Check that a prepared folder holds nothing but what a conversion wrote, as it wrote it.

    Raises:
        DataError: If replacing it would delete a file that was added or changed since.
    """
    _, written = read_record(folder)
    found = {str(path.relative_to(folder)): path for path in _files_in(folder)}
    added = [name for name in found if name not in written]
    changed = [name for name, path in found.items() if name in written and _digest(path) != written[name]]
    if not added and not changed:
        return
    kinds = ((added, "which no conversion made"), (changed, "changed since"))
    what = [f"{plural(len(names), 'file')} {kind} ({join_names(names[:_SHOWN])})" for names, kind in kinds if names]
    raise DataError(
        f"--out {folder}: replacing it would delete {' and '.join(what)}; move them elsewhere, or name another --out"
    )


def _files_in(folder: Path) -> list[Path]:
    """Return files and links below a folder, sorted, but not its marker and record, and what is hidden or a cache."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if (path.is_symlink() or not path.is_dir())
        and not (path.name.startswith(".") or path.suffix == ".cache")
        and (path.parent != folder or path.name not in (PREPARED, FILES))
    ]


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file, or where a link points to; nothing if it can't be read."""
    if path.is_symlink():
        return f"-> {path.readlink()}"
    try:
        return file_sha256(path)
    except OSError:
        return ""


def _empty(folder: Path) -> None:
    """Delete what a prepared folder holds, its marker last, so that a kill in between leaves it recognisable."""
    for path in sorted(folder.iterdir()):
        if path.name == PREPARED:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)  # links in it are removed, never followed
        else:
            path.unlink()
    (folder / PREPARED).unlink(missing_ok=True)


def _remove(folder: Path) -> None:
    _empty(folder)
    folder.rmdir()
