"""Take the newest frames of a camera, or the newest pairs of two."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from yolofuse.errors import ConfigError
from yolofuse.video.camera import Camera
from yolofuse.video.frames import Closing, FramePair, PairCounts, TimedFrame, ir_pixels, rgb_pixels

_MAX_OFFSET_S = 1.0  # of decoded frames, which are kept for it
_POLL_S = 0.2
_T = TypeVar("_T")


class _Live(Closing):
    """Cameras that are read at the same time, each in a thread of its own.

    Args:
        sources: Of each camera its address or device, and options of FFmpeg for it.
        stall_s: Seconds without data after which a connection is given up.
        patience_s: Seconds without a frame after which a camera is given up.
        history_s: Seconds of frames that are kept beside the newest two.
    """

    def __init__(
        self,
        *sources: tuple[str | int, Mapping[str, str] | None],
        stall_s: float,
        patience_s: float,
        history_s: float = 0.0,
    ) -> None:
        self._start_s = time.monotonic()
        self._changed = threading.Condition()
        self._closed = False
        self._cameras = [
            Camera(source, self._changed, options=options, stall_s=stall_s, patience_s=patience_s, history_s=history_s)
            for source, options in sources
        ]

    @property
    def fps(self) -> float:
        """Return the frame rate of the slowest camera."""
        return 1 / max(camera.interval.seconds for camera in self._cameras)

    def close(self) -> None:
        """Stop reading; takes ``stall_s`` and a second at most."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for camera in self._cameras:
            camera.stop()
        for camera in self._cameras:
            camera.join()

    def _wait(self, take: Callable[[], _T | None]) -> _T:
        """Wait until ``take`` finds what it looks for; close if a camera was given up."""
        try:
            with self._changed:
                while not self._closed:
                    for camera in self._cameras:
                        if camera.error is not None:
                            raise camera.error
                    if (taken := take()) is not None:
                        return taken
                    self._changed.wait(_POLL_S)  # with a limit, so that Ctrl-C gets through
            raise StopIteration
        except BaseException:
            self.close()
            raise


class LiveFrames(_Live, Iterator[TimedFrame]):
    """Iterate over the newest frames of one camera, as :class:`LivePairs` over the pairs of two.

    Args:
        source: An address such as ``rtsp://HOST/PATH``, ``/dev/video0``, or the number of a device.
        options: Options of FFmpeg for it, such as ``{"rtsp_transport": "udp"}``.
        stall_s: Seconds without data after which a connection is given up.
        patience_s: Seconds without a frame after which the camera is given up.

    Raises:
        ConfigError: If the source is neither an address nor a device.
        DataError: While iterating, if the camera was given up.
    """

    def __init__(
        self,
        source: str | int,
        options: Mapping[str, str] | None = None,
        *,
        stall_s: float = 2.0,
        patience_s: float = 60.0,
    ) -> None:
        super().__init__((source, options), stall_s=stall_s, patience_s=patience_s)

    def __next__(self) -> TimedFrame:
        frame = self._wait(self._take_newest)
        return frame._replace(time_s=frame.time_s - self._start_s)

    def _take_newest(self) -> TimedFrame | None:
        (camera,) = self._cameras
        if not camera.frames:
            return None
        newest = camera.frames[-1]
        camera.frames.clear()
        return newest


class LivePairs(_Live, Iterator[FramePair]):
    """Iterate over the pairs of two cameras; close it, or use it in a ``with`` block.

    Each camera is read in a thread of its own, which keeps two frames. The newest frames that are at most half the
    time between frames of the slower camera apart are a pair: whoever is slower than the cameras misses pairs, but
    gets none that is old. A stream that ends or stalls is connected again, after a wait that doubles each time.
    Times are those of the monotonic clock, counted from the start of the iterator.
    """

    def __init__(
        self,
        rgb: str | int,
        ir: str | int,
        offset_s: float = 0.0,
        *,
        rgb_options: Mapping[str, str] | None = None,
        ir_options: Mapping[str, str] | None = None,
        stall_s: float = 2.0,
        patience_s: float = 60.0,
    ) -> None:
        """Start to read both cameras.

        Args:
            rgb: Visible camera: an address such as ``rtsp://HOST/PATH``, ``/dev/video0``, or the number of a device.
            ir: Thermal camera, likewise.
            offset_s: What is added to the times of ``ir`` in seconds, at most 1: how much later the visible camera's
                frames arrive than the thermal one's.
            rgb_options: Options of FFmpeg for the stream or device, such as ``{"rtsp_transport": "udp"}``.
            ir_options: Likewise, such as ``{"input_format": "gray16le"}``.
            stall_s: Seconds without data after which a connection is given up.
            patience_s: Seconds without a frame after which a camera is given up.

        Raises:
            ConfigError: If a source is neither an address nor a device, or the offset is too large.
        """
        if abs(offset_s) > _MAX_OFFSET_S:
            raise ConfigError(f"the offset of live cameras is at most {_MAX_OFFSET_S:g} s (found {offset_s:g})")
        self._offset_s = offset_s
        self._paired = 0
        self._last_s = (0.0, 0.0)
        super().__init__(
            (rgb, rgb_options), (ir, ir_options), stall_s=stall_s, patience_s=patience_s, history_s=abs(offset_s)
        )

    def __next__(self) -> FramePair:
        """Wait for the next pair.

        Raises:
            DataError: If a camera was given up.
        """
        rgb, ir = self._wait(self._take_newest)
        index = self._paired
        self._paired += 1
        gap_s = ir.time_s + self._offset_s - rgb.time_s
        as_rgb = None if index else rgb_pixels(ir)
        return FramePair(rgb_pixels(rgb), ir_pixels(ir), rgb.time_s - self._start_s, gap_s, index, as_rgb)

    @property
    def counts(self) -> PairCounts:
        """Return the frames paired and skipped until now."""
        with self._changed:
            skipped = [camera.received - len(camera.frames) - self._paired for camera in self._cameras]
        return PairCounts(self._paired, *skipped)

    @property
    def connections(self) -> tuple[int, int]:
        """Return how often each camera was connected."""
        return self._cameras[0].connections, self._cameras[1].connections

    def _take_newest(self) -> tuple[TimedFrame, TimedFrame] | None:
        """Remove the newest pair from the queues, and all that is older; times increase, also over connections."""
        rgb_frames, ir_frames = (camera.frames for camera in self._cameras)
        rgb_last_s, ir_last_s = self._last_s
        max_gap_s = 0.5 / self.fps
        for rgb in reversed(rgb_frames):
            wanted_s = rgb.time_s - self._offset_s
            ir = min(ir_frames, key=lambda frame: abs(frame.time_s - wanted_s), default=None)
            if ir is None or rgb.time_s <= rgb_last_s or ir.time_s <= ir_last_s:
                continue
            if abs(ir.time_s - wanted_s) <= max_gap_s:
                for frames, used in ((rgb_frames, rgb), (ir_frames, ir)):
                    while frames and frames[0].time_s <= used.time_s:
                        frames.popleft()
                self._last_s = rgb.time_s, ir.time_s
                return rgb, ir
        return None
