"""Open and write files safely: none that is not a regular file, and each written whole or not at all."""

from __future__ import annotations

import codecs
import errno
import hashlib
import json
import os
import re
import secrets
import stat
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from yolofuse.errors import ConfigError

_PARTIAL = re.compile(r"\..+\.[0-9a-f]{8}\.part")
_READ = os.O_RDONLY
_HEAD_BYTES = 1 << 16
_BLOCK_BYTES = 1 << 20
_SERVICE_FOLDERS = frozenset(
    {"@eadir", "@recycle", "@recently-snapshot", "@tmp", "#recycle", "#snapshot", "$recycle.bin", "__macosx"}
    | {"lost+found", "thumbnails", "thumbs", "~snapshot", "network trash folder", "temporary items"}
)
_MAX_LINKED = 10_000  # folders of one walk that it meets again by links; links among links would be followed for ever


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is no data: its name starts with a dot, or a storage system keeps it for itself.

    Such folders hold thumbnails, deleted files and resource forks, under the names of images.
    """
    return name.startswith(".") or name.lower() in _SERVICE_FOLDERS


class LinkWalk:
    """Decides which folders a walk enters that follows links.

    A folder that links give a second name is entered under both, since labels of two sequences may be one folder. A
    loop ends where it closes.
    """

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._num_linked = 0

    def enter(self, folder: str, above: frozenset[str]) -> frozenset[str]:
        """Return the real folders above those in this one; empty if it is not to be entered.

        Raises:
            OSError: Once, if links lead into far too many folders.
        """
        real = os.path.realpath(folder)
        if real in above:
            return frozenset()
        if real in self._seen:
            self._num_linked += 1
            if self._num_linked == _MAX_LINKED + 1:
                raise OSError(errno.ELOOP, f"links lead into more than {_MAX_LINKED:,} folders again")
            if self._num_linked > _MAX_LINKED:
                return frozenset()
        self._seen.add(real)
        return above | {real}


def open_regular(path: Path) -> BinaryIO:
    """Open a file that somebody named, for reading; links are followed, but no pipe or device is waited for.

    Raises:
        OSError: If it is missing, or leads to no regular file.
    """
    return os.fdopen(_open(path, _READ), "rb")


def open_own(path: Path, flags: int = _READ) -> int:
    """Open a file that only this package writes, by the ``flags`` of ``os.open`` (not O_TRUNC); return its descriptor.

    Others may have placed something under its name: nothing is read or written through a link to another file.

    Raises:
        OSError: If it is missing, a link, a pipe or a device, or has a second name.
    """
    descriptor = _open(path, flags | os.O_NOFOLLOW)
    if os.fstat(descriptor).st_nlink > 1:
        os.close(descriptor)
        raise OSError(
            errno.EMLINK, "no plain file: it has a second name (a hard link); replace it by a copy", str(path)
        )
    return descriptor


def _open(path: Path, flags: int) -> int:
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if error.errno == errno.ELOOP and path.is_symlink():
            raise OSError(
                errno.ELOOP, "no plain file but a link, which is not followed; remove it", str(path)
            ) from None
        if error.errno == errno.ENXIO:  # a pipe without a reader, or a socket
            raise OSError(errno.ENXIO, "no plain file; remove it", str(path)) from None
        raise
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(code, "is a folder" if stat.S_ISDIR(mode) else "no plain file; remove it", str(path))
    return descriptor


def composed(name: str) -> str:
    """Return a name in the form in which names are compared: macOS may store an ``ü`` as ``u`` and two dots."""
    return unicodedata.normalize("NFC", name)


def as_stored(folder: Path | str, name: str) -> str:
    """Return a path below a folder in the Unicode form that exists there; as it is given if none does."""
    forms = (name, composed(name), unicodedata.normalize("NFD", name))
    return next((form for form in forms if os.path.exists(os.path.join(folder, form))), name)  # noqa: PTH110, PTH118


def describe_decode_error(error: UnicodeDecodeError) -> str:
    """Say which encoding a text seems to be in that is not in UTF-8, and what to do."""
    content, at = error.object, error.start
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "is a text in UTF-16, not in UTF-8; save it as UTF-8"
    if b"\0" in content:
        return "holds zero bytes, as a text in UTF-16 does; save it as UTF-8"
    byte = f"byte {content[at]:#04x} after {content[:at][-20:].decode(errors='replace')!r}"
    return f"is not in UTF-8, but perhaps a text in Latin-1 or Windows-1252 ({byte}); save it as UTF-8"


def decode_text(content: bytes) -> str:
    """Decode a text that somebody else may have written, with or without a byte order mark.

    Raises:
        ValueError: If it is not in UTF-8, saying what it seems to be in.
    """
    try:
        text = content.decode("utf-8-sig")
        if "\0" in text:  # UTF-16 of ASCII letters, without a mark
            raise UnicodeDecodeError("utf-8", content, content.index(0), len(content), "a zero byte")
    except UnicodeDecodeError as error:
        raise ValueError(describe_decode_error(error)) from None
    return text


def read_regular(path: Path, max_bytes: int = -1) -> str:
    """Return the text of a file, which is opened by :func:`open_regular`.

    Raises:
        OSError: If it cannot be opened, or is larger than ``max_bytes``.
    """
    with open_regular(path) as stream:
        content = stream.read(max_bytes if max_bytes < 0 else max_bytes + 1)
    if 0 <= max_bytes < len(content):
        raise OSError(errno.EFBIG, f"larger than {max_bytes >> 20} MiB", str(path))
    return content.decode()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hex.

    Raises:
        OSError: If it cannot be read.
    """
    digest = hashlib.sha256()
    with open_regular(path) as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def check_output_folder(folder: Path, marker: str, sign: str) -> None:
    """Check that a command may write into a folder: it is new, empty, or was written by the same command before.

    Args:
        folder: Where the command is about to write.
        marker: Name of the first file that it writes.
        sign: Text near the start of that file, by which it is recognised.

    Raises:
        ConfigError: If it is a file, or holds somebody's files.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--out: {folder} is a file; name a folder")
    found = sorted(path.name for path in folder.iterdir() if path.name[0] != ".") if folder.exists() else []
    if found and not _starts_with(folder / marker, sign):
        named = ", ".join(found[:3]) + (" ..." if len(found) > 3 else "")
        raise ConfigError(f"--out: {folder}: holds files of something else ({named}); name another folder")


def check_output_file(path: Path, sign: str, option: str = "--out") -> None:
    """Check that a command may write a file: it is new, empty, or was written by the same command before.

    Args:
        path: The file.
        sign: Text near its start, by which it is recognised.
        option: That named it, for the message.

    Raises:
        ConfigError: If it is somebody's.
    """
    if os.path.lexists(path) and not (path.is_file() and not path.stat().st_size) and not _starts_with(path, sign):
        raise ConfigError(f"{option}: {path}: is a file of something else, which is not overwritten; name another one")


def _starts_with(path: Path, sign: str) -> bool:
    try:
        with open_regular(path) as stream:
            return sign.encode() in stream.read(_HEAD_BYTES)
    except OSError:
        return False


def set_aside(path: Path, why: str) -> str:
    """Rename a file to ``NAME.WHY``, or ``NAME.WHY-2`` and so on, so that it is neither used nor lost; return that."""
    names = (path.with_name(f"{path.name}.{why}{ending}") for ending in ("", *(f"-{n}" for n in range(2, 10_000))))
    return path.replace(next(name for name in names if not os.path.lexists(name))).name


def remove_partial_files(folder: Path) -> None:
    """Delete what kills during :func:`replacing` have left in a folder."""
    for path in folder.glob(".*.part"):
        if _PARTIAL.fullmatch(path.name) and (path.is_file() or path.is_symlink()):
            path.unlink()


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
    except OSError as error:
        if error.errno and error.filename in (None, str(temporary)):  # an error of a write names no file
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def save_bytes(path: Path, content: bytes) -> None:
    """Write ``path`` atomically; create its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        stream.write(content)


def save_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 atomically; create its folder.

    Bytes of file names that are not UTF-8, which Python holds as surrogates, become ``\\udcff``: JSON reads them back.
    """
    save_bytes(path, text.encode(errors="backslashreplace"))


def save_json(path: Path, obj: object, *, indent: int | None = None) -> None:
    """Write ``obj`` as JSON atomically; every float reads back as the same float.

    Raises:
        ValueError: If a number is not finite, which JSON cannot represent.
    """
    save_text(path, json.dumps(obj, allow_nan=False, ensure_ascii=False, indent=indent) + "\n")
