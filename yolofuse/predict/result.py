"""Define the detections of one pair as a user gets them: with names, times, and ways to look at them and store them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from yolofuse.boxes import xyxy_to_xywhn
from yolofuse.config.parts import check_name
from yolofuse.data.images.read_pair import PairImages, read_pair, to_bytes
from yolofuse.errors import ConfigError
from yolofuse.eval.coco import prediction_rows
from yolofuse.extras import install_line
from yolofuse.types import ByteArray, Detections, IntArray, PairRecord, PixelArray
from yolofuse.viz.draw import save_image
from yolofuse.viz.pairs import Palette, Shown, draw_detections

if TYPE_CHECKING:
    import supervision


@dataclass(frozen=True, slots=True)
class PairDetections(Detections):
    """Detections in one pair, highest score first.

    Attributes:
        names: Class names, by class id.
        record: The pair: its ``key``, files, size and camera that is ``missing``.
        images: Its images, where they were given as arrays.
        time_s: Time of a video's frame in seconds; None for images.
        ms: Time per pair in ms, by step: ``read``, ``detect``.
        track_ids: int64 (N,): an object's number throughout a video, -1 where it is not sure yet; None: not tracked.
    """

    names: tuple[str, ...]
    record: PairRecord
    images: PairImages | None = None
    time_s: float | None = None
    ms: dict[str, float] = field(default_factory=dict)
    track_ids: IntArray | None = None

    @property
    def key(self) -> str:
        """Return the name of the pair: the path of its file without extension, or its number."""
        return self.record.key

    def select(self, kept: np.ndarray) -> PairDetections:
        """Return the detections of a mask or of positions."""
        return replace(
            self,
            boxes_xyxy=self.boxes_xyxy[kept],
            scores=self.scores[kept],
            class_ids=self.class_ids[kept],
            track_ids=None if self.track_ids is None else self.track_ids[kept],
        )

    def above(self, min_score: float) -> PairDetections:
        """Return the detections from a score on."""
        return self.select(self.scores >= min_score)

    def pixels(self) -> PixelArray:
        """Read the pair in the pixels of its frame, in which the boxes are.

        Shapes:
            -> uint8 or uint16 (H, W, 4): R, G, B, IR
        """
        return read_pair(self.record, images=self.images)

    def plot(
        self, show: tuple[Shown, ...] = ("rgb", "ir"), palette: Palette = "grey", width: int | None = None
    ) -> ByteArray:
        """Draw boxes, names and scores on the pair.

        Args:
            show: Panels from left to right: ``rgb``, ``ir``, or ``both``, their mean.
            palette: Colours of the thermal image.
            width: Of a panel in pixels; None: the frame's own, at least 480.

        Shapes:
            -> uint8 (h, w, 3), R G B
        """
        return self._draw(show, palette, width)[..., ::-1].copy()

    def save(
        self,
        path: str | PathLike[str],
        show: tuple[Shown, ...] = ("rgb", "ir"),
        palette: Palette = "grey",
        width: int | None = None,
    ) -> Path:
        """Write what :meth:`plot` draws as PNG or JPEG; a file of that name is replaced.

        Raises:
            ConfigError: If there is no such panel or palette.
            RunError: If the suffix is another one.
        """
        target = Path(path)
        save_image(target, self._draw(show, palette, width))
        return target

    def _draw(self, show: tuple[Shown, ...], palette: Palette, width: int | None) -> ByteArray:
        for panel in show:
            check_name("show", panel, get_args(Shown))
        check_name("palette", palette, get_args(Palette))
        if not show or isinstance(show, str) or (width is not None and width < 1):
            raise ConfigError(f"show: needs a tuple of panels, and width a pixel or more (got {show!r}, {width})")
        ids = None if self.track_ids is None else self.track_ids.tolist()
        return draw_detections(
            to_bytes(self.pixels()), self, self.names, min_score=0.0, shown=show, palette=palette, width=width, ids=ids
        )

    def to_coco(self) -> list[dict[str, Any]]:
        """Return rows of a COCO result file; ``category_id`` counts from 1, ``bbox`` is x, y, width, height."""
        return prediction_rows([self])

    def to_yolo(self) -> str:
        """Return lines of a YOLO label file: class, centre x and y, width and height as shares, score."""
        xywhn = xyxy_to_xywhn(self.boxes_xyxy, self.record.size_hw)
        rows = zip(self.class_ids.tolist(), xywhn.tolist(), self.scores.tolist(), strict=True)
        return "".join(f"{class_id} {' '.join(f'{x:.6f}' for x in box)} {score:.6f}\n" for class_id, box, score in rows)

    def to_supervision(self) -> supervision.Detections:
        """Return the detections as the ``supervision`` package has them.

        Raises:
            ConfigError: If it is not installed.
        """
        try:
            import supervision
        except ImportError:
            raise ConfigError(f"to_supervision needs supervision: {install_line('track')}") from None
        return supervision.Detections(
            xyxy=self.boxes_xyxy,
            confidence=self.scores,
            class_id=self.class_ids,
            tracker_id=self.track_ids,
            data={"class_name": np.array([self.names[class_id] for class_id in self.class_ids], dtype=str)},
        )
