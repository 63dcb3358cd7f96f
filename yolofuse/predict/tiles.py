"""Detect in large frames tile by tile, so that small objects keep their pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from yolofuse.data.images.read_pair import to_bytes
from yolofuse.engine.loaded_detector import PairFiles
from yolofuse.errors import ConfigError
from yolofuse.extras import install_line
from yolofuse.predict.result import PairDetections
from yolofuse.types import Detections, PairFormat, PairRecord, PixelArray

if TYPE_CHECKING:
    import supervision

    from yolofuse.config.schema import ValConfig

Detect = Callable[[list[PairFiles], PairFormat], list[PairDetections]]
_BATCH = 4


def detect_in_tiles(
    record: PairRecord, pixels: PixelArray, detect: Detect, tile: int, overlap: int, limits: ValConfig
) -> Detections:
    """Return the detections of a pair's overlapping tiles, merged by NMS over all of them.

    Args:
        record: The pair.
        pixels: uint8 or uint16 (H, W, 4): R, G, B, IR, in the pixels of its frame.
        detect: Detects in the arrays of tiles.
        tile: Side of a tile in pixels of the frame.
        overlap: Pixels that neighbours share; objects larger than that may be cut.
        limits: Overlap from which NMS drops the weaker of two boxes, and the number that is kept of the pair.

    Raises:
        ConfigError: If supervision is missing, or the overlap is not smaller than the tile.
    """
    try:
        import supervision
    except ImportError:
        raise ConfigError(f"tiles need supervision: {install_line('track')}") from None
    if not 0 <= overlap < tile:
        raise ConfigError(f"overlap: must be from 0 on and less than the tile, {tile} (got {overlap})")
    window = None if record.format.bits == 8 else (0.0, 65535.0)  # the frame's own has been applied
    tile_format = PairFormat(bits=record.format.bits, ir_window=window)

    def arrays(part: np.ndarray) -> PairFiles:
        rgb = None if record.missing == "rgb" else to_bytes(np.ascontiguousarray(part[..., :3]))
        return rgb, None if record.missing == "ir" else np.ascontiguousarray(part[..., 3])

    def callback(parts: list[np.ndarray]) -> list[supervision.Detections]:
        return [found.to_supervision() for found in detect([arrays(part) for part in parts], tile_format)]

    slicer = supervision.InferenceSlicer(
        callback, slice_wh=tile, overlap_wh=overlap, iou_threshold=limits.iou, batch_size=_BATCH
    )
    merged = slicer(cast(Any, pixels))
    if merged.confidence is None or merged.class_id is None:  # nothing was found
        return Detections(record.image_id, np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    order = np.argsort(-merged.confidence, kind="stable")[: limits.max_det]
    return Detections(
        record.image_id,
        merged.xyxy[order].astype(np.float32),
        merged.confidence[order].astype(np.float32),
        merged.class_id[order].astype(np.int64),
    )
