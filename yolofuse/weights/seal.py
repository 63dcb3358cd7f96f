"""A checksum inside a checkpoint: the zip comment holds the SHA-256 of everything before it.

``torch.load`` reads a file with flipped bits without a word, as its zip reader leaves out the check of the archive's
own checksums. A file of its own beside the checkpoint could be lost, or belong to the file before; a comment can't.
"""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path
from typing import BinaryIO

from yolofuse.errors import DamagedError, WeightsError

_MARK = b"yolofuse sha256 "
_SEAL_BYTES = len(_MARK) + 2 * hashlib.sha256().digest_size
_END_RECORD = b"PK\x05\x06"  # of a zip file: 22 bytes, the last two of which are the length of the comment
_END_RECORD_BYTES = 22


def seal(stream: BinaryIO) -> None:
    """Add the checksum to a zip file without a comment; ``stream`` must be readable and hold all of it."""
    end = stream.seek(-_END_RECORD_BYTES, os.SEEK_END) + _END_RECORD_BYTES
    assert stream.read(4) == _END_RECORD
    stream.seek(end - 2)
    stream.write(struct.pack("<H", _SEAL_BYTES))
    digest = _digest(stream, end)
    stream.write(_MARK + digest.encode())


def check_seal(path: Path) -> bool:
    """Compare a file with its checksum; False where it holds none.

    Raises:
        DamagedError: If the file is not what was written.
        WeightsError: If it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            if size < _SEAL_BYTES + _END_RECORD_BYTES:
                return False
            stream.seek(size - _SEAL_BYTES)
            found = stream.read(_SEAL_BYTES)
            if not found.startswith(_MARK):
                return False
            intact = found == _MARK + _digest(stream, size - _SEAL_BYTES).encode()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    if not intact:
        raise DamagedError(
            f"{path}: damaged: its content is not what was saved (SHA-256 differs); use another checkpoint or copy"
        )
    return True


def _digest(stream: BinaryIO, size: int) -> str:
    """SHA-256 of the first ``size`` bytes, in hex; leaves the stream right behind them."""
    digest = hashlib.sha256()
    stream.seek(0)
    while size and (block := stream.read(min(size, 1 << 20))):
        digest.update(block)
        size -= len(block)
    return digest.hexdigest()
