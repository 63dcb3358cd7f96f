"""Write a video that can be read at any moment, also after its writer was killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np

from yolofuse.errors import ConfigError, DataError, describe_os_error
from yolofuse.types import ByteArray
from yolofuse.video.frames import Closing, import_av

_TIME_BASE = Fraction(1, 60_000)  # exact for 24 to 60 frames a second, also NTSC; MPEG-4 takes no finer one
_BT709 = 1
_LIMITED_RANGE = 1
_CODECS = {
    "libx264": {"preset": "veryfast", "tune": "zerolatency", "crf": "23"},
    "mpeg4": {"flags": "+qscale", "global_quality": "472"},
}
_CONTAINERS = {
    # every frame is a fragment, which is in the file as soon as the next frame is written
    ".mp4": ("mp4", {"movflags": "frag_every_frame+empty_moov+default_base_moof", "flush_packets": "1"}),
    ".mkv": ("matroska", {"cluster_time_limit": "0", "flush_packets": "1"}),
}


class VideoWriter(Closing):
    """Write frames with their times as H.264 into an MP4 or Matroska file; use it in a ``with`` block.

    A writer that is killed leaves a video that can be read up to its last frame but one.
    """

    def __init__(self, path: str | Path, fps: float, size_hw: tuple[int, int]) -> None:
        """Create the file.

        Args:
            path: The file, ``.mp4`` or ``.mkv``; it must not exist.
            fps: Frames a second that are expected, for the encoder and for players; the times given to
                :meth:`write` count.
            size_hw: Height and width of the frames in pixels; an odd side is padded by one pixel.

        Raises:
            ConfigError: If the file exists, cannot be created, or has another suffix.
        """
        av = import_av()
        self.path = Path(path)
        self.size_hw = size_hw
        if self.path.suffix.lower() not in _CONTAINERS:
            raise ConfigError(f"{self.path}: a video is written as {' or '.join(_CONTAINERS)}; choose such a name")
        kind, options = _CONTAINERS[self.path.suffix.lower()]
        try:
            self._file = self.path.open("xb", buffering=0)
        except FileExistsError:
            raise ConfigError(f"{self.path}: exists and is not overwritten; name another file") from None
        except OSError as error:
            raise ConfigError(describe_os_error(error)) from None
        self._container = av.open(self._file, "w", format=kind, options=options)
        codec = next(name for name in _CODECS if name in av.codecs_available)
        rate = Fraction(fps).limit_denominator(1001)
        self._stream = self._container.add_stream(codec, rate=rate, options=_CODECS[codec])
        context = self._stream.codec_context
        context.height, context.width = (side + side % 2 for side in size_hw)
        context.pix_fmt, context.time_base, context.gop_size = "yuv420p", _TIME_BASE, max(1, round(2 * fps))
        context.color_range, context.colorspace = _LIMITED_RANGE, _BT709
        context.color_primaries = context.color_trc = _BT709
        self._start_s: float | None = None
        self._last_pts = -1

    def write(self, rgb: ByteArray, time_s: float) -> None:
        """Append a frame.

        Args:
            rgb: uint8 (H, W, 3): R, G, B.
            time_s: When it is shown, in seconds; the first frame is the zero of the file.

        Raises:
            ValueError: If the size differs from ``size_hw``, or the time does not increase.
            DataError: If it cannot be written.
        """
        if rgb.shape != (*self.size_hw, 3):
            raise ValueError(f"{self.path}: a frame of shape {rgb.shape}, expected {(*self.size_hw, 3)}")
        self._start_s = time_s if self._start_s is None else self._start_s
        pts = round((time_s - self._start_s) / _TIME_BASE)
        if pts <= self._last_pts:
            raise ValueError(f"{self.path}: time {time_s:.6f} s is not later than that of the frame before")
        self._last_pts = pts
        height, width = self.size_hw
        even = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge") if height % 2 or width % 2 else rgb
        frame = import_av().VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED_RANGE)
        frame.pts, frame.time_base = pts, _TIME_BASE
        self._mux(frame)

    def close(self) -> None:
        """Finish the file.

        Raises:
            DataError: If it cannot be written.
        """
        if self._file.closed:
            return
        try:
            if self._last_pts >= 0:
                self._mux(None)
            with self._telling_errors():
                self._container.close()
        finally:
            self._file.close()

    def _mux(self, frame: object) -> None:
        with self._telling_errors():
            self._container.mux(self._stream.encode(frame))

    @contextmanager
    def _telling_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(describe_os_error(error, str(self.path))) from None
        except import_av().FFmpegError as error:
            raise DataError(f"{self.path}: can't be written ({error})") from None
