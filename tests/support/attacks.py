"""Write malicious files for security tests, and run commands on them in a process."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch

from tests.support.runs import REPO
from yolofuse.weights.checkpoint import append_checksum

Container = Literal["zip", "legacy", "pickle"]


class Calls:
    """Pickle as a function call, which runs when the file is unpickled."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self._call = (function, args)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._call


def plant_pickle(file: Path, marker: Path, content: Mapping[str, Any], container: Container = "zip") -> None:
    """Write a checkpoint whose unpickling creates the marker; a zip gets a valid checksum, which needs no secret."""
    file.parent.mkdir(parents=True, exist_ok=True)
    payload = {**content, "also": Calls(os.system, f"touch {marker}")}
    torch.save(payload, file, _use_new_zipfile_serialization=container != "legacy")
    if container == "zip":
        with file.open("r+b") as stream:
            append_checksum(stream)


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments in a separate process."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO), **environ}
    return subprocess.run(
        [sys.executable, *arguments], cwd=REPO, env=env, capture_output=True, text=True, timeout=240, check=False
    )


def png_bomb(side: int = 30_000) -> bytes:
    """Return a valid 1-bit PNG of zeros: 0.1 MB on disk, 2.7 GB in memory as three bytes per pixel."""
    row = bytes(1 + (side + 7) // 8)
    packer = zlib.compressobj(1)
    pixels = b"".join([*(packer.compress(row) for _ in range(side)), packer.flush()])
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, *zip(*parts, strict=True)))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def oversized_jpeg(side: int) -> bytes:
    """Return a small JPEG whose header claims ``side`` pixels of width and height."""
    coded = bytearray(coded_image(".jpg"))
    at = coded.index(b"\xff\xc0") + 5
    coded[at : at + 4] = struct.pack(">HH", side, side)
    return bytes(coded)


def oversized_bmp(side: int) -> bytes:
    """Return a small BMP whose header claims so."""
    coded = bytearray(coded_image(".bmp"))
    coded[18:26] = struct.pack("<ii", side, side)
    return bytes(coded)


def oversized_tiff(side: int) -> bytes:
    """Return a small TIFF whose header claims so."""
    coded = bytearray(coded_image(".tif"))
    start = struct.unpack("<I", coded[4:8])[0]
    for entry in range(struct.unpack("<H", coded[start : start + 2])[0]):
        at = start + 2 + 12 * entry
        tag = struct.unpack("<H", coded[at : at + 2])[0]
        if tag in (256, 257):  # width and height, as 32 bits
            coded[at + 2 : at + 12] = struct.pack("<HII", 4, 1, side)
    return bytes(coded)


def oversized_webp(side: int) -> bytes:
    """Return an extended WebP whose header claims a canvas of ``side`` (at most 16,384) pixels."""
    small = coded_image(".webp")[12:]
    canvas = struct.pack("<I", side - 1)[:3]
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + canvas + canvas + small
    return b"RIFF" + struct.pack("<I", len(body)) + body


def coded_image(suffix: str, size_hw: tuple[int, int] = (64, 96)) -> bytes:
    """Return a small grey image in a format."""
    done, coded = cv2.imencode(suffix, np.full((*size_hw, 3), 90, np.uint8))
    assert done
    return coded.tobytes()
