"""Read a camera or a stream in a thread of its own, and connect again when it ends or stalls."""

from __future__ import annotations

import logging
import math
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from yolofuse.errors import ConfigError, DataError
from yolofuse.video.frames import FrameInterval, TimedFrame, Turn, import_av, turn_of
from yolofuse.video.reader import MAX_PIXELS, USUAL_INTERVAL_S, has_times, reason_of

if TYPE_CHECKING:
    import av.container

log = logging.getLogger("yolofuse")

_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "rtp", "srt", "tcp", "udp", "http", "https")
_URL = re.compile(r"(?P<scheme>[a-z]+)://(?:[^/]*@)?(?P<place>[^?#]*)")
_DEVICE = re.compile(r"/dev/video\d+|\d+")
_DEVICE_FORMATS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
_STREAM_OPTIONS = {
    "rtsp_transport": "tcp",
    "fpsprobesize": "0",
    "analyzeduration": "1000000",
    "max_pixels": str(MAX_PIXELS),
    # no file: a playlist from elsewhere names what is read next
    "protocol_whitelist": "crypto,data,http,https,httpproxy,rtmp,rtmps,rtp,srt,srtp,tcp,tls,udp",
}
_OPEN_TIMEOUT_S = 10.0
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 15.0
_DRIFT = 2e-4  # of a camera's clock, at most
_SETTLED_S = 0.005
_JUMP_S = 2.0  # later than this is no delay, the stream's times have started again


class StreamClock:
    """Tie the times of one connection to the monotonic clock of this machine.

    The frame that was on its way for the shortest time sets the difference of both clocks, so that neither a burst at
    the start nor a delayed frame moves the others. The difference may rise slowly, since clocks drift apart.
    """

    def __init__(self) -> None:
        self._offset_s = math.inf
        self._last_s = 0.0

    def monotonic(self, stream_s: float, now_s: float) -> float | None:
        """Return the monotonic time of a frame that carries ``stream_s`` and arrived at ``now_s``.

        None: it was on its way for a shorter time than all before, as the frames of a burst are, so that the times of
        those were wrong and that of this one may be.
        """
        arrived_s = now_s - stream_s
        drifted_s = self._offset_s + _DRIFT * (now_s - self._last_s)
        has_jumped = arrived_s > drifted_s + _JUMP_S
        self._offset_s = arrived_s if has_jumped else min(arrived_s, drifted_s)
        self._last_s = now_s
        return None if has_jumped or arrived_s < drifted_s - _SETTLED_S else stream_s + self._offset_s


class Camera:
    """Keep the newest frames of a stream. Whoever reads ``frames``, ``received`` or ``error`` holds ``changed``.

    Attributes:
        name: The source without user and password, for messages.
        changed: Notified when a frame or an error came.
        frames: Frames that nobody has used, oldest first, in monotonic time; emptied when the connection is lost.
        interval: Time between frames.
        received: Number of frames until now.
        connections: Number of connections that gave a frame.
        error: Why it was given up; None while it runs.
    """

    def __init__(
        self,
        source: str | int,
        changed: threading.Condition,
        *,
        options: Mapping[str, str] | None,
        stall_s: float,
        patience_s: float,
        history_s: float,
    ) -> None:
        self._file, self._format, self._options, self.name = _parse_source(str(source), options or {})
        self.changed = changed
        self.frames: deque[TimedFrame] = deque()
        self.interval = FrameInterval(USUAL_INTERVAL_S)
        self.received = 0
        self.connections = 0
        self.error: Exception | None = None
        self._stall_s, self._patience_s, self._history_s = stall_s, patience_s, history_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"yolofuse {self.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end."""
        self._stopped.set()

    def join(self) -> None:
        """Wait for the thread; not for a connection that is just being opened, which ends on its own."""
        self._thread.join(self._stall_s + 1)

    def _run(self) -> None:
        try:
            self._keep_connected()
        except Exception as error:
            with self.changed:
                self.error = error
                self.changed.notify_all()

    def _keep_connected(self) -> None:
        av = import_av()
        last_frame_s, wait_s = time.monotonic(), _FIRST_WAIT_S
        while not self._stopped.is_set():
            before = self.received
            try:
                self._read_connection()
                reason = "the stream ended"
            except (av.FFmpegError, OSError, ValueError) as error:
                reason = f"no frame for {self._stall_s:g} s" if isinstance(error, av.ExitError) else reason_of(error)
            with self.changed:
                self.frames.clear()
            if self._stopped.is_set():
                return
            if self.received > before:
                last_frame_s, wait_s = time.monotonic(), _FIRST_WAIT_S
            elif time.monotonic() - last_frame_s > self._patience_s:
                raise DataError(f"{self.name}: no frame for {self._patience_s:g} s ({reason}); check the camera")
            log.warning("%s: %s; connecting again in %.1f s", self.name, reason, wait_s)
            self._stopped.wait(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _read_connection(self) -> None:
        av = import_av()
        timeouts = (max(_OPEN_TIMEOUT_S, self._stall_s), self._stall_s)
        with av.open(self._file, format=self._format, options=self._options, timeout=timeouts) as container:
            stream = container.streams.best("video")
            if stream is None:
                raise ValueError("it holds no video")
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
            clock, turn, is_timed = StreamClock(), None, has_times(container)
            for frame in self._sound_frames(container, stream):
                now_s = time.monotonic()
                if turn is None:
                    turn = turn_of(frame)
                    self.connections += 1
                if is_timed:
                    self._add(None if frame.time is None else clock.monotonic(frame.time, now_s), frame, turn)
                else:
                    self._add(now_s, frame, turn)

    def _sound_frames(self, container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
        """Decode until the end or :meth:`stop`; after damage, only from the next key frame on."""
        av = import_av()
        is_sound = True
        for packet in container.demux(stream):
            if self._stopped.is_set():
                return
            try:
                frames = packet.decode()
            except av.InvalidDataError:
                frames, is_sound = [], False
            for frame in frames:
                if packet.is_corrupt or frame.is_corrupt:
                    is_sound = False
                elif is_sound or frame.key_frame:
                    is_sound = True
                    yield frame

    def _add(self, time_s: float | None, frame: av.VideoFrame, turn: Turn) -> None:
        with self.changed:
            self.received += 1
            if time_s is None:
                return
            self.interval.update(time_s)
            self.frames.append(TimedFrame(time_s, frame, turn))
            while len(self.frames) > 2 + self._history_s / self.interval.seconds:
                self.frames.popleft()
            self.changed.notify_all()


def is_camera(source: str) -> bool:
    """Return whether it is the address of a stream, or the device or number of a camera, rather than a file."""
    return "://" in source or _DEVICE.fullmatch(source) is not None


def _parse_source(source: str, options: Mapping[str, str]) -> tuple[str, str | None, dict[str, str], str]:
    """Return what is opened, its format, its options, and its name in messages."""
    if _DEVICE.fullmatch(source):
        kind = _DEVICE_FORMATS.get(sys.platform, "v4l2")
        device = f"/dev/video{source}" if source.isdecimal() and kind == "v4l2" else source
        return device, kind, dict(options), device
    match = _URL.match(source)
    if match is None or match["scheme"] not in _SCHEMES:
        raise ConfigError(
            f"{source}: neither a camera (/dev/video0, or its number) nor the address of a stream; "
            f"an address starts with {', '.join(_SCHEMES)} and ://"
        )
    return source, None, {**_STREAM_OPTIONS, **options}, f"{match['scheme']}://{match['place']}"
