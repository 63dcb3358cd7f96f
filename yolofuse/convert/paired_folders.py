"""Pairs from two folders, for sources whose two images of a pair share their name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from yolofuse.convert.origin import Origin


@dataclass(frozen=True, slots=True)
class ImagePair:
    """Two originals of one name."""

    key: str
    rgb: Path
    ir: Path


def pair_folders(origin: Origin, rgb: Path, ir: Path) -> list[ImagePair]:
    """Pairs of equal path below the folders, sorted by it; a lonely image is a problem, as files may be lost."""
    rgb_images, ir_images = origin.images(rgb), origin.images(ir)
    return pair_images(origin, rgb_images, ir_images, rgb, ir)


def pair_images(
    origin: Origin, rgb_images: dict[str, Path], ir_images: dict[str, Path], rgb: Path, ir: Path
) -> list[ImagePair]:
    """Pairs of equal key, sorted by it; a lonely image is a problem, as files may be lost."""
    lonely_rgb = sorted(rgb_images.keys() - ir_images.keys())
    lonely_ir = sorted(ir_images.keys() - rgb_images.keys())
    origin.problems += [f"{rgb_images[key]}: no thermal partner in {ir}; unpack both again" for key in lonely_rgb]
    origin.problems += [f"{ir_images[key]}: no visible partner in {rgb}; unpack both again" for key in lonely_ir]
    shared = sorted(rgb_images.keys() & ir_images.keys())
    return [ImagePair(key, rgb_images[key], ir_images[key]) for key in shared]
