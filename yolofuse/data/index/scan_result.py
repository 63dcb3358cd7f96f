"""Store the result of a scan as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from yolofuse.data.images.decode import ImageInfo
from yolofuse.data.images.header import MAX_PIXELS
from yolofuse.data.index.yolo_labels import LabelFile
from yolofuse.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class ScanResult:
    """Sizes, bit depths and boxes of a split, pairs in the order of the split."""

    rgb_hw: IntArray  # int32 (N, 2), pixels
    ir_hw: IntArray  # int32 (N, 2), pixels
    ir_bits: np.ndarray  # uint8 (N,): 8, 16 or 32
    orientation: np.ndarray  # uint8 (N, 2), of RGB and IR file by EXIF's number: 1 upright, 2..8 turned or mirrored
    boxes_xywhn: FloatArray  # float32 (M, 4), all boxes of all pairs one after another
    class_ids: IntArray  # int64 (M,)
    crowd: np.ndarray  # bool (M,): regions to ignore
    offsets: IntArray  # int64 (N + 1,): the boxes of pair i are ``offsets[i]:offsets[i + 1]``
    content: np.ndarray  # uint64 (N, 2): hashes of the bytes of the RGB and IR files; 0 unless ``verified``
    verified: bool  # whether every image was decoded

    def only(self, positions: IntArray) -> ScanResult:
        """Return the rows of these pairs."""
        counts = np.diff(self.offsets)
        of_pair = np.repeat(np.arange(len(counts)), counts)
        kept = np.isin(of_pair, positions)
        return ScanResult(
            rgb_hw=self.rgb_hw[positions],
            ir_hw=self.ir_hw[positions],
            ir_bits=self.ir_bits[positions],
            orientation=self.orientation[positions],
            boxes_xywhn=self.boxes_xywhn[kept],
            class_ids=self.class_ids[kept],
            crowd=self.crowd[kept],
            offsets=np.cumsum([0, *counts[positions]], dtype=np.int64),
            content=self.content[positions],
            verified=self.verified,
        )

    def is_plausible(self, num_classes: int) -> bool:
        """Return whether a scan can have produced the values; the shapes must be consistent."""
        sizes_hw = np.concatenate([self.rgb_hw, self.ir_hw]).astype(np.int64)
        return bool(
            (sizes_hw >= 1).all()
            and (sizes_hw.prod(axis=1) <= MAX_PIXELS).all()
            and np.isin(self.ir_bits, (8, 16, 32)).all()
            and np.isin(self.orientation, range(1, 9)).all()
            and ((self.boxes_xywhn >= 0) & (self.boxes_xywhn <= 1)).all()
            and ((self.class_ids >= 0) & (self.class_ids < num_classes)).all()
        )

    def is_consistent(self, num_pairs: int) -> bool:
        """Return whether the arrays fit each other and a split of ``num_pairs``."""
        num_boxes = int(self.offsets[-1]) if len(self.offsets) else -1
        return (
            self.rgb_hw.shape == self.ir_hw.shape == self.orientation.shape == self.content.shape == (num_pairs, 2)
            and self.ir_bits.shape == (num_pairs,)
            and self.offsets.shape == (num_pairs + 1,)
            and bool((np.diff(self.offsets, prepend=0) >= 0).all())
            and self.boxes_xywhn.shape == (num_boxes, 4)
            and self.class_ids.shape == self.crowd.shape == (num_boxes,)
        )


@dataclass(slots=True)
class ScannedPair:
    """The content of one pair; None for an image that can't be read."""

    rgb: ImageInfo | None
    ir: ImageInfo | None
    label: LabelFile
    content: tuple[int, ...] = (0, 0)  # hashes of the two files


@dataclass(slots=True)
class ScanColumns:
    """Collect the columns of a scan, chunk by chunk."""

    infos: list[np.ndarray] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    class_ids: list[np.ndarray] = field(default_factory=list)
    crowd: list[np.ndarray] = field(default_factory=list)
    content: list[tuple[int, ...]] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def add(self, seen: Sequence[ScannedPair]) -> None:
        """Append pairs."""
        placeholder = ImageInfo(1, 1, 8)  # rows of unreadable images are not used
        self.infos.append(np.array([[*(s.rgb or placeholder), *(s.ir or placeholder)] for s in seen], np.int32))
        boxes = [box for s in seen for box in s.label.boxes_xywhn]
        self.boxes.append(np.array(boxes, np.float32).reshape(-1, 4))
        self.class_ids.append(np.array([c for s in seen for c in s.label.class_ids], np.int64))
        self.crowd.append(np.array([c for s in seen for c in s.label.crowd], bool))
        self.content += [s.content for s in seen]
        self.counts += [len(s.label.class_ids) for s in seen]

    def result(self, verified: bool) -> ScanResult:
        """Return the arrays of all pairs."""
        infos = np.concatenate([np.zeros((0, 8), np.int32), *self.infos])
        return ScanResult(
            rgb_hw=infos[:, 0:2].copy(),
            ir_hw=infos[:, 4:6].copy(),
            ir_bits=infos[:, 6].astype(np.uint8),
            orientation=infos[:, [3, 7]].astype(np.uint8),
            boxes_xywhn=np.concatenate([np.zeros((0, 4), np.float32), *self.boxes]),
            class_ids=np.concatenate([np.zeros(0, np.int64), *self.class_ids]),
            crowd=np.concatenate([np.zeros(0, bool), *self.crowd]),
            offsets=np.cumsum([0, *self.counts], dtype=np.int64),
            content=np.array(self.content, np.uint64).reshape(-1, 2),
            verified=verified,
        )
