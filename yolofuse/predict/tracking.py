"""Give the objects of a video numbers that stay the same from frame to frame."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from yolofuse.errors import ConfigError
from yolofuse.extras import install_line
from yolofuse.predict.result import PairDetections

WEAK = 0.4
"""Share of ``conf`` from which on a detection may continue a track; it takes ``conf`` to start one."""


class Tracker:
    """Number the detections of consecutive frames: ByteTrack of the ``trackers`` package, each class by itself.

    Args:
        conf: Score from which on a detection starts a track.

    Raises:
        ConfigError: If the package is not installed.
    """

    def __init__(self, conf: float) -> None:
        try:
            from trackers import ByteTrackTracker
        except ImportError:
            raise ConfigError(f"tracking needs supervision and trackers: {install_line('track')}") from None
        self._conf = conf
        self._make = ByteTrackTracker
        self._by_class: dict[int, Any] = {}
        self._numbers: dict[tuple[int, int], int] = {}

    def update(self, found: PairDetections) -> PairDetections:
        """Return a frame's detections with ``track_ids``; without those below ``conf`` that continue no track."""
        ids = np.full(len(found), -1, np.int64)
        for class_id in sorted({*self._by_class, *found.class_ids.tolist()}):
            if class_id not in self._by_class:
                self._by_class[class_id] = self._make(
                    track_activation_threshold=self._conf, high_conf_det_threshold=self._conf
                )
            positions = np.flatnonzero(found.class_ids == class_id)
            given = found.select(positions).to_supervision()
            given.data["position"] = positions
            tracked = self._by_class[class_id].update(given, timestamp=found.time_s)
            for position, number in zip(tracked.data.get("position", ()), tracked.tracker_id, strict=True):
                if number >= 0:
                    key = class_id, int(number)
                    ids[position] = self._numbers.setdefault(key, len(self._numbers) + 1)
        return replace(found, track_ids=ids).select((ids >= 0) | (found.scores >= self._conf))
