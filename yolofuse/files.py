"""Write files atomically: a reader finds the old content or the new, never a part."""

from __future__ import annotations

import json
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def user_cache_dir() -> Path:
    """Return yolofuse's folder for caches of this user; one for a user without a home is in the temporary folder."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "yolofuse"
    except RuntimeError:  # HOME is not set and the user has no entry in passwd, as in many containers
        folder = Path(tempfile.gettempdir()) / f"yolofuse-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
            return folder
    except OSError:  # a file or a link of somebody else
        pass
    return Path(tempfile.mkdtemp(prefix="yolofuse-"))


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[BinaryIO]:
    """Open a stream whose content replaces ``path`` when the block ends without an exception.

    Args:
        path: The file; its folder must exist. Its old content stays until the end, and if the block raises.
        durable: Also flush to disk, so that a power cut leaves the old file or the new one.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("x+b") as stream:
            yield stream
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        temporary.replace(path)
        if durable:
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)


def save_bytes(path: Path, content: bytes) -> None:
    """Write ``path`` atomically; create its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        stream.write(content)


def save_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 atomically; create its folder."""
    save_bytes(path, text.encode())


def save_json(path: Path, obj: object, *, indent: int | None = None) -> None:
    """Write ``obj`` as JSON atomically; every float reads back as the same float.

    Raises:
        ValueError: If a number is not finite, which JSON cannot represent.
    """
    save_text(path, json.dumps(obj, allow_nan=False, ensure_ascii=False, indent=indent) + "\n")
