"""JPEG pairs that travel as they lie on disk and are decoded where they are used."""

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
from yolofuse.errors import ConfigError, DataError, listing
from yolofuse.types import ByteArray, PairRecord

_START = b"\xff\xd8"
_FRAMES = frozenset({0xC0, 0xC2})  # baseline and progressive: what nvJPEG reads
_SCAN, _ADOBE = 0xDA, 0xEE
_CHUNK_PIXELS = 1 << 25  # of files that are decoded at once; as floats they take 0.5 GiB


@dataclass(frozen=True, slots=True)
class CodedPair:
    """Both files of a pair, whose bytes stand in one array with those of other pairs.

    Attributes:
        rgb: File of the visible image.
        ir: File of the thermal image.
        rgb_hw: Height and width of the visible file in pixels.
        ir_hw: Height and width of the thermal file in pixels.
        training_hw: Height and width at training size in pixels.
        rgb_span: Start and stop of the visible file's bytes.
        ir_span: Start and stop of the thermal file's bytes.
    """

    rgb: Path
    ir: Path
    rgb_hw: tuple[int, int]
    ir_hw: tuple[int, int]
    training_hw: tuple[int, int]
    rgb_span: tuple[int, int]
    ir_span: tuple[int, int]


def require_decoder() -> None:
    """Fail before a run, not in its first batch, where torchvision decodes nothing.

    Raises:
        ConfigError: If torchvision has no ``decode_jpeg``; it is announced to go.
    """
    try:
        from torchvision.io import decode_jpeg  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"train.decode: nvjpeg needs torchvision.io.decode_jpeg, which is not there ({error}); "
            "install torchvision 0.29, or use train.decode: cpu"
        ) from None


def read_coded(record: PairRecord) -> tuple[ByteArray, ByteArray] | None:
    """The bytes of both files, or None where a device can't be relied on to make of them what OpenCV makes of them.

    That is so for files that are no JPEG, or one of another kind than 8-bit YCbCr (or, thermal, grey), and for pairs
    that are registered or windowed.

    Raises:
        DataError: If a file is gone, or of another size than when it was paired.
    """
    if record.format.affine is not None or record.format.ir_window is not None or record.format.bits != 8:
        return None
    both: list[ByteArray] = []
    sides = ((record.rgb, record.rgb_hw, {3}), (record.ir, record.ir_hw, {1, 3}))
    for path, expected_hw, allowed in sides:
        try:
            coded = np.fromfile(path, np.uint8)
        except OSError as error:
            raise DataError(f"{path}: can't be read ({error})") from None
        header = _jpeg_header(coded.tobytes())
        if header is None or header[1] not in allowed:
            return None
        if header[0] != expected_hw:
            raise DataError(f"{path}: its size changed since it was paired; start again")
        both.append(coded)
    return both[0], both[1]


def _jpeg_header(coded: bytes) -> tuple[tuple[int, int], int] | None:
    """(Height, width) and number of channels of a grey or YCbCr JPEG of 8 bits; None for all else."""
    at = len(_START)
    if not coded.startswith(_START):
        return None
    while at + 4 <= len(coded) and coded[at] == 0xFF:
        marker = coded[at + 1]
        if marker == 0xFF:  # a filling byte
            at += 1
            continue
        body = coded[at + 4 : at + 2 + int.from_bytes(coded[at + 2 : at + 4], "big")]
        # An Adobe note with transform 0, or channels named R, G, B, say that colours were not made YCbCr.
        if marker == _SCAN or (marker == _ADOBE and body[:5] == b"Adobe" and body[11:12] == b"\0"):
            return None
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:  # a frame; those three are tables
            height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            channels = body[6:][::3]
            known = marker in _FRAMES and body[:1] == b"\x08" and height and channels != b"RGB"
            return ((height, width), len(channels)) if known else None
        at += 4 + len(body)
    return None


def decode_into(images: Tensor, coded: Tensor, pairs: Sequence[CodedPair]) -> None:
    """Decode pairs on the device of ``images``, bring them to training size, and write them there.

    The way to training size is that of the pixel route: a whole factor by averaging, the rest between neighbours.

    Args:
        images: Where to; pair i goes to the top left of image i.
        coded: The bytes of all files, on the CPU.
        pairs: What they are.

    Shapes:
        images: uint8 (N, h, w, 4), coded: uint8 (bytes,)

    Raises:
        DataError: If files can't be decoded; all of them are named.
        ConfigError: If this torchvision can't decode on that device at all.
    """
    for first, part in _chunks(pairs):
        rgb = _decoded([coded[slice(*pair.rgb_span)] for pair in part], "RGB", images.device, [p.rgb for p in part])
        ir = _decoded([coded[slice(*pair.ir_span)] for pair in part], "GRAY", images.device, [p.ir for p in part])
        start = 0
        for (_, _, (height, width)), run in itertools.groupby(part, lambda p: (p.rgb_hw, p.ir_hw, p.training_hw)):
            stop = start + len(list(run))
            target = images[first + start : first + stop, :height, :width].permute(0, 3, 1, 2)
            target[:, :3] = _resized(torch.stack(rgb[start:stop]), (height, width))
            target[:, 3:] = _resized(torch.stack(ir[start:stop]), (height, width))
            start = stop


def _chunks(pairs: Sequence[CodedPair]) -> Iterator[tuple[int, Sequence[CodedPair]]]:
    """Runs of pairs that take no more than the allowed memory, each with the position of its first."""
    first = pixels = 0
    for position, pair in enumerate(pairs):
        own = pair.rgb_hw[0] * pair.rgb_hw[1] + pair.ir_hw[0] * pair.ir_hw[1]
        if position > first and pixels + own > _CHUNK_PIXELS:
            yield first, pairs[first:position]
            first, pixels = position, 0
        pixels += own
    if pairs:
        yield first, pairs[first:]


def _resized(pixels: Tensor, target_hw: tuple[int, int]) -> Tensor:
    """Whole images at training size, as ``pair_image`` resizes them.

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


def _decoded(coded: list[Tensor], mode: str, device: torch.device, paths: Sequence[Path]) -> list[Tensor]:
    """Whole images, uint8 (C, H, W) each. Orientation notes are ignored, as everywhere."""
    try:
        return _decode(coded, mode, device)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        # The batch's error names no file, and may be no file's fault.
        problem = _fault(_healthy_jpeg(), mode, device)
        if problem:
            raise ConfigError(
                f"train.decode: nvjpeg: torchvision can't decode JPEG on {device} ({problem}); use train.decode: cpu"
            ) from error
        faults = ((path, _fault(one, mode, device)) for path, one in zip(paths, coded, strict=True))
        hint = "it was whole when it was paired, or data.verify is off"
        broken = [f"{path}: {fault}; {hint}" for path, fault in faults if fault]
        if broken:
            raise DataError(listing("JPEG can't be decoded", broken, "damaged file")) from None
        raise


def _decode(coded: list[Tensor], mode: str, device: torch.device) -> list[Tensor]:
    from torchvision.io import ImageReadMode, decode_jpeg

    decoded: Any = decode_jpeg(coded, ImageReadMode[mode], device=device)
    return list(decoded)


def _fault(coded: Tensor, mode: str, device: torch.device) -> str:
    """What is said about one file; empty where it can be decoded."""
    try:
        _decode([coded], mode, device)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        return str(error).splitlines()[0].rpartition(", ")[2]  # without the place in torchvision's sources
    return ""


def _healthy_jpeg() -> Tensor:
    done, coded = cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))
    assert done
    return torch.from_numpy(coded.ravel())
