"""Write and read checkpoints of yolofuse: tensors and plain data, written atomically and with a checksum.

The checksum is the SHA-256 of everything before it, in the comment of the zip file. ``torch.load`` reads a file with
flipped bits without an error, because its zip reader leaves out the check of the archive's own checksums; and a second
file with the checksum could be lost, or belong to the previous checkpoint.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import nn

from yolofuse.errors import DamagedError, WeightsError, advise
from yolofuse.files import open_regular, replacing
from yolofuse.weights.checkpoint_fields import find_wrong_value
from yolofuse.weights.safe_load import open_plain

FORMAT = "yolofuse-checkpoint"
FORMAT_VERSION = 2
_VERSION_WITHOUT_CHECKSUM = 1
_MARK = b"yolofuse sha256 "
_COMMENT_BYTES = len(_MARK) + 2 * hashlib.sha256().digest_size
_END_RECORD = b"PK\x05\x06"  # of a zip file: 22 bytes, the last two of which are the length of the comment
_END_RECORD_BYTES = 22
_BLOCK_BYTES = 1 << 20


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint so that a kill at any moment leaves either the old file or the new one, complete.

    Args:
        path: Its folder must exist.
        content: Tensors, numbers, strings, None, and dicts, lists and tuples of them.

    Raises:
        WeightsError: If it cannot be written, for instance on a full disk; the old file is then still there.
    """
    try:
        with replacing(path, durable=True) as file:
            torch.save({"format": FORMAT, "format_version": FORMAT_VERSION, **content}, file)
            append_checksum(file)
    except (OSError, RuntimeError) as error:
        free = shutil.disk_usage(path.parent).free / (1 << 20)
        cause = (
            error if isinstance(error, OSError) else error.__context__
        )  # of a full disk, torch's own does not say so
        reason = str(error).splitlines()[0]
        if isinstance(cause, OSError):
            reason = f"{cause.strerror}; {advise(cause, str(path))}"
        raise WeightsError(
            f"{path}: cannot be written ({reason}; {free:.0f} MiB are free on its disk); the previous file is unchanged"
        ) from error


def load_checkpoint(path: Path, needs: Collection[str] = ()) -> dict[str, Any]:
    """Read a checkpoint of yolofuse, which must have all keys in ``needs``.

    Raises:
        WeightsError: If the file is missing, damaged, holds code, is no yolofuse checkpoint, lacks a key, or has a
            value that no run writes.
    """
    is_sealed = path.is_file() and verify_checksum(path)
    content = open_plain(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise WeightsError(f"{path}: not a yolofuse checkpoint; single-stream weights go into weights.pretrained")
    check_version(path, content, has_checksum=is_sealed)
    missing = [key for key in needs if key not in content]
    if missing:
        raise WeightsError(f"{path}: damaged, it lacks {', '.join(missing)}; use another checkpoint of the run")
    if wrong := find_wrong_value(content):
        raise WeightsError(f"{path}: not written by a run: {wrong}; use another checkpoint of the run")
    return content


def check_version(path: Path, content: Mapping[str, Any], *, has_checksum: bool) -> None:
    """Refuse a yolofuse checkpoint of another format, or one of this format without its checksum.

    Raises:
        DamagedError: If the checksum is missing.
        WeightsError: If it is of another format.
    """
    version = content.get("format_version")
    if version not in {FORMAT_VERSION, _VERSION_WITHOUT_CHECKSUM}:
        raise WeightsError(f"{path}: checkpoint format {version}, but this yolofuse reads {FORMAT_VERSION}")
    if version == FORMAT_VERSION and not has_checksum:
        raise DamagedError(f"{path}: damaged, its checksum is missing; use another checkpoint or copy")


def load_state(model: nn.Module, state: Any, path: Path) -> None:
    """Load a checkpoint's tensors into the model that they were saved from.

    Raises:
        WeightsError: If they are not exactly the model's.
    """
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(
            f"{path}: damaged, or of another yolofuse: it does not fit its own model ({reason})"
        ) from error


def append_checksum(stream: BinaryIO) -> None:
    """Add the checksum to a zip file without a comment; ``stream`` must be readable and hold the whole file."""
    end = stream.seek(-_END_RECORD_BYTES, os.SEEK_END) + _END_RECORD_BYTES
    assert stream.read(4) == _END_RECORD
    stream.seek(end - 2)
    stream.write(struct.pack("<H", _COMMENT_BYTES))
    digest = _sha256_of_first(stream, end)
    stream.write(_MARK + digest.encode())


def has_checksum(path: Path) -> bool:
    """Return whether a file ends as :func:`save_checkpoint` ends one; its content is not compared."""
    try:
        with open_regular(path) as stream:
            stream.seek(-min(_COMMENT_BYTES, stream.seek(0, os.SEEK_END)), os.SEEK_END)
            return stream.read(_COMMENT_BYTES).startswith(_MARK)
    except OSError:
        return False


def verify_checksum(path: Path) -> bool:
    """Compare a file with the checksum inside it; return False where it holds none.

    Raises:
        DamagedError: If the file is not as it was written.
        WeightsError: If it cannot be read.
    """
    try:
        with open_regular(path) as stream:
            size = stream.seek(0, os.SEEK_END)
            if size < _COMMENT_BYTES + _END_RECORD_BYTES:
                return False
            stream.seek(size - _COMMENT_BYTES)
            comment = stream.read(_COMMENT_BYTES)
            if not comment.startswith(_MARK):
                return False
            intact = comment == _MARK + _sha256_of_first(stream, size - _COMMENT_BYTES).encode()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); {advise(error, str(path))}") from error
    if not intact:
        raise DamagedError(
            f"{path}: damaged: its content is not what was saved (SHA-256 differs); use another checkpoint or copy"
        )
    return True


def _sha256_of_first(stream: BinaryIO, size: int) -> str:
    """Return the SHA-256 of the first ``size`` bytes, in hex; leaves the stream right behind them."""
    digest = hashlib.sha256()
    stream.seek(0)
    while size and (block := stream.read(min(size, _BLOCK_BYTES))):
        digest.update(block)
        size -= len(block)
    return digest.hexdigest()
