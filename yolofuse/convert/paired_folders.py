"""Pair the images of two folders, for sources in which both images of a pair have the same name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from yolofuse.convert.source_folder import SourceFolder


@dataclass(frozen=True, slots=True)
class ImagePair:
    """Two original images of one name."""

    key: str
    rgb: Path
    ir: Path


def pair_folders(source: SourceFolder, rgb: Path, ir: Path) -> list[ImagePair]:
    """Return the pairs of equal relative path, sorted; an image without a partner is a problem."""
    rgb_images, ir_images = source.images(rgb), source.images(ir)
    return pair_images(source, rgb_images, ir_images, rgb, ir)


def pair_images(
    source: SourceFolder, rgb_images: dict[str, Path], ir_images: dict[str, Path], rgb: Path, ir: Path
) -> list[ImagePair]:
    """Return the pairs of equal key, sorted; an image without a partner is a problem."""
    only_rgb = sorted(rgb_images.keys() - ir_images.keys())
    only_ir = sorted(ir_images.keys() - rgb_images.keys())
    source.problems += [f"{rgb_images[key]}: no thermal partner in {ir}; unpack both again" for key in only_rgb]
    source.problems += [f"{ir_images[key]}: no visible partner in {rgb}; unpack both again" for key in only_ir]
    shared = sorted(rgb_images.keys() & ir_images.keys())
    return [ImagePair(key, rgb_images[key], ir_images[key]) for key in shared]
