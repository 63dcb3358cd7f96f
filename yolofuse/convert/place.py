"""A prepared folder appears whole or not at all, and a run that was killed leaves nothing the next one can't mend.

A run builds in the hidden neighbour ``.NAME.partial``. At the end an older ``NAME`` steps aside to ``.NAME.old``, the
new folder takes its name, and the old one goes. Whatever moment a kill strikes at, ``settle`` sees from these names
where to go on. ``prepared.json`` marks all three as ours: it is the first file written and the last one deleted.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from yolofuse.errors import DataError

PREPARED = "prepared.json"
MADE_BY = "yolofuse prepare"


@dataclass(frozen=True, slots=True)
class Place:
    """The folder to make, and its two hidden neighbours."""

    out: Path

    @property
    def partial(self) -> Path:
        """Where a run builds."""
        return self.out.with_name(f".{self.out.name}.partial")

    @property
    def old(self) -> Path:
        """Where an older folder waits while it is replaced."""
        return self.out.with_name(f".{self.out.name}.old")


def choose_place(out: Path, originals: Sequence[Path]) -> Place:
    """The place for ``out``, where nothing of the user's can be harmed.

    Raises:
        DataError: If it lies among the originals, around them, or holds something that no run of ours has made.
    """
    place = Place(Path(os.path.realpath(out)))
    for folder in originals:
        if place.out.is_relative_to(folder):
            raise DataError(f"--out {place.out}: lies in {folder}, where the originals are; name a folder elsewhere")
        if folder.is_relative_to(place.out):
            raise DataError(f"--out {place.out}: the originals lie in it ({folder}); name a folder elsewhere")
    if not _may_replace(place.out):
        raise DataError(f"--out {place.out}: holds files, but no {PREPARED} of ours; name another folder")
    for folder in (place.partial, place.old):
        if not _may_replace(folder):
            raise DataError(f"{folder}: in the way, and not left by a run of ours; move it elsewhere")
    return place


def settle(place: Place) -> None:
    """Put right what a killed run left while it replaced an older folder.

    Raises:
        DataError: If another run is at work there right now.
    """
    if place.old.exists():
        with _alone(place):
            _settle(place)


def _settle(place: Place) -> None:
    if place.old.exists() and place.out.exists():
        _remove(place.old)
    elif place.old.exists():
        place.old.rename(place.out)


@contextmanager
def building(place: Place) -> Iterator[Path]:
    """An empty folder to fill; it takes the place's name when the block ends well, and goes if it does not.

    Raises:
        DataError: If another run is filling it right now.
    """
    place.out.parent.mkdir(parents=True, exist_ok=True)
    with _alone(place):
        _settle(place)
        _write_marker(place.partial)
        yield place.partial
        _publish(place)


@contextmanager
def _alone(place: Place) -> Iterator[None]:
    """Make the partial folder, empty and locked; the system unlocks it when the process dies, however it dies."""
    import fcntl  # not on every system, and only this command needs it

    place.partial.mkdir(exist_ok=True)
    handle = os.open(place.partial, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"{place.out}: another run is making it right now; wait for it or stop it") from None
        try:
            _empty(place.partial)
            yield
        finally:
            if place.partial.exists():
                _remove(place.partial)
    finally:
        os.close(handle)


def _publish(place: Place) -> None:
    if place.out.exists() and any(place.out.iterdir()):
        place.out.rename(place.old)
    place.partial.rename(place.out)  # over an empty folder, too
    if place.old.exists():
        _remove(place.old)


def _write_marker(folder: Path) -> None:
    (folder / PREPARED).write_text(json.dumps({"made_by": MADE_BY, "unfinished": True}) + "\n", encoding="utf-8")


def _may_replace(folder: Path) -> bool:
    """Whether a folder is free, empty or made by us."""
    if not os.path.lexists(folder):
        return True
    if folder.is_symlink() or not folder.is_dir():
        return False
    if not any(folder.iterdir()):
        return True
    try:
        made_by = json.loads((folder / PREPARED).read_bytes()).get("made_by")
    except (OSError, ValueError, AttributeError, RecursionError):
        return folder.name.endswith(".partial") and [path.name for path in folder.iterdir()] == [PREPARED]
    return bool(made_by == MADE_BY)


def _empty(folder: Path) -> None:
    """Delete what a folder of ours holds, its mark last: a kill in between must not make it a stranger's."""
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
