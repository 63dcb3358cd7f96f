"""Send JPEG pairs as the bytes of their files, and decode them on the training device."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from yolofuse.data.images.decode import reduction_for
from yolofuse.data.images.header import exif_orientation
from yolofuse.errors import ConfigError, DataError, listing
from yolofuse.types import ByteArray, PairRecord

_START = b"\xff\xd8"
_FRAMES = frozenset({0xC0, 0xC2})  # baseline and progressive: what nvJPEG reads
_SCAN, _EXIF, _ADOBE = 0xDA, 0xE1, 0xEE
_CHUNK_PIXELS = 1 << 25  # of files that are decoded at once; as floats they take 0.5 GiB


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """Both files of a pair, whose bytes lie in one array with those of other pairs."""

    rgb: Path
    ir: Path
    rgb_hw: tuple[int, int]  # height and width of the file in pixels
    ir_hw: tuple[int, int]
    training_hw: tuple[int, int]  # height and width at training size in pixels
    rgb_span: tuple[int, int]  # start and stop of the file's bytes
    ir_span: tuple[int, int]


def require_decoder() -> None:
    """Check before a run, not in its first batch, that torchvision can decode JPEG.

    Raises:
        ConfigError: If torchvision has no ``decode_jpeg``; its removal is announced.
    """
    try:
        from torchvision.io import decode_jpeg  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"train.decode: nvjpeg needs torchvision.io.decode_jpeg, which is missing ({error}); "
            "install torchvision 0.29, or use train.decode: cpu"
        ) from None


def read_encoded(record: PairRecord) -> tuple[ByteArray, ByteArray] | None:
    """Return the bytes of both files, or None where a device may decode them to other pixels than OpenCV.

    That is so for files that are no JPEG, or one of another kind than 8-bit YCbCr (or, thermal, grey), or turned,
    and for pairs that are registered, windowed or without one of the images.

    Raises:
        DataError: If a file is gone, or of another size than when it was paired.
    """
    form = record.format
    if record.missing is not None or form.affine is not None or form.ir_window is not None or form.bits != 8:
        return None
    both: list[ByteArray] = []
    sides = ((record.rgb, record.rgb_hw, {3}), (record.ir, record.ir_hw, {1, 3}))
    for path, expected_hw, allowed in sides:
        try:
            encoded = np.fromfile(path, np.uint8)
        except OSError as error:
            raise DataError(f"{path}: can't be read ({error})") from None
        header = _read_header(encoded.tobytes())
        if header is None or header[1] not in allowed or (header[2] != 1 and form.orientation == "apply"):
            return None
        if header[0] != expected_hw:
            raise DataError(f"{path}: its size changed since it was paired; start again")
        both.append(encoded)
    return both[0], both[1]


def _read_header(encoded: bytes) -> tuple[tuple[int, int], int, int] | None:
    """Return stored (height, width), channels and orientation of a grey or YCbCr JPEG of 8 bits; None for all else."""
    at, orientation = len(_START), 1
    if not encoded.startswith(_START):
        return None
    while at + 4 <= len(encoded) and encoded[at] == 0xFF:
        marker = encoded[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        body = encoded[at + 4 : at + 2 + int.from_bytes(encoded[at + 2 : at + 4], "big")]
        # An Adobe segment with transform 0, or channels named R, G, B, mean that colours were not converted to YCbCr.
        if marker == _SCAN or (marker == _ADOBE and body[:5] == b"Adobe" and body[11:12] == b"\0"):
            return None
        if marker == _EXIF and body.startswith(b"Exif"):
            orientation = exif_orientation(body)
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:  # a frame; those three are tables
            height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            channels = body[6:][::3]
            supported = marker in _FRAMES and body[:1] == b"\x08" and height and channels != b"RGB"
            return ((height, width), len(channels), orientation) if supported else None
        at += 4 + len(body)
    return None


def decode_into(images: Tensor, encoded: Tensor, pairs: Sequence[EncodedPair]) -> None:
    """Decode pairs on the device of ``images``, resize them to training size, and write them there.

    Pair i goes to the top left of image i. They are resized as on the CPU: a whole factor by averaging, the rest by
    bilinear interpolation.

    Shapes:
        images: uint8 (N, h, w, 4); encoded: uint8 (bytes,), all files, on the CPU

    Raises:
        DataError: If files can't be decoded; all of them are named.
        ConfigError: If this torchvision can't decode on that device at all.
    """
    device = images.device
    for first, chunk in _chunks(pairs):
        rgb = _decode_files([encoded[slice(*p.rgb_span)] for p in chunk], "RGB", device, [p.rgb for p in chunk])
        ir = _decode_files([encoded[slice(*p.ir_span)] for p in chunk], "GRAY", device, [p.ir for p in chunk])
        start = 0
        for (_, _, (height, width)), run in itertools.groupby(chunk, lambda p: (p.rgb_hw, p.ir_hw, p.training_hw)):
            stop = start + len(list(run))
            target = images[first + start : first + stop, :height, :width].permute(0, 3, 1, 2)
            target[:, :3] = _resize(torch.stack(rgb[start:stop]), (height, width))
            target[:, 3:] = _resize(torch.stack(ir[start:stop]), (height, width))
            start = stop


def _chunks(pairs: Sequence[EncodedPair]) -> Iterator[tuple[int, Sequence[EncodedPair]]]:
    """Yield runs of pairs that take no more than the allowed memory, each with the position of its first."""
    first = pixels = 0
    for position, pair in enumerate(pairs):
        own = pair.rgb_hw[0] * pair.rgb_hw[1] + pair.ir_hw[0] * pair.ir_hw[1]
        if position > first and pixels + own > _CHUNK_PIXELS:
            yield first, pairs[first:position]
            first, pixels = position, 0
        pixels += own
    if pairs:
        yield first, pairs[first:]


def _resize(pixels: Tensor, target_hw: tuple[int, int]) -> Tensor:
    """Resize whole images to training size, as ``read_pair`` does.

    Shapes:
        pixels: uint8 (N, C, H, W) -> uint8 (N, C, *target_hw)
    """
    size_hw = (pixels.shape[2], pixels.shape[3])
    if size_hw == target_hw:
        return pixels
    reduction = reduction_for(max(target / side for target, side in zip(target_hw, size_hw, strict=True)), size_hw)
    levels = pixels.float()
    if reduction > 1:
        levels = functional.avg_pool2d(levels, reduction)
    height, width = levels.shape[2:]
    if (height, width) != target_hw:
        is_wide = target_hw[0] < height and target_hw[1] < width and height > 2 * target_hw[0]
        levels = functional.interpolate(levels, target_hw, mode="bilinear", align_corners=False, antialias=is_wide)
    return levels.round_().clamp_(0, 255).to(torch.uint8)


def _decode_files(encoded: list[Tensor], mode: str, device: torch.device, paths: Sequence[Path]) -> list[Tensor]:
    """Decode files, uint8 (C, H, W) each, as stored, and name those that are damaged.

    Raises:
        DataError: If files can't be decoded.
        ConfigError: If torchvision can't decode on that device at all.
    """
    try:
        return _decode(encoded, mode, device)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        # The batch's error names no file, and the cause may be no file at all.
        problem = _decode_error(_valid_jpeg(), mode, device)
        if problem:
            raise ConfigError(
                f"train.decode: nvjpeg: torchvision can't decode JPEG on {device} ({problem}); use train.decode: cpu"
            ) from error
        errors = ((path, _decode_error(one, mode, device)) for path, one in zip(paths, encoded, strict=True))
        hint = "it was whole when it was paired, or data.verify is off"
        damaged = [f"{path}: {message}; {hint}" for path, message in errors if message]
        if damaged:
            raise DataError(listing("JPEG can't be decoded", damaged, "damaged file")) from None
        raise


def _decode(encoded: list[Tensor], mode: str, device: torch.device) -> list[Tensor]:
    from torchvision.io import ImageReadMode, decode_jpeg

    decoded: Any = decode_jpeg(encoded, ImageReadMode[mode], device=device)
    return list(decoded)


def _decode_error(encoded: Tensor, mode: str, device: torch.device) -> str:
    """Decode one file and return the error message; empty if there is none."""
    try:
        _decode([encoded], mode, device)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        return str(error).splitlines()[0].rpartition(", ")[2]  # without the place in torchvision's sources
    return ""


def _valid_jpeg() -> Tensor:
    done, encoded = cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))
    assert done
    return torch.from_numpy(encoded.ravel())
