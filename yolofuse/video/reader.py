"""Read the frames of one video file in the order of time, each with its presentation time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from yolofuse.errors import DataError, printable
from yolofuse.files import open_regular
from yolofuse.video.frames import Closing, FrameInterval, TimedFrame, Turn, import_av, median_interval, turn_of

if TYPE_CHECKING:
    import av.container

MAX_PIXELS = 100_000_000  # of a frame, as of an image
_KINDS = "mp4, mov, mkv, webm, avi, ts, mpg, flv, wmv, mxf, ogg, nut, ivf, dv, y4m"
# None that names other files or addresses to read, as playlists do.
_DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,mxf,ogg,nut,ivf,dv,yuv4mpegpipe,mjpeg,h264,hevc"
)
_OPTIONS = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "file", "max_pixels": str(MAX_PIXELS)}
_NO_TIMES = "its frames have no times; write them as mp4 or mkv, with the frame rate"
_PROBED_PACKETS = 64
USUAL_INTERVAL_S = 1 / 25
_MAX_STEP_BACK_S = 1.0
_MAX_MISSING_S = 1.0  # at the end, of what the file says it holds


class VideoReader(Closing):
    """Iterate over the frames of a video file, flat in memory.

    Attributes:
        path: The file.
        interval: Time between frames, as of the last ones.
        skipped: Number of frames without use: damaged ones before the first sound one, and those whose time does not
            increase.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.skipped = 0
        self.interval = FrameInterval(_first_interval(self.path))
        self._container, self._stream = _open(self.path)
        self._last_s: float | None = None
        self._turn = Turn()

    def __iter__(self) -> Iterator[TimedFrame]:
        """Yield the frames.

        Raises:
            DataError: If the file is damaged, cut short, or its times go back.
        """
        av = import_av()
        try:
            for packet in self._container.demux(self._stream):
                for frame in packet.decode():
                    # After a lost packet the decoder shows wrong pixels until the next key frame, and flags none.
                    is_damaged = packet.is_corrupt or frame.is_corrupt
                    if is_damaged and self._last_s is not None:
                        raise self._damaged("a part is missing or wrong")
                    if not is_damaged and (timed := self._timed(frame)) is not None:
                        yield timed
                    else:
                        self.skipped += 1
        except (av.FFmpegError, OSError, ValueError) as error:
            raise self._damaged(reason_of(error)) from None
        self._check_end()

    @property
    def fps(self) -> float:
        """Return the frame rate."""
        return 1 / self.interval.seconds

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _timed(self, frame: av.VideoFrame) -> TimedFrame | None:
        if frame.pts is None or frame.time_base is None:
            raise DataError(f"{self.path}: {_NO_TIMES}")
        time_s, last_s = float(frame.pts * frame.time_base), self._last_s
        if last_s is not None and time_s <= last_s:
            if last_s - time_s > _MAX_STEP_BACK_S:
                raise DataError(f"{self.path}: times go back from {last_s:.3f} s to {time_s:.3f} s; cut the file there")
            return None
        if last_s is None:
            self._turn = turn_of(frame)
        self._last_s = time_s
        self.interval.update(time_s)
        return TimedFrame(time_s, frame, self._turn)

    def _check_end(self) -> None:
        stream = self._stream
        if self._last_s is None:
            raise self._damaged("no frame can be decoded")
        if "mp4" in self._container.format.name and _has_hole(self.path):
            raise self._damaged("what follows is no part of an MP4 file")
        if not stream.duration or stream.time_base is None:
            return
        end_s = float(((stream.start_time or 0) + stream.duration) * stream.time_base)
        if self._last_s + self.interval.seconds < end_s - _MAX_MISSING_S:
            raise self._damaged(f"the file is cut short; it says that it lasts until {end_s:.3f} s")

    def _damaged(self, reason: str) -> DataError:
        where = "at its start" if self._last_s is None else f"after {self._last_s:.3f} s"
        return DataError(f"{self.path}: damaged {where} ({reason}); cut it there, or record it again")


def _open(path: Path) -> tuple[av.container.InputContainer, av.VideoStream]:
    av = import_av()
    try:
        open_regular(path).close()
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror})") from None
    try:
        container = av.open(f"file:{path}", options=_OPTIONS)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DataError(
            f"{path}: no video, damaged, or of another kind than {_KINDS} ({reason_of(error)}); a recorder that was "
            "killed leaves an mp4 without its index"
        ) from None
    if not has_times(container):
        raise DataError(f"{path}: {_NO_TIMES}")
    stream = container.streams.best("video")
    if stream is None or stream.codec_context is None:
        raise DataError(f"{path}: holds no video that can be decoded")
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MAX_PIXELS:
        raise DataError(f"{path}: {width}x{height} is more than {MAX_PIXELS / 1e6:.0f} million pixels")
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # a stream may change its size
    return container, stream


def _has_hole(path: Path) -> bool:
    """Return whether the chain of an MP4's boxes breaks before its end, where FFmpeg stops in silence.

    A last box that is cut, as of a writer that was killed, and zeros up to the end are none.
    """
    size = path.stat().st_size
    with open_regular(path) as file:
        place = 0
        while place + 8 <= size:
            file.seek(place)
            head = file.read(16)
            length = int.from_bytes(head[:4], "big")
            length = int.from_bytes(head[8:], "big") if length == 1 else length
            if not head[4:8].isascii() or not head[4:8].decode().isprintable() or (0 < length < 8):
                file.seek(place)
                return any(any(block) for block in iter(lambda: file.read(1 << 20), b""))
            if length == 0:  # up to the end
                return False
            place += length
    return False


def _first_interval(path: Path) -> float:
    """Return the time between the first frames, from the packets, in seconds."""
    av = import_av()
    container, stream = _open(path)
    try:
        packets = islice(container.demux(stream), _PROBED_PACKETS)
        times = sorted({float(packet.pts * packet.time_base) for packet in packets if packet.pts is not None})
    except (av.FFmpegError, OSError, ValueError):  # told when the frames are read
        times = []
    finally:
        rate = stream.average_rate
        container.close()
    if len(times) > 1:
        return median_interval(times)
    return float(1 / rate) if rate else USUAL_INTERVAL_S


def has_times(container: av.container.InputContainer) -> bool:
    """Return whether frames have the times of a recording, not those of a frame rate that FFmpeg assumes."""
    return not container.format.flags & import_av().format.Flags.no_timestamps.value


def reason_of(error: Exception) -> str:
    """Return what an error of PyAV says, as one line."""
    return printable(getattr(error, "strerror", None) or str(error) or type(error).__name__)
