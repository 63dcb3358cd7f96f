"""Find damage that decoders report to nobody: JPEGs that lack their end, wrong bytes in a TIFF that is deflated."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
from PIL import ImageFile

from yolofuse.data.images.header import deflated_parts, open_image
from yolofuse.errors import DataError

_END, _SCAN = b"\xff\xd9", 0xDA
_FRAMES = frozenset({0xC0, 0xC1})  # not progressive, where neighbours replace what is missing, nor arithmetic codes
_FILL_GREY = frozenset({127, 128})  # what stands for missing codes in the last pixel: 127 in an inverted channel
_ANY_CODES = b"".join(bytes(range(1, 255)) + bytes([255, marker]) for marker in range(0xD0, 0xD8))  # and restarts
_PIECE = 1 << 20  # bytes


def load_jpeg(path: Path, image: ImageFile.ImageFile) -> None:
    """Load a JPEG's brightness at an eighth of its size: every bit is read, the costly rest is left out.

    The end marker must follow the codes, and there must be as many codes as pixels; bytes after the marker are allowed.
    Codes are missing where other codes before the marker change pixels: a whole image ignores them. That takes a second
    decoding, of files whose last pixel is grey only; a file that ends in the marker is not read a second time.

    Raises:
        DataError: If the end is missing. One of ``DECODE_ERRORS`` if the file is damaged in another way.
    """
    stream = image.fp
    assert stream is not None
    before = stream.tell()
    stream.seek(-len(_END), io.SEEK_END)
    has_end = stream.read() == _END
    stream.seek(before)
    _load_an_eighth(image)
    last = image.getpixel((image.width - 1, image.height - 1))
    is_grey = not _FILL_GREY.isdisjoint(last if isinstance(last, tuple) else (last,))
    if (is_grey or not has_end) and _lacks_end(path, image, is_grey):
        raise DataError(
            f"{path}: damaged: the end of this JPEG is missing (cut off, or overwritten with zeros); copy the file "
            "again, or leave the pair out"
        )


def _load_an_eighth(image: ImageFile.ImageFile) -> None:
    image.draft("L", (max(image.width // 8, 1), max(image.height // 8, 1)))
    image.load()


def _lacks_end(path: Path, image: ImageFile.ImageFile, is_grey: bool) -> bool:
    content = path.read_bytes()
    frame, start = _find_codes(content)
    end = content.find(_END, start)  # inside codes, 255 is followed by 0 or a restart marker
    if end < 0 or not is_grey or frame not in _FRAMES:
        return end < 0
    with open_image(path, io.BytesIO(content[:end] + _ANY_CODES + content[end:])) as longer:
        _load_an_eighth(longer)
        return not np.array_equal(np.asarray(longer), np.asarray(image))


def _find_codes(content: bytes) -> tuple[int, int]:
    """Return the kind of frame (0: none) and where the first scan starts, after thumbnails in segments before it."""
    frame, at = 0, 2
    while at + 4 <= len(content) and content[at] == 0xFF and (marker := content[at + 1]) != _SCAN:
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:  # those three are tables
            frame = marker
        at += 1 if marker == 0xFF else 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return frame, at


def refuse_wrong_checksum(path: Path, image: ImageFile.ImageFile) -> None:
    """Refuse a TIFF whose deflated strips or tiles do not have their checksums, which decoders do not compare.

    Raises:
        DataError: If a part has another checksum, or ends early. ``zlib.error`` if it can't be unpacked.
    """
    with path.open("rb") as stream:
        for offset, count in deflated_parts(image):
            stream.seek(offset)
            packed, unpacker, piece = stream.read(count), zlib.decompressobj(), b"-"
            while piece or packed:  # in pieces: a small file may claim to be huge
                piece = unpacker.decompress(packed, _PIECE)
                packed = unpacker.unconsumed_tail
            if count and not unpacker.eof:
                raise DataError(f"{path}: damaged: a deflated part at byte {offset} ends early; copy the file again")
