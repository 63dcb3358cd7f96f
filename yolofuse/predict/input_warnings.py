"""Warn of pairs that can be read and are probably not what they are given as."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from yolofuse.check.rules.pixels import looks_swapped
from yolofuse.config import Config
from yolofuse.data.images.read_pair import pad_value
from yolofuse.data.index.name_patterns import called_as_others
from yolofuse.errors import DataError
from yolofuse.spacing import evenly_spaced
from yolofuse.types import PairRecord

_log = logging.getLogger(__name__)
_LOOKED_AT = 5  # pairs
_NEARLY_ALL = 0.99  # of the pixels


def warn_missing(modality: str, config: Config) -> None:
    """Warn that pairs have no image of a camera, if the detector always had one in training."""
    if config.model.streams == "both" and config.data.missing == "refuse" and not config.train.augment.drop_camera:
        _log.warning(
            "warning: pairs without an %s image: black stands for it, but this model never saw that in training; "
            "it finds less (data.missing: allow or train.augment.drop_camera train for it)",
            modality,
        )


def warn_if_swapped(pairs: Sequence[tuple[Any, Any]]) -> None:
    """Warn if some pairs of files or arrays, spread over all, all look as if RGB and IR had changed places."""
    chosen = [pairs[i] for i in evenly_spaced(len(pairs), _LOOKED_AT)]
    both = [(rgb, ir) for rgb, ir in chosen if _has_colours(rgb) and _has_colours(ir)]
    try:
        if both and all(looks_swapped(rgb, ir) for rgb, ir in both):
            names = ", ".join(f"{image}" for image in both[0] if not isinstance(image, np.ndarray))
            _log.warning("warning: rgb has no colour and ir has; are they exchanged? %s", names)
    except DataError:
        return  # what can't be read is told when its turn comes


def _has_colours(given: object) -> bool:
    """Return whether it is a file, or an array whose channels can be compared."""
    return given.dtype == np.uint8 if isinstance(given, np.ndarray) else isinstance(given, str | Path)


def warn_if_out_of_order(pairs: Sequence[tuple[Any, Any]]) -> None:
    """Warn of IR files that are called as those of other pairs."""
    files = [(rgb, ir) for rgb, ir in pairs if isinstance(rgb, str | PathLike) and isinstance(ir, str | PathLike)]
    if others := called_as_others([(Path(rgb).as_posix(), Path(ir).as_posix()) for rgb, ir in files]):
        text = f"{len(others)} files of ir are called as those of other pairs of rgb, such as {others[0]}"
        _log.warning("warning: %s; are both in the order of the pairs?", text)


def warn_outside_window(records: Sequence[PairRecord], pixels: np.ndarray) -> bool:
    """Warn of the first thermal image whose counts nearly all lie outside the window: it is black or white.

    Shapes:
        pixels: (B, 4, H, W), R G B IR with grey borders.

    Returns:
        Whether there was one.
    """
    for record, channels in zip(records, pixels, strict=True):
        if record.format.ir_window is None or record.missing == "ir":
            continue
        ir = channels[3]
        num_pixels = (ir != pad_value(ir.dtype)).sum()
        if num_pixels and ((ir == 0) | (ir == np.iinfo(ir.dtype).max)).sum() >= _NEARLY_ALL * num_pixels:
            low, high = record.format.ir_window
            text = "warning: %s: nearly all its IR counts lie outside the window %g..%g of training; is it this camera?"
            _log.warning(text, record.key, low, high)
            return True
    return False
